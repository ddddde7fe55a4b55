from benchmark_shine.adjoint import Shine
from benchmark_shine.checks import check_pair
from benchmark_shine.root import EveryFewSteps, Opa
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """SHINE-OPA: extra secant pairs teach B the direction dl/dz.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 2.3.

    Parameters
    ----------
    opa_every : pair of numbers
        A pair every so many inner iterations at the first and at the last
        outer step, linear between; on the command line a pair is a list of
        one, opa_every=[(10,1)].  Published: (29, 0) over 30 outer steps,
        memory 60, decay 0.78; in the non-linear least squares (12.25, 0)
        over 50.
    """

    name = "SHINE-OPA"
    parameters = {**ImplicitSolver.parameters, "opa_every": [(5, 5)]}

    def make_adjoint(self):
        return Shine()

    def make_opa(self, n_outer):
        check_pair("opa_every", self.opa_every)
        return Opa(EveryFewSteps(*self.opa_every, n_outer))
