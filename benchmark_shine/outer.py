"""Outer optimisers: how theta moves, and how exact the next solve must be.

An outer optimiser is a frozen set of settings.  ``start(theta)`` gives the
first state, ``step(state, value, grads, first_residual)`` the next; a state
has ``theta`` (tuple of tensors), ``eps`` (relative tolerance of the linear
solve) and ``atol``, ``rtol`` (tolerances of the inner solve).  `Torch`, which
trains networks for hours, can also ``store`` a state and ``restore`` it.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .checks import check_integer, check_number


def _flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def _norm(tensors):
    return float(_flat(tensors).norm())


@dataclass(frozen=True)
class HoagState:
    """Where `Hoag` stands before an outer step.

    Parameters
    ----------
    theta, first : tuple of Tensor
        The point to be tried, and the start of the run.
    eps, previous_eps : float
        Tolerance before the anchor's factor, this step's and the last one's.
    rtol, atol : float
        Of the inner solve; relative at the first step, absolute after it.
    first_residual : float
        ‖g‖ at the first step's start, to which eps is relative.
    lipschitz : float
        L, the step's inverse; NaN before the first.
    value : float
        Outer loss at the last step.
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


def from_start(previous, first, now):
    """λ_prev - λ_start: the tolerance follows the scale of the problem.

    As Pedregosa's code is meant: inner tolerances shrink with the penalty.
    """
    return min(previous) - min(first)


def from_now(previous, first, now):
    """λ_prev - λ_now: what the published runs did.

    In the authors' code λ_start and λ share one array.  The factor e^(…) then
    loosens the tolerance after each decrease of λ, and a run needs 3 to 6
    times fewer evaluations.
    """
    return min(previous) - min(now)


@dataclass(frozen=True)
class Hoag:
    """Step rule and tolerance schedule of HOAG.

    Pedregosa, *Hyperparameter optimization with approximate gradient*, ICML
    2016, algorithm 1, with the adaptive step of its released code: step 1/L,
    L the norm of the first hypergradient, × 0.95 on sufficient decrease, × 2
    with theta kept and eps halved where the outer loss grows by 20 %.

    Theta are logarithms of penalties.  The inner solve at outer step k stops
    at ‖g‖ ≤ eps_k ‖g(start of the run)‖ exp(anchor).

    Parameters
    ----------
    tol : float
        eps_1.
    decay : float
        eps_{k+1} = decay eps_k.  Published: 0.9 for HOAG, 0.78 for SHINE and
        Jacobian-free.
    anchor : callable
        `from_start` or `from_now` (published).
    moves : int
        How often the step is applied in an accepted outer step.  Published
        code: 2, so the first move is ±2.
    box : float
        theta stays in [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    tol: float = 1e-3
    decay: float = 0.9
    anchor: Callable = from_start
    moves: int = 1
    box: float = 12.0

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_number("decay", self.decay, above=0, most=1)
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
            # a tiny first gradient would make for a huge first step
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
        next_eps = eps * self.decay
        return replace(
            state, theta=theta, eps=next_eps, previous_eps=eps, rtol=0.0,
            atol=next_eps * scale * math.exp(anchor), first_residual=scale,
            lipschitz=next_L, value=value,
        )


@dataclass(frozen=True)
class TorchState:
    """Where `Torch` stands before outer step k; its optimiser has its own."""

    theta: tuple[Tensor, ...]
    eps: float
    rtol: float
    optimizer: torch.optim.Optimizer
    atol: float = 0.0
    k: int = 1


@dataclass(frozen=True)
class Torch:
    """Any optimiser of torch.optim on theta.

    Parameters
    ----------
    optimizer : callable, list of Tensor -> torch.optim.Optimizer
        ``functools.partial(torch.optim.Adam, lr=0.1)``, say.
    tol, decay : float
        Inner solves stop at decayᵏ⁻¹ tol × ‖g‖ of the first inner start;
        linear solves at decayᵏ⁻¹ tol.
    atol : float or None
        Where all inner solves stop instead, as is usual in networks.
    rate : callable, int -> float, or None
        Learning rate of outer step k, from 1; None: the optimiser's own.
    """

    optimizer: Callable
    tol: float = 1e-3
    decay: float = 0.9
    atol: float | None = None
    rate: Callable[[int], float] | None = None

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_number("decay", self.decay, above=0, most=1)

    def start(self, theta):
        leaves = [t.detach().clone() for t in theta]
        rtol, atol = (self.tol, 0.0) if self.atol is None else (0.0, self.atol)
        return TorchState(
            tuple(leaves), self.tol, rtol, self.optimizer(leaves), atol
        )

    def step(self, state, value, grads, first_residual):
        leaves = state.optimizer.param_groups[0]["params"]
        for leaf, grad in zip(leaves, grads):
            leaf.grad = grad
        if self.rate is not None:
            for group in state.optimizer.param_groups:
                group["lr"] = self.rate(state.k)
        state.optimizer.step()
        eps, atol = state.eps * self.decay, self.atol
        if atol is None:
            # the first solve was relative to its own start; so are all others
            atol = (state.atol or self.tol * first_residual) * self.decay
        return TorchState(
            tuple(leaf.detach().clone() for leaf in leaves), eps, 0.0,
            state.optimizer, atol, state.k + 1,
        )

    def store(self, state):
        """A state as a dict of tensors and plain values, for a file."""
        return vars(state) | {"optimizer": state.optimizer.state_dict()}

    def restore(self, stored):
        """The state that `store` was given: the next step is the same."""
        state = self.start(stored["theta"])
        state.optimizer.load_state_dict(stored["optimizer"])
        return replace(
            state, eps=stored["eps"], rtol=stored["rtol"],
            atol=stored["atol"], k=stored["k"],
        )


@dataclass(frozen=True)
class SearchState:
    """Where `Search` stands: the value to be tried first, and all left."""

    theta: tuple[Tensor, ...]
    values: tuple[float, ...]
    eps: float
    rtol: float
    atol: float = 0.0


@dataclass(frozen=True)
class Search:
    """Try the given values of theta one after the other.

    Parameters
    ----------
    values : tuple of float
        One value for all entries of theta at each outer step.
    tol : float
        Inner solves stop at tol × ‖g‖ of their own warm start (as in the
        authors' searches).
    """

    values: tuple[float, ...]
    tol: float = 1e-3

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_integer("n_points", len(self.values), least=1)

    def start(self, theta):
        return self._at(theta, self.values)

    def _at(self, theta, values):
        theta = tuple(torch.full_like(t, values[0]) for t in theta)
        return SearchState(theta, values, self.tol, self.tol)

    def step(self, state, value, grads, first_residual):
        left = state.values[1:] or state.values
        return self._at(state.theta, left)
