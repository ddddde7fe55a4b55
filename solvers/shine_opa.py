from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.network import SIDES
from benchmark_shine.checks import check_choice, check_pair
from benchmark_shine.root import AdjointBroyden, EveryFewSteps, Opa
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """SHINE-OPA: extra pairs teach B the direction dl/dz.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 2.3.

    Parameters
    ----------
    opa_every : pair of numbers, or None
        A pair every so many inner iterations at the first and at the last
        outer step, on the command line [(10,1)].  None: (5, 5).
    side : {"transposed", "untransposed"} or None
        In networks, Bᵀ dl/dz or, as published, B dl/dz.
    """

    name = "SHINE-OPA"
    parameters = {
        **ImplicitSolver.parameters, "opa_every": [None], "side": [None],
    }

    def make_adjoint(self):
        return Shine()

    def make_opa(self, n_outer):
        check_pair("opa_every", self.opa_every)
        return Opa(EveryFewSteps(*self.opa_every, n_outer))

    def make_batched_finder(self, n_steps, n_outer):
        finder = check_choice(
            "forward", self.forward, {"adjoint_broyden": AdjointBroyden}
        )
        side = check_choice("side", self.side, SIDES)
        return finder(2 * n_steps, n_steps, self.make_opa(n_outer), side)
