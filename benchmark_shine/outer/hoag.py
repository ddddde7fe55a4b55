"""The outer step of HOAG, an approximate gradient method."""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from ..checks import check_integer, check_number
from .base import _flat, _norm, check_decay, decay_factor


@dataclass(frozen=True)
class HoagState:
    """Hold the state of `Hoag` before an outer step.

    Parameters
    ----------
    theta, first : tuple of Tensor
        Theta of the next step, and of the first.
    eps, previous_eps : float
        Tolerances, without the anchor's factor, of this and the last step.
    rtol, atol : float
        Tolerances of the inner solve: relative at the first step, absolute
        after it.
    first_residual : float
        ‖g‖ at the start of the first inner solve, to which eps is relative.
    lipschitz : float
        L, the inverse of the step length; NaN before the first step.
    value : float
        Outer loss at the last step.
    k : int
        Number of the outer step.
    """

    theta: tuple[Tensor, ...]
    first: tuple[Tensor, ...]
    eps: float
    previous_eps: float
    rtol: float
    atol: float = 0.0
    first_residual: float = math.nan
    lipschitz: float = math.nan
    value: float = math.inf
    k: int = 1


def from_start(previous, first, now):
    """Compute λ_prev - λ_start: the tolerance shrinks with the penalty.

    Pedregosa's code intends this.
    """
    return min(previous) - min(first)


def from_now(previous, first, now):
    """Compute λ_prev - λ_now, as the published runs did.

    Notes
    -----
    In the authors' code λ_start and λ share one array.  The factor e^(…) then
    loosens the tolerance after each decrease of λ, and a run needs 3 to 6
    times fewer evaluations.
    """
    return min(previous) - min(now)


@dataclass(frozen=True)
class Hoag:
    """Move theta by the step rule of HOAG, with its tolerance schedule.

    Pedregosa, *Hyperparameter optimization with approximate gradient*, ICML
    2016, algorithm 1, with the adaptive step of its released code.  The step
    is 1/L, where L is first the norm of the first hypergradient.  On
    sufficient decrease L is multiplied by 0.95.  Where the outer loss grows by
    20 %, L is doubled, theta is kept, and eps is halved.

    Theta holds logarithms of penalties.  The inner solve at outer step k stops
    at ‖g‖ ≤ eps_k ‖g(start of the run)‖ exp(anchor).

    Parameters
    ----------
    tol : float
        eps_1.
    decay : float, "quadratic" or "cubic"
        eps_{k+1} = decay eps_k, or eps_k = tol / k² or tol / k³ as long as
        no step is rejected.  HOAG's code has all three.  Published: 0.9 for
        HOAG, 0.78 for SHINE and Jacobian-free.
    anchor : callable
        `from_start` or `from_now` (published).
    moves : int
        How often the step is applied in an accepted outer step.  Published
        code: 2, so that theta first moves by ±2.
    box : float
        Bound of theta, which stays in [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    tol: float = 1e-3
    decay: float | str = 0.9
    anchor: Callable = from_start
    moves: int = 1
    box: float = 12.0

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_decay(self.decay)
        check_integer("moves", self.moves, least=1)

    def start(self, theta):
        return HoagState(theta, theta, self.tol, self.tol, self.tol)

    def _move(self, theta, grads, step):
        return tuple(
            (t - step * g).clamp(-self.box, self.box)
            for t, g in zip(theta, grads)
        )

    def step(self, state, value, grads, first_residual):
        L, eps = state.lipschitz, state.eps
        if math.isnan(L):
            # a tiny first gradient would make a huge first step
            norm = _norm(grads)
            L, scale = (norm if norm > 1e-3 else 1.0), first_residual
        else:
            scale = state.first_residual
        theta = self._move(state.theta, grads, 1 / L)
        move = _norm([a - b for a, b in zip(theta, state.theta)])
        decreased = value <= (
            state.value + 0.25 * eps + 1.25 * state.previous_eps * move
            - L * move ** 2
        )
        next_L = 0.95 * L if decreased else L
        if not decreased and value >= 1.2 * state.value:
            next_L, eps, theta = 2 * L, 0.5 * eps, state.theta
        else:
            for _ in range(self.moves - 1):
                theta = self._move(theta, grads, 1 / L)
        anchor = self.anchor(
            *(_flat(t).tolist() for t in (state.theta, state.first, theta))
        )
        next_eps = eps * decay_factor(self.decay, state.k)
        return replace(
            state, theta=theta, eps=next_eps, previous_eps=eps, rtol=0.0,
            atol=next_eps * scale * math.exp(anchor), first_residual=scale,
            lipschitz=next_L, value=value, k=state.k + 1,
        )
