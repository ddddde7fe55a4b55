from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import BilevelSolver
from benchmark_shine.checks import check_integer
from benchmark_shine.root import Opa


class Solver(BilevelSolver):
    """SHINE with OPA pairs at the root, once the forward solver has ended.

    Ours, after Ramzi et al., ICLR 2022, section 2.3: with warm starts the
    last solve learns few pairs, and these are the ones that q needs.

    Parameters
    ----------
    n_pairs : int
        Pairs, one evaluation of g each.
    """

    name = "SHINE-at-root"
    parameters = {**BilevelSolver.parameters, "n_pairs": [5]}

    def make_adjoint(self):
        return Shine()

    def make_opa(self, n_outer):
        check_integer("n_pairs", self.n_pairs, least=0)
        return Opa(None, root_pairs=self.n_pairs)
