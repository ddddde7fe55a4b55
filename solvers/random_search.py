import numpy as np

from benchmark_shine.solver import SearchSolver


class Solver(SearchSolver):
    """Random search: uniform values of theta, each warm-started.

    Bergstra and Bengio, JMLR 2012; as in Ramzi et al., figure E.1, 10 values
    in [-12, 12], drawn with the data set's seed.
    """

    name = "Random-search"

    def values(self, problem):
        return np.random.RandomState(problem.seed).uniform(
            -12, 12, self.n_points
        )
