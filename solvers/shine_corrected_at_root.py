from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import BilevelSolver
from benchmark_shine.checks import check_integer
from benchmark_shine.root import Opa


class Solver(BilevelSolver):
    """SHINE-corrected and SHINE-at-root in one.

    Ours, after Ramzi et al., ICLR 2022: the pairs that q needed at the last
    root are carried to this one, with theta's change taken into account.

    Parameters
    ----------
    n_pairs : int
        OPA pairs at the root, one evaluation of g each.
    """

    name = "SHINE-corrected-at-root"
    parameters = {
        **BilevelSolver.parameters, "keep_pairs": ["corrected"],
        "n_pairs": [5],
    }

    def make_adjoint(self):
        return Shine()

    def make_opa(self, n_outer):
        check_integer("n_pairs", self.n_pairs, least=0)
        return Opa(None, root_pairs=self.n_pairs)
