"""What a perfect method would have found: tight solves beside the race."""
import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from .adjoint import ConjugateGradient
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
        has no q, or the reference did not converge.
    """
    nothing = dict.fromkeys(
        ("value_function", "q_cosine", "q_rel_error", "hypergrad_rel_error"),
        math.nan,
    )
    if step.diverged:
        return nothing
    solve = ConjugateGradient(max_iter=20_000)
    residual = []

    def checked(system):
        q = solve(system)
        gap = (system.jt(q) - system.rhs).norm() / system.rhs.norm()
        residual.append(float(gap))
        return q

    exact = hypergradient(
        step.equation, step.theta, SimpleNamespace(z=step.z, inverse=None),
        checked, step.q, ADJOINT_TOL,
    )
    if not residual[0] <= 10 * ADJOINT_TOL:
        return nothing
    found = value_function(
        step.equation, step.z, step.value, float(exact.q.norm())
    )
    if step.q is None:
        return nothing | {"value_function": found}
    h, h_exact = (
        torch.cat([g.reshape(-1) for g in grads])
        for grads in (step.grads, exact.grads)
    )
    cosine = torch.cosine_similarity(step.q, exact.q, dim=0)
    return {
        "value_function": found,
        "q_cosine": float(cosine),
        "q_rel_error": _distance(step.q, exact.q),
        "hypergrad_rel_error": _distance(h, h_exact),
    }
