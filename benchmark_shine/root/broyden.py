"""Broyden's good method in limited memory, by sample."""
from dataclasses import dataclass

import torch

from ..operators import LinearOperator, Product, rows_times
from .pairs import Chain, Pairs, PairsFinder, PairsState


class BroydenState(PairsState):
    """Hold Broyden's state: one secant pair a step.

    A step takes three passes over the memory: S g gives the step, and its
    difference S y; Wᵀc for the step; and W s for the new row of M.
    """

    def __init__(self, pairs, initial_inverse):
        super().__init__(pairs)
        self.initial_inverse = initial_inverse

    def _evaluate(self, samples, z):
        """Evaluate g, and b = B₀ g where B starts from B₀."""
        g = samples.g(z)
        if self.initial_inverse is None:
            return g, g
        return g, samples.through(self.initial_inverse.__matmul__, g)

    def init(self, samples, z):
        g, self.b = self._evaluate(samples, z)
        self.Rb = rows_times(self.pairs.R(), self.b)
        return g

    def step(self):
        return self.pairs.step(self.b, self.Rb)

    def update(self, samples, z, s):
        g, b = self._evaluate(samples, z)
        Rb = rows_times(self.pairs.R(), b)
        slot = self.pairs.slot
        self.pairs.push_secant(s, b - self.b, Rb - self.Rb)
        newest = rows_times(self.pairs.R()[:, slot:slot + 1], b)
        self.Rb = torch.cat([Rb[:, :slot], newest, Rb[:, slot + 1:]], dim=1)
        self.b = b
        return g

    def retire(self, take, holes, movers):
        self.b, self.Rb = self.b[take], self.Rb[take]
        self.pairs.retire(take, holes, movers)

    def inverse(self, known, total, order):
        B = super().inverse(known, total, order)
        if self.initial_inverse is None:
            return B
        return Product(B, self.initial_inverse)


class ChainState(BroydenState):
    """Hold the state of the same steps where no pair is ever dropped."""

    def init(self, samples, z):
        g, b = self._evaluate(samples, z)
        self.pairs.begin(b)
        return g

    def step(self):
        return self.pairs.newest()

    def update(self, samples, z, s):
        g, b = self._evaluate(samples, z)
        self.pairs.advance(b)
        return g

    def retire(self, take, holes, movers):
        self.pairs.retire(take, holes, movers)


@dataclass(frozen=True)
class Broyden(PairsFinder):
    r"""Solve g(z) = 0 by good Broyden with full steps, by sample.

    z ← z - B g, then B+ = B + (s - B y) sᵀB / (sᵀB y), from B = I on (Broyden
    1965, method 1; for equilibrium networks Bai, Kolter and Koltun 2019).
    B+ y = s holds for the newest pair, but in general not for older pairs.

    The compact form, see :meth:`benchmark_shine.root.pairs.Pairs.push_secant`,
    drops the oldest pair exactly: B is always what Broyden's method makes of
    the newest m pairs.  Where no pair is ever dropped, m ≥ max_iter, half the
    memory is enough, see :class:`benchmark_shine.root.pairs.Chain`.

    Parameters
    ----------
    memory : int
        m, pairs kept; 2 m B D numbers, or max_iter B D if that many are
        enough for all steps.
    max_iter : int
        Most steps.  Paper: 18 (CIFAR-10), 26 (ImageNet), memory no less.
    initial_inverse : LinearOperator or None
        B₀, an operator on (B, D); None (the default): the identity.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or (on a call) the start is not
        of shape (B, D), float32 or float64.

    Notes
    -----
    The authors' code, torchdeq and jaxopt overwrite the oldest rank-one term
    instead, on which the others were built; then the newest secant condition
    breaks, and the iteration may diverge.
    """

    memory: int = 30
    max_iter: int = 30
    initial_inverse: LinearOperator | None = None

    def init_state(self, equation, warm_start):
        if self.max_iter <= self.memory:
            state, pairs, memory = ChainState, Chain, max(1, self.max_iter)
        else:
            state, pairs, memory = BroydenState, Pairs, self.memory
        pairs = pairs.reuse(warm_start, memory, equation.start)
        return state(pairs, self.initial_inverse)
