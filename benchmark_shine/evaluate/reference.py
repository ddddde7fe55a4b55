"""What a perfect method would have found: tight solves beside the race."""
import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from ..adjoint import ConjugateGradient, Gmres
from ..implicit import hypergradient
from ..root import LBFGS, loss_gradient

# Relative residual of the reference linear solve.  Reached or not, the
# residual is measured, and without it no reference is given.
ADJOINT_TOL = 1e-7

# Most steps of GMRES in the reference of a batch, and bytes for the vectors
# that it keeps.  In an untrained MDEQ some samples take more than 200.
STEPS = 400
BASIS = 2 * 2 ** 30


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


def errors_of(found, exact):
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
    """The adjoint, noting its relative residual, in a batch by sample."""
    def adjoint(system):
        q = solve(system)
        gap = (system.vjp(q) - system.rhs).norm(dim=-1)
        gaps.append(gap / system.rhs.norm(dim=-1))
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
    errors = {} if step.grads is None else errors_of(step, exact)
    return nothing | {"value_function": found} | errors


def n_affordable(d):
    """Samples of d entries whose reference GMRES fits in BASIS, at least 1.

    All of a batch in small networks; 21 in MDEQ TINY and 10 in LARGE on
    CIFAR-10, 3 in SMALL on ImageNet.
    """
    return max(1, BASIS // (8 * d * (STEPS + 1)))


def solve_densely(equation, theta, z):
    """Root, q and hypergradient by dense linear algebra, of small problems.

    Newton's method, each step halved until ‖g‖ falls; a linear g takes one,
    which is the closed form.  Differentiates g once more for each entry of z.

    Parameters
    ----------
    equation : Equation
        In double precision.
    theta : tuple of Tensor
        The leaves that it closes over.
    z : Tensor, shape (d,) or (B, d)
        Where Newton's method begins.

    Returns
    -------
    SimpleNamespace
        ``z``; ``q`` = J⁻ᵀ dl/dz, of the same shape; ``grads`` like theta.
    """
    shape = z.shape

    def g(v):
        return equation.g(v.view(shape)).flatten()

    def jacobian(v):
        return torch.autograd.functional.jacobian(g, v).detach()

    v = z.detach().flatten()
    residual = g(v).detach()
    for _ in range(100):
        step, t = torch.linalg.solve(jacobian(v), residual), 1.0
        while t > 1e-10 and g(v - t * step).norm() >= residual.norm():
            t /= 2
        if t <= 1e-10:  # rounding is all that is left
            break
        v = v - t * step
        residual = g(v).detach()
    z = v.view(shape)
    with torch.enable_grad():
        rhs = loss_gradient(equation, z).flatten()
        q = torch.linalg.solve(jacobian(v).T, rhs).view(shape)
        lagrangian = equation.loss(z) - (q * equation.g(z)).sum()
    return SimpleNamespace(
        z=z, q=q, grads=torch.autograd.grad(lagrangian, theta)
    )


def measure_batch(found, double, theta, z):
    """Compare an adjoint with GMRES in double precision, at the same z.

    Parameters
    ----------
    found : Hypergradient
        The method's, of a batch in the run's precision.
    double : Equation
        The same equation in float64.
    theta : tuple of Tensor
        The leaves that both close over.
    z : Tensor, shape (B, d)
        Where both were derived.

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
    scores = {"q_solved": float(solved.double().mean())}
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
