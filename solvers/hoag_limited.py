from benchmark_shine.adjoint import ConjugateGradient
from benchmark_shine.bench.solver import FIRST_Q, ImplicitSolver, broyden_steps
from benchmark_shine.checks import check_choice, check_integer


class Solver(ImplicitSolver):
    """HOAG with a limited backward: a few conjugate gradient steps.

    A few Broyden steps where J is not symmetric.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, figure E.1.  Published: 5
    steps, decay 0.9, memory 10.

    Parameters
    ----------
    n_cg : int
        Steps, of either method.
    first_q : {"zero", "z"}
        As in HOAG.  Published: z, which 5 steps do not forget.
    """

    name = "HOAG-limited"
    parameters = {
        **ImplicitSolver.parameters, "n_cg": [5], "first_q": ["zero"],
    }

    def make_adjoint(self):
        check_integer("n_cg", self.n_cg, least=0)
        return ConjugateGradient(
            self.n_cg,
            default_q0=check_choice("first_q", self.first_q, FIRST_Q),
        )

    def make_batched_adjoint(self, n_steps):
        check_integer("n_cg", self.n_cg, least=0)
        return broyden_steps(self.n_cg)
