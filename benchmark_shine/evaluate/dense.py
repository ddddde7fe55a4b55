"""Small problems by dense linear algebra: Newton's method, and q by LU."""
import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from ..root import loss_gradient
from .units import units

# Most Newton steps of one solve.
STEPS = 100

# Where Newton's step promises less than this part of the merit function, the
# function's own rounding decides, and the length of the step is the measure.
PROMISE = 1e-10

# A linear solve is refused where one step of iterative refinement still moves
# the solution by this part: about the condition number times the rounding.
REFINED = 1e-6


def jacobian(g, z):
    """Assemble J at z, from one product with Jᵀ for each entry of z."""
    return torch.autograd.functional.jacobian(g, z.detach()).detach()


def solve(A, b):
    """Solve A x = b by LU in the units of A's diagonal; NaN if singular."""
    s = units(A)
    return s * torch.linalg.solve_ex(s[:, None] * A * s, s * b)[0]


def refined(A, b):
    """Solve A x = b, or return NaN where A is singular to rounding.

    Iterative refinement (Higham, *Accuracy and Stability of Numerical
    Algorithms*, 2002, chapter 12): its first step is as long as the error of
    the solution without it.
    """
    x = solve(A, b)
    change = solve(A, b - A @ x)
    s = units(A)
    good = (change / s).norm() <= REFINED * (x / s).norm()
    return torch.where(good, x + change, math.nan)


def newton(equation, z):
    """Find the root next to z by Newton's method with a dense J.

    Steps are halved until the energy, or ‖g‖ where there is none, falls
    enough (Nocedal and Wright 2006, algorithm 3.1); then whole steps follow
    as long as each is less than half of the one before.

    Returns
    -------
    z : Tensor, shape (d,)
    step : Tensor, shape (d,)
        Newton's next step from there: -J⁻¹ g.
    """
    def merit(z):
        if equation.energy:
            return equation.energy(z)[0]
        return float(equation.g(z).detach().norm())

    shortest = math.inf
    for _ in range(STEPS):
        J, g = jacobian(equation.g, z), equation.g(z).detach()
        step = solve(J, -g)
        value = merit(z)
        slope = float(g @ step) if equation.energy else -value
        if not slope < 0:  # the root, an indefinite J, or no numbers
            break
        if -slope > PROMISE * abs(value) or not equation.energy:
            t = _step_length(merit, z, step, value, slope)
            if t == 0:
                break
        else:
            length = float((step / units(J)).norm())
            if not length < shortest / 2:
                break
            t, shortest = 1.0, length
        z = z + t * step
    return z, step


def _step_length(merit, z, step, value, slope):
    t = 1.0
    while t > 1e-10:
        if merit(z + t * step) <= value + 1e-4 * t * slope:
            return t
        t /= 2
    return 0.0  # it never falls enough


def solve_densely(equation, theta, z):
    """Find root, q and hypergradient of a small problem, to rounding.

    Newton's method begins at z, of shape (d,) or (B, d).

    Returns
    -------
    SimpleNamespace
        ``z``; ``q`` = J⁻ᵀ dl/dz, of the same shape; ``grads`` like theta.
    """
    shape = z.shape
    flat = replace(
        equation, g=lambda v: equation.g(v.view(shape)).flatten(),
        energy=None,
    )
    v, _ = newton(flat, z.detach().flatten())
    z = v.view(shape)
    with torch.enable_grad():
        rhs = loss_gradient(equation, z).flatten()
        q = solve(jacobian(flat.g, v).T, rhs).view(shape)
        lagrangian = equation.loss(z) - (q * equation.g(z)).sum()
    return SimpleNamespace(
        z=z, q=q, grads=torch.autograd.grad(lagrangian, theta)
    )
