"""Damped fixed-point iteration."""
from dataclasses import dataclass

from ..checks import check_integer
from .batched import Picard, iterate


@dataclass(frozen=True)
class FixedPoint:
    """z ← z - tau g(z) = (1 - tau) z + tau f(z), by sample.

    It learns nothing about J: the inverse is the identity, so SHINE with this
    finder is the Jacobian-free method.

    Parameters
    ----------
    max_iter : int
        Most steps.
    tau : float
        Damping, 1 for plain Picard steps.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or (on a call) the start is not
        of shape (B, D), float32 or float64.
    """

    max_iter: int = 50
    tau: float = 1.0

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau: must be in (0, 1], got {self.tau}")

    def __call__(self, equation, atol=0.0, rtol=0.0, previous=None):
        """Iterate, see :func:`benchmark_shine.root.batched.iterate`."""
        return iterate(
            equation, Picard(self.tau), self.max_iter, atol, rtol
        )
