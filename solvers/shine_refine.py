from benchmark_shine.adjoint import ConjugateGradient, Refine, Shine, cold
from benchmark_shine.bench.solver import SIDES, ImplicitSolver, broyden_steps
from benchmark_shine.checks import check_choice, check_integer


class Solver(ImplicitSolver):
    """SHINE-refine: a few steps of an iterative solver from SHINE's q.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 3.

    Parameters
    ----------
    n_refine : int
        Steps.  Published: 0, in equilibrium networks 1 to 10.
    growth : float
        Further int(growth / √eps_k) steps.  Published: 0.01.
    estimate : {"transposed", "untransposed", "cold"}
        First matrix of the Broyden steps in equilibrium networks, from the
        forward solver's.  Published: untransposed, though J is not symmetric.
    """

    name = "SHINE-refine"
    parameters = {
        **ImplicitSolver.parameters, "n_refine": [5], "growth": [0.0],
        "estimate": ["transposed"],
    }

    def make_adjoint(self):
        check_integer("n_refine", self.n_refine, least=0)
        return Refine(
            Shine(), ConjugateGradient(self.n_refine, growth=self.growth)
        )

    def make_batched_adjoint(self, n_steps):
        check_integer("n_refine", self.n_refine, least=0)
        choices = SIDES | {"cold": cold}
        side = check_choice("estimate", self.estimate, choices)
        return Refine(Shine(), broyden_steps(self.n_refine, side))
