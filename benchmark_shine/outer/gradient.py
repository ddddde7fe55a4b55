"""Optimisers of torch.optim as outer optimisers."""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..checks import check_number


@dataclass(frozen=True)
class GradientState:
    """Hold the state of `GradientOptimizer` before outer step k."""

    theta: tuple[Tensor, ...]
    eps: float
    rtol: float
    optimizer: torch.optim.Optimizer
    atol: float = 0.0
    k: int = 1


@dataclass(frozen=True)
class GradientOptimizer:
    """Move theta by an optimiser of torch.optim.

    Parameters
    ----------
    optimizer : callable, list of Tensor -> torch.optim.Optimizer
        For example ``functools.partial(torch.optim.Adam, lr=0.1)``.
    tol, decay : float
        Inner solves stop at decayᵏ⁻¹ tol ‖g(start of the run)‖, linear solves
        at a relative residual of decayᵏ⁻¹ tol.
    atol : float or None
        A number is the absolute tolerance of all inner solves, as is usual in
        networks; None (the default): as above.
    rate : callable, int -> float, or None
        Learning rate of outer step k, from 1; None: the optimiser's own.

    clip : float
        A hypergradient whose 2-norm over all of theta is larger is scaled to
        this norm (Pascanu, Mikolov and Bengio, ICML 2013, algorithm 1).

    Raises
    ------
    ValueError
        Where ``tol``, ``decay`` or ``clip`` is out of its range.
    """

    optimizer: Callable
    tol: float = 1e-3
    decay: float = 0.9
    atol: float | None = None
    rate: Callable[[int], float] | None = None
    clip: float = math.inf

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_number("decay", self.decay, above=0, most=1)
        if self.clip != math.inf:
            check_number("clip", self.clip, above=0)

    def start(self, theta):
        leaves = [t.detach().clone() for t in theta]
        rtol, atol = (self.tol, 0.0) if self.atol is None else (0.0, self.atol)
        return GradientState(
            tuple(leaves), self.tol, rtol, self.optimizer(leaves), atol
        )

    def step(self, state, value, grads, first_residual):
        leaves = state.optimizer.param_groups[0]["params"]
        for leaf, grad in zip(leaves, self._clipped(grads)):
            leaf.grad = grad
        if self.rate is not None:
            for group in state.optimizer.param_groups:
                group["lr"] = self.rate(state.k)
        state.optimizer.step()
        eps, atol = state.eps * self.decay, self.atol
        if atol is None:
            # all solves are relative to the start of the first solve
            atol = (state.atol or self.tol * first_residual) * self.decay
        return GradientState(
            tuple(leaf.detach().clone() for leaf in leaves), eps, 0.0,
            state.optimizer, atol, state.k + 1,
        )

    def _clipped(self, grads):
        if self.clip == math.inf:
            return grads
        norm = torch.stack([grad.norm() for grad in grads]).norm()
        # the step's own gradients stay as they are: they are reported
        return [grad * (self.clip / norm).clamp(max=1) for grad in grads]

    def store(self, state):
        """Turn a state into a dict of tensors and plain values, for a file."""
        return vars(state) | {"optimizer": state.optimizer.state_dict()}

    def restore(self, stored):
        """Make the state that `store` was given; the next step is the same."""
        state = self.start(stored["theta"])
        state.optimizer.load_state_dict(stored["optimizer"])
        return replace(
            state, eps=stored["eps"], rtol=stored["rtol"],
            atol=stored["atol"], k=stored["k"],
        )
