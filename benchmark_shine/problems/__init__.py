"""Implicit problems: equations, outer losses and where to start."""
from .base import BilevelProblem, NetworkProblem
from .cleaning import Cleaning
from .linear import Logistic, Multinomial, NonlinearLeastSquares, Ridge
from .mdeq import MDEQ
from .quadratic import Quadratic
from .recipe import Recipe
from .sequence import DEQTransformer
from .small_deq import SmallDEQ

__all__ = [
    "BilevelProblem", "Cleaning", "DEQTransformer", "Logistic", "MDEQ",
    "Multinomial", "NetworkProblem", "NonlinearLeastSquares", "Quadratic",
    "Recipe", "Ridge", "SmallDEQ",
]
