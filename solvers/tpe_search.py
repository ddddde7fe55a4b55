from benchmark_shine.rivals.optuna import Tpe
from benchmark_shine.solver import SearchSolver


class Solver(SearchSolver):
    """Optuna's TPE sampler over theta, each solve warm-started.

    Bergstra et al., NeurIPS 2011; Akiba et al., *Optuna*, KDD 2019.  Values
    in [-12, 12], drawn with the data set's seed.

    Parameters
    ----------
    n_points : int
        Values tried: as many as a gradient method takes steps.
    n_startup : int
        The first ones, drawn at random; Optuna's default.
    """

    name, library = "TPE-search", "optuna"
    requirements = ["pip::optuna"]
    parameters = {
        **SearchSolver.parameters, "n_points": [30], "n_startup": [10],
    }

    def make_search(self, problem):
        return Tpe(self.rtol, self.atol, self.n_startup, problem.seed)
