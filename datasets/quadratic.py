from benchmark_shine.bench.dataset import ProblemDataset
from benchmark_shine.problems.quadratic import Quadratic


class Dataset(ProblemDataset):
    """Simulated quadratic problem with a chosen spectrum of J.

    The root, q, the hypergradient and the optimum are formulas, see
    `benchmark_shine.problems.quadratic`.  ``dimension`` is that of z,
    ``condition`` that of J, ``clusters`` its number of distinct eigenvalues
    (None: all differ), ``n_theta`` the number of entries of theta.
    """

    name = "quadratic"
    parameters = {
        "dimension": [1_000],
        "condition": [1e4],
        "clusters": [None],
        "n_theta": [10],
        "theta": [0.0],
        "seed": [0],
    }
    test_parameters = {"dimension": [20], "condition": [100.0],
                       "n_theta": [2]}

    def build(self):
        return Quadratic(
            self.dimension, self.condition, self.clusters, self.n_theta,
            self.theta, self.seed,
        )
