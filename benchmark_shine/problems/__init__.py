"""Implicit problems: equations, outer losses and where to start."""
from .linear import Logistic, Multinomial, NonlinearLeastSquares, Ridge

__all__ = ["Logistic", "Multinomial", "NonlinearLeastSquares", "Ridge"]
