"""Tight solves: what a perfect method would have found.

What could not be measured is NaN, and ``unmeasured`` says why.
"""
import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from ..adjoint import Gmres
from ..implicit import hypergradient
from ..root import LBFGS
from .dense import solve_densely
from .tight import ASSEMBLED, CORRECTED

# Relative residual of the reference linear solves of a batch.
ADJOINT_TOL = 1e-7

# Iterations of L-BFGS, and how far they lower ‖g‖, before Newton's method
# takes over where z is far from a root; and once more where that fails.
DESCENTS = (200, 1e-3), (2000, 1e-7)

# Most steps of GMRES in the reference of a batch, and bytes for the vectors
# that it keeps.  In an untrained MDEQ some samples take more than 200.
STEPS = 400
BASIS = 2 * 2 ** 30

# What ``unmeasured`` means.
MEASURED, DIVERGED, NO_ROOT, NO_ADJOINT = range(4)
WHY = {
    DIVERGED: "the run had diverged",
    NO_ROOT: "the reference root was not found",
    NO_ADJOINT: "J is too nearly singular for a reference q",
}


def unmeasured(codes):
    """Say in one line how many points have no reference, and why.

    Parameters
    ----------
    codes : list of float
        ``unmeasured`` of the points of one run at which a reference was due.

    Returns
    -------
    str or None
    """
    missing = [code for code in codes if code != MEASURED]
    if not missing:
        return None
    reasons = ", ".join(
        f"{why}: {missing.count(code)}" for code, why in WHY.items()
        if code in missing
    )
    return (
        f"no reference at {len(missing)} of {len(codes)} points ({reasons})"
    )


def _distance(a, b):
    return float((a - b).norm() / b.norm())


def errors_of(found, exact):
    """Compare dF/dtheta, and q where there is one; a batch as one vector.

    Parameters
    ----------
    found, exact : object
        With ``grads``, a tuple of Tensor, and ``q``, a Tensor or None.

    Returns
    -------
    dict of float
        ``hypergrad_rel_error`` and ``q_rel_error``, relative distances in
        the 2-norm; ``hypergrad_cosine`` and ``q_cosine``;
        ``hypergrad_sign``, the share of the entries of dF/dtheta that have
        the right sign.
    """
    h, h_exact = (
        torch.cat([g.reshape(-1) for g in grads])
        for grads in (found.grads, exact.grads)
    )
    errors = {
        "hypergrad_rel_error": _distance(h, h_exact),
        "hypergrad_cosine": _cosine(h, h_exact),
        "hypergrad_sign": float((h.sign() == h_exact.sign()).double().mean()),
    }
    if found.q is None:
        return errors
    q, q_exact = found.q.reshape(-1), exact.q.reshape(-1)
    return errors | {
        "q_cosine": _cosine(q, q_exact),
        "q_rel_error": _distance(q, q_exact),
    }


def _cosine(a, b):
    return float(torch.cosine_similarity(a, b, dim=0, eps=1e-300))


def _checked(solve, residuals):
    def adjoint(system):
        q = solve(system)
        residual = (system.vjp(q) - system.rhs).norm(dim=-1)
        residuals.append(residual / system.rhs.norm(dim=-1))  # by sample
        return q

    return adjoint


def root_near(step, solve):
    """Solve at a step's theta for the root that its z leads to.

    L-BFGS descends into the valley of z; Newton's method ends there.

    Parameters
    ----------
    step : Step
    solve : TightSolver

    Returns
    -------
    Exact
        Without a root its ``value`` is NaN.
    """
    equation, theta, z = step.equation, step.theta, step.z
    if equation.energy is None:
        return _by_dense_newton(equation, theta, z)
    if equation.step:  # else z is no root of anything
        found = solve(equation, theta, z, step.q)
        if math.isfinite(found.value):
            return found
    for max_iter, rtol in DESCENTS:
        z = LBFGS(max_iter=max_iter)(replace(equation, start=z), rtol=rtol).z
        found = solve(equation, theta, z, step.q)
        if math.isfinite(found.value):
            break
    return found


def _by_dense_newton(equation, theta, z):
    """Solve an equation that is no gradient, where z is short."""
    if len(z) > ASSEMBLED:
        return SimpleNamespace(value=math.nan)
    found = solve_densely(equation, theta, z)
    with torch.no_grad():
        value = float(equation.loss(found.z))
        correction = abs(float(found.q @ equation.g(found.z)))
    solved = correction <= CORRECTED * abs(value)
    return SimpleNamespace(
        z=found.z, q=found.q, value=value if solved else math.nan,
        error=correction,
        grads=torch.cat([g.reshape(-1) for g in found.grads]),
    )


def measure(step, solve):
    """Compare a step of one vector z with tight solves at the same theta.

    The exact root is the one next to the step's z.  An inexact z can have a
    lower outer loss than z*(theta): the curve of ``value_function`` has no
    such luck in it.

    Parameters
    ----------
    step : Step
    solve : TightSolver

    Returns
    -------
    dict of float
        ``value_function``, the outer loss at the exact root, and
        ``value_error``, its error; the errors of `errors_of` against q and
        dF/dtheta at that root.  What the step has not, or what has no
        reference, is not there; ``unmeasured`` is the reason, a key of
        `WHY`, and otherwise `MEASURED`.
    """
    if step.diverged:
        return {"unmeasured": float(DIVERGED)}
    exact = root_near(step, solve)
    if not math.isfinite(exact.value):
        return {"unmeasured": float(NO_ROOT)}
    found = {"value_function": exact.value, "value_error": exact.error}
    if not bool(exact.q.isfinite().all()):
        return found | {"unmeasured": float(NO_ADJOINT)}
    if step.grads is not None:
        found |= errors_of(step, SimpleNamespace(
            grads=(exact.grads,), q=exact.q
        ))
    return found | {"unmeasured": float(MEASURED)}


def n_affordable(d):
    """Samples of d entries whose reference GMRES fits in BASIS, at least 1.

    All of a batch in small networks; 21 in MDEQ TINY and 10 in LARGE on
    CIFAR-10, 3 in SMALL on ImageNet.
    """
    return max(1, BASIS // (8 * d * (STEPS + 1)))


def measure_batch(found, double, theta, z):
    """Compare an adjoint with GMRES in double precision, at the same z.

    Parameters
    ----------
    found : Hypergradient
        The method's, of a batch in the run's precision.
    double : Equation
        The same equation in float64.
    theta : tuple of Tensor
    z : Tensor, shape (B, d)

    Returns
    -------
    dict of float
        ``q_solved``: the share of samples whose reference converged; the
        others are left out of ``q_cosine`` and ``q_rel_error`` of the batch
        as one vector, and of ``q_cosine_median`` over its samples (a few that
        are nearly singular dominate the former).  With all of them there is
        ``hypergrad_rel_error`` too.
    """
    residuals = []
    exact = hypergradient(
        double, theta, SimpleNamespace(z=z.double(), inverse=None),
        _checked(Gmres(STEPS, ADJOINT_TOL), residuals),
    )
    solved = residuals[0] <= 10 * ADJOINT_TOL
    scores = {
        "q_solved": float(solved.double().mean()),
        "unmeasured": float(MEASURED if solved.any() else NO_ADJOINT),
    }
    if not solved.any():
        return scores
    found, exact = (
        replace(h, q=h.q[solved].double()) for h in (found, exact)
    )
    cosines = torch.cosine_similarity(found.q, exact.q, dim=1)
    scores |= {"q_cosine_median": float(cosines.median())}
    scores |= errors_of(found, exact)
    if not solved.all():
        del scores["hypergrad_rel_error"]
    return scores
