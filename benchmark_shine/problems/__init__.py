"""Implicit problems: equations, outer losses and where to start."""
from .deq import SmallDEQ
from .linear import Logistic, Multinomial, NonlinearLeastSquares, Ridge
from .mdeq import MDEQ

__all__ = [
    "Logistic", "MDEQ", "Multinomial", "NonlinearLeastSquares", "Ridge",
    "SmallDEQ",
]
