"""Searches over theta, which need no hypergradient."""
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_integer, check_number


@dataclass(frozen=True)
class SearchState:
    """Hold the state of `Search`: the next theta, and the values left."""

    theta: tuple[Tensor, ...]
    values: tuple[float, ...]
    rtol: float
    atol: float
    eps: float = 0.0  # no search has a linear solve


def check_tolerances(rtol, atol):
    """Require two tolerances of 0 or more, one of them positive.

    Raises
    ------
    ValueError
        ``rtol: must be …``, or ``atol: must be …``.
    """
    check_number("rtol", rtol, least=0)
    if rtol:
        check_number("atol", atol, least=0)
    else:
        check_number("atol", atol, above=0)


@dataclass(frozen=True)
class Search:
    """Try the given values of theta one after the other.

    Parameters
    ----------
    values : tuple of float
        One value for all entries of theta at each outer step.
    rtol, atol : float
        Tolerances of each inner solve, relative to its own warm start, and
        absolute; the larger one counts.

    Raises
    ------
    ValueError
        Where there is no value, a tolerance is negative, or both are 0.
    """

    values: tuple[float, ...]
    rtol: float = 1e-3
    atol: float = 0.0

    def __post_init__(self):
        check_tolerances(self.rtol, self.atol)
        check_integer("n_points", len(self.values), least=1)

    def start(self, theta):
        return self._at(theta, self.values)

    def _at(self, theta, values):
        theta = tuple(torch.full_like(t, values[0]) for t in theta)
        return SearchState(theta, values, self.rtol, self.atol)

    def step(self, state, value, grads, first_residual):
        left = state.values[1:] or state.values
        return self._at(state.theta, left)
