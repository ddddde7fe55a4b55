"""Damped fixed-point iteration."""
from dataclasses import dataclass

from ..checks import check_number
from .batched import BatchedFinder, FixedPointState


@dataclass(frozen=True)
class FixedPoint(BatchedFinder):
    """Iterate z ← z - tau g(z) = (1 - tau) z + tau f(z), by sample.

    The finder learns nothing about J: its inverse is the identity, so that
    SHINE with this finder is the Jacobian-free method.

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
        super().__post_init__()
        check_number("tau", self.tau, above=0, most=1)

    def init_state(self, equation, warm_start):
        return FixedPointState(self.tau)
