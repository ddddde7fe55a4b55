"""Broyden's good method, limited memory, by sample."""
from dataclasses import dataclass

import torch

from ..operators import LinearOperator, Product, rows_times
from .pairs import Chain, Pairs, PairsFinder, PairsRule


class _Rule(PairsRule):
    """One secant pair a step.

    Three passes over the memory: S g for the step, which also gives S y, its
    difference; Wᵀc for the step; and W s for the new row of M.
    """

    def __init__(self, pairs, first):
        super().__init__(pairs)
        self.first = first

    def _residual(self, samples, z):
        """g and, where B starts from ``first``, first @ g."""
        g = samples.g(z)
        if self.first is None:
            return g, g
        return g, samples.through(self.first.__matmul__, g)

    def start(self, samples, z):
        g, self.b = self._residual(samples, z)
        self.Rb = rows_times(self.pairs.R(), self.b)
        return g

    def step(self):
        return self.pairs.step(self.b, self.Rb)

    def visit(self, samples, z, s):
        g, b = self._residual(samples, z)
        Rb = rows_times(self.pairs.R(), b)
        slot = self.pairs.slot
        self.pairs.push_secant(s, b - self.b, Rb - self.Rb)
        newest = rows_times(self.pairs.R()[:, slot:slot + 1], b)
        self.Rb = torch.cat([Rb[:, :slot], newest, Rb[:, slot + 1:]], dim=1)
        self.b = b
        return g

    def leave(self, take, holes, movers):
        self.b, self.Rb = self.b[take], self.Rb[take]
        self.pairs.leave(take, holes, movers)

    def inverse(self, known, total, order):
        B = super().inverse(known, total, order)
        return B if self.first is None else Product(B, self.first)


class _ChainRule(_Rule):
    """The same steps where no pair is dropped, from the steps alone."""

    def start(self, samples, z):
        g, b = self._residual(samples, z)
        self.pairs.begin(b)
        return g

    def step(self):
        return self.pairs.newest()

    def visit(self, samples, z, s):
        g, b = self._residual(samples, z)
        self.pairs.advance(b)
        return g

    def leave(self, take, holes, movers):
        self.pairs.leave(take, holes, movers)


@dataclass(frozen=True)
class Broyden(PairsFinder):
    r"""Good Broyden with pure steps, by sample, in limited memory.

    z ← z - B g, then B+ = B + (s - B y) sᵀB / (sᵀB y), from B = I on (Broyden
    1965, method 1; for equilibrium networks Bai, Kolter and Koltun 2019).
    B+ y = s holds for the newest pair; of older ones B keeps what the update
    leaves, with any memory.

    The compact form, see :meth:`benchmark_shine.root.pairs.Pairs.push_secant`,
    makes dropping the oldest pair exact: B is always what Broyden's method
    makes of the newest m pairs.  The authors' code, torchdeq and jaxopt
    overwrite the oldest rank-one term instead, on which the others were
    built; the newest secant condition breaks, and the iteration may diverge.
    Where no pair is ever dropped, m ≥ max_iter, half the memory serves, see
    :class:`benchmark_shine.root.pairs.Chain`.

    Parameters
    ----------
    memory : int
        m, pairs kept; 2 m B D numbers, or max_iter B D if that many are
        enough for all steps.
    max_iter : int
        Most steps.  Paper: 18 (CIFAR-10), 26 (ImageNet), memory no less.
    first : LinearOperator or None
        B to start from, an operator on (B, D); None: the identity.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or (on a call) the start is not
        of shape (B, D), float32 or float64.
    """

    memory: int = 30
    max_iter: int = 30
    first: LinearOperator | None = None

    def rule(self, equation, warm_start):
        if self.max_iter <= self.memory:
            rule, pairs, memory = _ChainRule, Chain, max(1, self.max_iter)
        else:
            rule, pairs, memory = _Rule, Pairs, self.memory
        pairs = pairs.reuse(warm_start, memory, equation.start)
        return rule(pairs, self.first)
