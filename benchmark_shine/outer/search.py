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
    eps: float
    rtol: float
    atol: float = 0.0


@dataclass(frozen=True)
class Search:
    """Try the given values of theta one after the other.

    Parameters
    ----------
    values : tuple of float
        One value for all entries of theta at each outer step.
    tol : float
        Inner solves stop at tol × ‖g‖ of their own warm start (as in the
        authors' searches).

    Raises
    ------
    ValueError
        Where there is no value, or ``tol`` is out of its range.
    """

    values: tuple[float, ...]
    tol: float = 1e-3

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_integer("n_points", len(self.values), least=1)

    def start(self, theta):
        return self._at(theta, self.values)

    def _at(self, theta, values):
        theta = tuple(torch.full_like(t, values[0]) for t in theta)
        return SearchState(theta, values, self.tol, self.tol)

    def step(self, state, value, grads, first_residual):
        left = state.values[1:] or state.values
        return self._at(state.theta, left)
