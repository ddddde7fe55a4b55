"""What a step of a bi-level problem is scored by, and compared with."""
import math
from types import SimpleNamespace

from .measures import inner_residual
from .reference import DIVERGED, MEASURED, NO_ROOT, errors_of, measure
from .tight import TightSolver
from .value import ClosedForm, ManyThetas, ValueFunction


def metrics(problem, step):
    """Score one step of a `BilevelProblem`.

    Beside the problem's own scores of z and of theta: the first entry of
    theta, and ‖g‖₂.
    """
    return {
        **problem.scores(step.z),
        **problem.scores_of_theta(step.theta),
        "theta": float(step.theta[0].detach().reshape(-1)[0]),
        "inner_residual": inner_residual(step),
    }


def comparison(problem):
    """Choose how the steps of a `BilevelProblem` are compared.

    Returns
    -------
    callable, (step, method) -> dict of float
        Those of `measure`; ``optimum``, the least value of F, and
        ``q_error``, the relative error of the exact q itself, where
        z*(theta) is unique.  One comparison serves all methods.
    """
    if not problem.unique_root:
        return NextToTheRun(problem)
    if problem.solution is not None:
        return SeveralThetas(ClosedForm(problem))
    theta, _ = problem.start()
    if sum(t.numel() for t in theta) == 1:
        return OneTheta(problem)
    return SeveralThetas(ManyThetas(problem))


class NextToTheRun:
    """Compare steps with the root that their own z leads to."""

    def __init__(self, problem):
        self._solve = TightSolver(problem)

    def __call__(self, step, method):
        return measure(step, self._solve)


class OneTheta:
    """Compare steps with the `ValueFunction` of their problem."""

    def __init__(self, problem):
        self._function = ValueFunction(problem)

    def __call__(self, step, method):
        if step.diverged:
            return {"unmeasured": float(DIVERGED)}
        found = self._function.at(float(step.theta[0].detach()))
        return _value(found, self._function) | _errors(step, found)


class SeveralThetas:
    """Compare steps with formulas, or with tight solves from their z and q.

    Parameters
    ----------
    function : ClosedForm or ManyThetas
    """

    def __init__(self, function):
        self._function = function

    def __call__(self, step, method):
        if step.diverged:
            return {"unmeasured": float(DIVERGED)}
        found = self._function.at(step.theta, step.z, step.q)
        return _value(found, self._function) | _errors(step, found)


def _value(found, function):
    if not math.isfinite(found.value):
        return {"unmeasured": float(NO_ROOT)}
    return {
        "value_function": found.value, "value_error": found.error,
        "optimum": function.optimum(), "unmeasured": float(MEASURED),
    }


def _errors(step, found):
    """Compare derivatives, where there are any and their sign is known."""
    if step.grads is None or not math.isfinite(found.value):
        return {}
    exact = SimpleNamespace(grads=(found.grads,), q=found.q.to(step.z))
    errors = errors_of(step, exact)
    if step.q is not None:
        errors["q_error"] = found.q_error
    if float(found.grads.norm()) <= found.grads_error:
        for name in "rel_error", "cosine", "sign":
            errors[f"hypergrad_{name}"] = math.nan
    return errors
