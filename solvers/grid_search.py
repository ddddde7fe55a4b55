import numpy as np

from benchmark_shine.solver import SearchSolver


class Solver(SearchSolver):
    """Grid search: equally spaced values of theta, each warm-started.

    The grid of Ramzi et al., figure 1: 10 values in [-12, 12].
    """

    name = "Grid-search"

    def values(self, problem):
        return np.linspace(-12, 12, self.n_points)
