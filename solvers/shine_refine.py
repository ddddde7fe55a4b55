from benchmark_shine.adjoint import ConjugateGradient, Refine, Shine
from benchmark_shine.checks import check_integer
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """SHINE-refine: a few conjugate gradient steps from SHINE's q.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 3.

    Parameters
    ----------
    n_refine : int
        Steps.  Published: 0.
    growth : float
        Further int(growth / √eps_k) steps.  Published: 0.01.
    """

    name = "SHINE-refine"
    parameters = {
        **ImplicitSolver.parameters, "n_refine": [5], "growth": [0.0],
    }

    def make_adjoint(self):
        check_integer("n_refine", self.n_refine, least=0)
        return Refine(
            Shine(), ConjugateGradient(self.n_refine, growth=self.growth)
        )
