from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import SIDES, ImplicitSolver
from benchmark_shine.checks import check_choice, check_pair
from benchmark_shine.root import AdjointBroyden, EveryFewSteps, Opa


class Solver(ImplicitSolver):
    """SHINE-OPA: extra pairs teach B the direction dl/dz.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 2.3.

    Parameters
    ----------
    opa_every : pair of numbers
        A pair every so many inner iterations at the first and at the last
        outer step, on the command line [(10,1)].  Published: (29, 0), memory
        60, decay 0.78; nls (12.25, 0), 50 outer steps; networks (5, 5).
    side : {"transposed", "untransposed"}
        In networks, Bᵀ dl/dz or, as published, B dl/dz.
    """

    name = "SHINE-OPA"
    parameters = {
        **ImplicitSolver.parameters, "forward": ["adjoint_broyden"],
        "opa_every": [(5, 5)], "side": ["transposed"],
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
