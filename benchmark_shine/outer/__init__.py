"""Outer optimisers: how theta moves, and how exact the next solve must be."""
from .gradient import Torch, TorchState
from .hoag import Hoag, HoagState, from_now, from_start
from .search import Search, SearchState

__all__ = [
    "Hoag", "HoagState", "Search", "SearchState", "Torch", "TorchState",
    "from_now", "from_start",
]
