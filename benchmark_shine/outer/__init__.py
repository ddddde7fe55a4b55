"""Outer optimisers: how theta moves, and how exact the next solve must be."""
from .gradient import GradientOptimizer, GradientState
from .hoag import Hoag, HoagState, from_now, from_start
from .search import Search, SearchState
from .secant import Secant, SecantState

__all__ = [
    "GradientOptimizer", "GradientState", "Hoag", "HoagState", "Search",
    "SearchState", "Secant", "SecantState", "from_now", "from_start",
]
