"""The two measures of a step, for every problem.

Other modules of this wing register what a family of problems has beyond its
equations; a problem of no such family is measured from the step's equation
alone.
"""
from functools import partial, singledispatch

import torch

from .reference import DIVERGED, MEASURED, measure, measure_batch
from .tight import TightSolver


def inner_residual(step):
    """Compute ‖g‖₂ at a step's z, in a batch over all samples."""
    if step.root is not None and step.root.residual is not None:
        return step.root.residual
    if step.equation.energy is not None:
        return float(step.equation.energy(step.z)[1].norm())
    with torch.no_grad():
        return float(step.equation.g(step.z).norm())


@singledispatch
def metrics(problem, step):
    """Score one step; cheap enough for every point of the curve.

    Returns
    -------
    dict of float
        ``inner_residual``, ‖g‖₂ at z.  `BilevelProblem`: also ``theta``, its
        first entry, and the problem's own ``scores``.  Equilibrium
        networks: also those of `benchmark_shine.evaluate.networks.scores`.
    """
    return {"inner_residual": inner_residual(step)}


@singledispatch
def compare(problem, step, method):
    """Compare one step with tight solves, which take a while.

    Neither the step nor the method is changed.

    Parameters
    ----------
    problem, step
        As for `metrics`.
    method : object
        With ``find_root`` and ``adjoint``; equilibrium networks ask a copy
        of both for a root and a q on a fixed batch.

    Returns
    -------
    dict of float
        Those of `benchmark_shine.evaluate.reference.measure`, at the step's
        own z.  Where z is a batch, those of `measure_batch`; equilibrium
        networks: those of `benchmark_shine.evaluate.networks.compare`.
    """
    if step.z.ndim == 1:
        return measure(step, TightSolver())
    if step.diverged:
        return {"unmeasured": float(DIVERGED)}
    if step.q is None:
        return {"unmeasured": float(MEASURED)}
    return measure_batch(step, step.equation, step.theta, step.z)


@singledispatch
def comparison(problem):
    """Return the function that compares steps of a problem: `compare`.

    Bi-level problems have one that remembers exact solutions from one step,
    and one run, to the next; see `benchmark_shine.evaluate.bilevel`.

    Returns
    -------
    callable, (step, method) -> dict of float
    """
    return partial(compare, problem)
