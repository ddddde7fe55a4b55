"""Quasi-Newton updates of a symmetric estimate of J⁻¹, whatever made it."""
from abc import abstractmethod

from ..operators import LinearOperator
from .lbfgs_inverse import CURVATURE

# An SR1 pair is learnt where |wᵀy| > STABLE ‖w‖ ‖y‖, with w = s - H y: the
# rule of Nocedal and Wright 2006, equation 6.26, with their r.
STABLE = 1e-8


class Multiple(LinearOperator):
    """Represent c I."""

    def __init__(self, c):
        self.c = c

    @property
    def T(self):
        return self

    def __matmul__(self, v):
        return self.c * v


class Updates(LinearOperator):
    """Represent an estimate of J⁻¹ with further secant pairs.

    The base is used, and not changed; it must be symmetric.  A product costs
    one product with the base and 4 d operations per pair.

    Parameters
    ----------
    base : LinearOperator
    """

    def __init__(self, base):
        self._base, self._pairs = base, []

    @property
    def T(self):
        return self

    def __len__(self):
        return len(self._pairs)

    @abstractmethod
    def learn(self, s, y):
        """Learn that J s = y, both of shape (d,), where that is sound."""


class BfgsUpdates(Updates):
    """Update by BFGS, as the two loops of L-BFGS do from their base.

    Nocedal and Wright 2006, algorithm 7.4.  A pair is learnt where sᵀy is
    safely positive, so that the estimate stays positive definite.
    """

    def learn(self, s, y):
        sy = float(s @ y)
        if sy > CURVATURE * float(s.norm() * y.norm()):
            self._pairs.append((s, y, sy))

    def __matmul__(self, v):
        weights = []
        for s, y, sy in reversed(self._pairs):
            weights.append(float(s @ v) / sy)
            v = v - weights[-1] * y
        v = self._base @ v
        for (s, y, sy), weight in zip(self._pairs, reversed(weights)):
            v = v + (weight - float(y @ v) / sy) * s
        return v


class Sr1Updates(Updates):
    """Update by SR1, H + w wᵀ / wᵀy with w = s - H y.

    Nocedal and Wright 2006, equation 6.25.  The estimate need not be
    positive definite.  A pair whose denominator is small is left out
    (`STABLE`).
    """

    def learn(self, s, y):
        w = s - self @ y
        wy = float(w @ y)
        if abs(wy) > STABLE * float(w.norm() * y.norm()):
            self._pairs.append((w, wy))

    def __matmul__(self, v):
        out = self._base @ v
        for w, wy in self._pairs:
            out = out + (float(w @ v) / wy) * w
        return out


UPDATES = {"bfgs": BfgsUpdates, "sr1": Sr1Updates}
