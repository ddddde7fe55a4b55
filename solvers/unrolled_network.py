from benchmark_shine.adjoint import Phantom
from benchmark_shine.bench.solver import NetworkSolver
from benchmark_shine.checks import check_integer
from benchmark_shine.engine import descend
from benchmark_shine.loops.unrolled import Unrolled
from benchmark_shine.root import FixedPoint


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
    parameters = {**NetworkSolver.parameters, "n_layers": [10]}

    # for the metrics of q alone: what the layers amount to once they converge
    def make_batched_finder(self, n_steps, n_outer):
        check_integer("n_layers", self.n_layers, least=1)
        self._leave_alone({"forward"}, "unrolled networks")
        return FixedPoint(self.n_layers)

    def make_batched_adjoint(self, n_steps):
        return Phantom(self.n_layers)

    def steps(self):
        *_, outer, n = self._parts
        layers = Unrolled(self.n_layers)
        yield from descend(self._problem, layers, outer, n, self._resumed)
