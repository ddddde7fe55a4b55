"""What a perfect method would have found: tight solves beside the race."""
import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from .adjoint import ConjugateGradient, Gmres
from .implicit import hypergradient
from .root import LBFGS

# Relative residual of the reference linear solve.  Reached or not, the
# residual is measured, and without it no reference is given.
ADJOINT_TOL = 1e-7


def value_function(equation, z, value, q_norm):
    """The outer loss at the exact inner solution for the equation's theta.

    An inexact z can have a lower outer loss than z*(theta): the curve of
    this number has no such luck in it.

    The solve starts from z and stops at ‖g‖ ≤ 1e-6 |value| / ‖q‖, which by
    Cauchy-Schwarz leaves an error of the outer loss of about 1e-6 relative.

    Parameters
    ----------
    equation : Equation
    z : Tensor, shape (d,)
    value, q_norm : float
        Outer loss at z, and ‖J⁻ᵀ dl/dz‖.

    Returns
    -------
    float
        NaN where the solve does not get that far.
    """
    tight = LBFGS(memory=60, max_iter=5_000)
    atol = 1e-6 * max(abs(value), 1e-12) / max(q_norm, 1e-12)
    root = tight(replace(equation, start=z), atol=atol)
    if not root.converged:
        return math.nan
    with torch.no_grad():
        return float(equation.loss(root.z))


def _distance(a, b):
    return float((a - b).norm() / b.norm())


def _errors(found, exact):
    """Of dF/dtheta, and of q where there is one; a batch's as one vector."""
    h, h_exact = (
        torch.cat([g.reshape(-1) for g in grads])
        for grads in (found.grads, exact.grads)
    )
    errors = {"hypergrad_rel_error": _distance(h, h_exact)}
    if found.q is None:
        return errors
    q, q_exact = found.q.reshape(-1), exact.q.reshape(-1)
    return errors | {
        "q_cosine": float(torch.cosine_similarity(q, q_exact, dim=0)),
        "q_rel_error": _distance(q, q_exact),
    }


def _checked(solve, gaps):
    """The adjoint, noting its relative residual."""
    def adjoint(system):
        q = solve(system)
        gap = (system.jt(q) - system.rhs).norm() / system.rhs.norm()
        gaps.append(float(gap))
        return q

    return adjoint


def measure(step):
    """Compare a step with tight solves at the same point.

    Parameters
    ----------
    step : Step

    Returns
    -------
    dict of float
        ``value_function``, see above; ``q_cosine`` and ``q_rel_error``
        between the method's q and J⁻ᵀ dl/dz at the same (theta, z);
        ``hypergrad_rel_error`` likewise for dF/dtheta.  NaN where the step
        has no such thing, or the reference did not converge.
    """
    nothing = dict.fromkeys(
        ("value_function", "q_cosine", "q_rel_error", "hypergrad_rel_error"),
        math.nan,
    )
    if step.diverged:
        return nothing
    solve = ConjugateGradient(max_iter=20_000)
    residual = []
    exact = hypergradient(
        step.equation, step.theta, SimpleNamespace(z=step.z, inverse=None),
        _checked(solve, residual), step.q, ADJOINT_TOL,
    )
    if not residual[0] <= 10 * ADJOINT_TOL:
        return nothing
    found = value_function(
        step.equation, step.z, step.value, float(exact.q.norm())
    )
    errors = {} if step.grads is None else _errors(step, exact)
    return nothing | {"value_function": found} | errors


def measure_batch(equation, double, theta, root, adjoint, tol):
    """Compare an adjoint with GMRES in double precision, at the same z.

    Parameters
    ----------
    equation, double : Equation
        The same one, of a batch, in the run's precision and in float64.
    theta : tuple of Tensor
        The leaves that both close over.
    root : Root
        Of ``equation``, with the inverse estimate to use.
    adjoint : callable, AdjointSystem -> Tensor (B, d)
    tol : float
        Relative residual that iterative adjoints are asked for.

    Returns
    -------
    dict of float
        ``q_cosine``, ``q_rel_error`` and ``hypergrad_rel_error`` of the batch
        as one vector, ``q_cosine_median`` over its samples: a few that are
        nearly singular dominate the former.  Empty where the reference did
        not converge.
    """
    found = hypergradient(equation, theta, root, adjoint, tol=tol)
    residual = []
    exact = hypergradient(
        double, theta, SimpleNamespace(z=root.z.double(), inverse=None),
        _checked(Gmres(tol=ADJOINT_TOL), residual),
    )
    if not residual[0] <= 10 * ADJOINT_TOL:
        return {}
    cosines = torch.cosine_similarity(found.q.double(), exact.q, dim=1)
    found = replace(found, q=found.q.double())
    return {"q_cosine_median": float(cosines.median())} | _errors(
        found, exact
    )
