import numpy as np

from benchmark_shine.checks import check_choice
from benchmark_shine.solver import SearchSolver

ORDERS = {"descending": -1, "ascending": 1}


class Solver(SearchSolver):
    """Grid search: equally spaced values of theta, each warm-started.

    The grid of Ramzi et al., figure 1: 10 values in [-12, 12].

    Parameters
    ----------
    order : {"descending", "ascending"} or None
        From strong penalties, which make easy inner problems, to weak ones,
        or (published) the other way.
    """

    name = "Grid-search"
    parameters = {**SearchSolver.parameters, "order": [None]}

    def values(self, problem):
        step = check_choice("order", self.order, ORDERS)
        return np.linspace(-12, 12, self.n_points)[::step]
