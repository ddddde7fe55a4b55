from benchmark_shine.engine import Method
from benchmark_shine.loops.unrolled import Unrolled
from benchmark_shine.solver import NetworkSolver


class Solver(NetworkSolver):
    """Back-propagation through n applications of f from z = 0, and no root.

    The weight-tied network of which the equilibrium is the limit (Bai, Kolter
    and Koltun, NeurIPS 2019, section 3); from the root on it is `Phantom`.

    Parameters
    ----------
    n_layers : int
        Applications of f.  Published (code): 10 where it warms MDEQs up.
    """

    name = "Unrolled-network"
    parameters = {
        "protocol": ["fair"], "n_layers": [10], "slurm_gres": [None],
    }

    def network(self, problem, n_outer):
        outer = self.make_trainer(problem, n_outer)
        return Method(Unrolled(self.n_layers), outer, n_outer)
