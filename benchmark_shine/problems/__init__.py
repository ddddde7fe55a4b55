"""Implicit problems: equations, outer losses and where to start."""
from .base import BilevelProblem, NetworkProblem
from .linear import Logistic, Multinomial, NonlinearLeastSquares, Ridge
from .mdeq import MDEQ
from .recipe import Recipe
from .sequence import DEQTransformer
from .small_deq import SmallDEQ

__all__ = [
    "BilevelProblem", "DEQTransformer", "Logistic", "MDEQ", "Multinomial",
    "NetworkProblem", "NonlinearLeastSquares", "Recipe", "Ridge", "SmallDEQ",
]
