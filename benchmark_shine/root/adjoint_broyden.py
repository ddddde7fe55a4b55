"""Adjoint Broyden, with and without outer-problem awareness."""
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..operators import transposed
from ..precision import finite_rows
from .opa import Opa
from .pairs import Pairs, PairsFinder, PairsState


class AdjointBroydenState(PairsState):
    """Hold the state: the pairs (sigma, Jᵀ sigma) make Bᵀ."""

    def __init__(self, pairs, opa, side):
        super().__init__(pairs)
        self.opa, self.side = opa, side
        self.n_updates = 0

    def step(self):
        return -(self.pairs.operator().T @ self.g)

    def update(self, samples, z, s):
        self.n_updates += 1
        self.g, vjp = samples.linearise(z)
        self._learn(self.g, vjp)
        k = samples.equation.step
        if self.opa and self.opa.due(self.n_updates, k):
            rhs = self.opa.direction(samples.equation, samples.full(z))
            B = self.side(self.pairs.operator().T)
            self._learn(B @ samples.gather(rhs), vjp)
        return self.g

    def _learn(self, sigma, vjp):
        # nothing is learnt from numbers that are not finite: a derivative or
        # the loss may fail though the root itself exists
        sigma = torch.where(finite_rows(sigma), sigma, 0.0)
        w = vjp(sigma)
        self.pairs.push_secant(sigma, torch.where(finite_rows(w), w, sigma))

    def inverse(self, known, total, order):
        return super().inverse(known, total, order).T


@dataclass(frozen=True)
class AdjointBroyden(PairsFinder):
    r"""Solve g(z) = 0 by adjoint Broyden, residual variant, by sample.

    At each new iterate, with sigma = g(z) and w = Jᵀ sigma from one reverse
    pass, the matrix A = B⁻¹ is made to satisfy the *adjoint* secant condition
    sigmaᵀ A+ = wᵀ (Schlenkrich, Griewank and Walther, *On the local
    convergence of adjoint Broyden methods*, Math. Programming 2010, residual
    choice of sigma):

        A+ = A + sigma (wᵀ - sigmaᵀA) / (sigmaᵀsigma)
        B+ = B + B sigma (sigma - Bᵀw)ᵀ / (wᵀ B sigma)      (Sherman-Morrison)

    The second line, transposed, is good Broyden's update of Bᵀ by the secant
    pair (sigma, w).  So Bᵀ is kept in the compact form of
    :class:`benchmark_shine.root.Broyden`: the oldest pair is dropped exactly,
    and B is always what the method makes of the newest m directions.

    With OPA, every M-th step adds the direction v that the backward pass will
    need, and its own reverse pass on the same graph (Ramzi et al. 2022,
    section 2.3).  The paper's B is our B⁻¹: its v = B⁻ᵀ ∂ℓ/∂z is our Bᵀ ∂ℓ/∂z.

    Parameters
    ----------
    memory : int
        m, pairs kept, those of OPA included; 2 m B D numbers.
    max_iter : int
        Most steps, one evaluation of g and one product with Jᵀ each.
    opa : Opa or None
        ``every`` (paper: every fifth step) and ``direction``, the gradient of
        the loss unless told otherwise.
    side : callable, LinearOperator -> LinearOperator
        `transposed`: v = Bᵀ ∂ℓ/∂z, the vector that SHINE will take for q;
        `untransposed`: v = B ∂ℓ/∂z, as in the authors' code.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or (on a call) the start is not
        of shape (B, D), float32 or float64.
    """

    memory: int = 30
    max_iter: int = 30
    opa: Opa | None = None
    side: Callable = transposed

    def init_state(self, equation, warm_start):
        most = self.max_iter
        if self.opa:
            most += most // self.opa.every(equation.step)
        memory = max(1, min(self.memory, most))
        pairs = Pairs.reuse(warm_start, memory, equation.start)
        return AdjointBroydenState(pairs, self.opa, self.side)
