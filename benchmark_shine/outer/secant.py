"""A secant step within a radius, for each entry of theta by itself."""
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_number
from .base import _flat, check_decay, decay_factor

# The least radius: from a shorter move it could not grow again.
SHORTEST = 1e-6


@dataclass(frozen=True)
class SecantState:
    """Hold the state of `Secant` before an outer step.

    Parameters
    ----------
    theta : tuple of Tensor
        Theta of the next step.
    eps : float
        Relative tolerance of the linear solve.
    atol, rtol : float
        Tolerances of the inner solve.
    move, grad : Tensor, shape (p,), or None
        The last move of each entry of theta, and the hypergradient at its
        start; None before the first step.
    k : int
        Number of the outer step.
    """

    theta: tuple[Tensor, ...]
    eps: float
    atol: float
    rtol: float = 0.0
    move: Tensor | None = None
    grad: Tensor | None = None
    k: int = 1


@dataclass(frozen=True)
class Secant:
    """Move each entry of theta by a secant step within a radius.

    Entry i moves by -sign(hᵢ) min(rᵢ, |hᵢ sᵢ / yᵢ|), where h is the
    hypergradient, s the last move and y the change of h along the move; where
    sᵢ yᵢ is not positive, the move is rᵢ long.  The radius is ``growth`` |sᵢ|
    while hᵢ keeps its sign, and ``shrink`` |sᵢ| after a change of sign, when
    a minimum was passed.  These are the factors of Rprop (Riedmiller and
    Braun, ICNN 1993), but of the last move, so that near the optimum, where
    yᵢ is mostly error, no step is much longer than the last.  Within the
    radius the step is the diagonal form of the first step length of Barzilai
    and Borwein (IMA J. Numer. Anal. 1988).  No step depends on the outer
    loss, whose values at inexact z differ by more than a step gains.

    The inner solve at outer step k stops at the tolerance eps_k, by default
    tol decayᵏ⁻¹, which is absolute: it is meant for the criterion "energy" of
    `benchmark_shine.root.LBFGS`, and depends neither on where z and theta
    start nor on the run so far.  eps_k is the relative tolerance of the
    linear solve too.

    Parameters
    ----------
    tol : float
        eps_1.
    decay : float, "quadratic" or "cubic"
        eps_{k+1} = decay eps_k, or eps_k = tol / k² or tol / k³.
    first, longest : float
        Radius at the first step, and the largest radius.
    growth, shrink : float
        Factors of the radius.
    box : float
        Bound of theta, which stays in [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    tol: float = 0.1
    decay: float | str = 0.78
    first: float = 1.0
    longest: float = 2.0
    growth: float = 2.0
    shrink: float = 0.5
    box: float = 12.0

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_decay(self.decay)
        check_number("shrink", self.shrink, above=0, below=1)
        check_number("growth", self.growth, least=1)
        for name in ("first", "longest", "box"):
            check_number(name, getattr(self, name), above=0)

    def start(self, theta):
        return SecantState(theta, self.tol, self.tol)

    def step(self, state, value, grads, first_residual):
        grad = _flat(grads)
        length = torch.minimum(
            self._radius(state, grad), _secant(state, grad)
        )
        before = _flat(state.theta)
        after = (before - grad.sign() * length).clamp(-self.box, self.box)
        eps = state.eps * decay_factor(self.decay, state.k)
        return SecantState(
            _like(state.theta, after), eps, eps, move=after - before,
            grad=grad, k=state.k + 1,
        )

    def _radius(self, state, grad):
        if state.move is None:
            return torch.full_like(grad, self.first)
        factor = torch.where(
            grad * state.grad > 0, self.growth, self.shrink
        )
        return (factor * state.move.abs()).clamp(SHORTEST, self.longest)


def _secant(state, grad):
    """Compute the lengths of secant steps, infinite where there is none."""
    if state.move is None:
        return torch.full_like(grad, math.inf)
    change = grad - state.grad
    length = (grad * state.move / change).abs()
    return torch.where(state.move * change > 0, length, math.inf)


def _like(theta, flat):
    """Cut a flat tensor into the shapes of theta."""
    parts = flat.split([t.numel() for t in theta])
    return tuple(part.view_as(t) for part, t in zip(parts, theta))
