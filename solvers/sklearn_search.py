import numpy as np

from benchmark_shine.outer import Search
from benchmark_shine.rivals.sklearn import ScikitLearn
from benchmark_shine.solver import SearchSolver


class Solver(SearchSolver):
    """scikit-learn's own fits along its default path of penalties.

    What ``LogisticRegressionCV`` does (Pedregosa et al., JMLR 2011): values
    of C = exp(-theta) from 1e-4 to 1e4, equally spaced in log C, each fit
    from the last; scored on the one validation part.

    Parameters
    ----------
    n_points : int
        Values of C; scikit-learn's default is 10.
    tol, max_iter
        Of scikit-learn's estimator; 1e-4 is its default.
    """

    name = "sklearn-search"
    parameters = {"n_points": [10], "tol": [1e-4], "max_iter": [1000]}

    def values(self, problem):
        return -np.log(np.logspace(-4, 4, self.n_points))

    def make_search(self, problem):
        # an estimator has a tolerance of its own
        return Search(tuple(self.values(problem).tolist()))

    def make_step(self, problem):
        return ScikitLearn(problem, self.tol, self.max_iter)
