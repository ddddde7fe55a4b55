from benchmark_shine.adjoint import ConjugateGradient, Refine, Shine, cold
from benchmark_shine.bench.network import SIDES
from benchmark_shine.checks import check_choice, check_integer
from benchmark_shine.root import Opa
from benchmark_shine.solver import ImplicitSolver, broyden_steps


class Solver(ImplicitSolver):
    """SHINE: q = Bᵀ dl/dz, with the inverse the forward solver ended with.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, sections 2.1 and 3.

    Parameters
    ----------
    backward_steps : int
        Steps of an iterative solver from there on: SHINE-refine.
    growth : float or None
        int(growth / √eps_k) further steps at outer step k.
    root_pairs : int or None
        OPA pairs at the root, once the forward solver has ended, one
        evaluation of g each.  Ours: with warm starts the last solve learns
        few pairs, and these are the ones that q needs.
    estimate : {"transposed", "untransposed", "cold"} or None
        First matrix of the Broyden steps in equilibrium networks, from the
        forward solver's; None: transposed.  Published: untransposed.
    """

    name = "SHINE"
    parameters = {
        **ImplicitSolver.parameters, "backward_steps": [0], "growth": [None],
        "root_pairs": [None], "estimate": [None],
    }

    def make_adjoint(self):
        check_integer("backward_steps", self.backward_steps, least=0)
        if not self.backward_steps and self.growth == 0:
            return Shine()
        return Refine(Shine(), ConjugateGradient(
            self.backward_steps, growth=self.growth
        ))

    def make_opa(self, n_outer):
        check_integer("root_pairs", self.root_pairs, least=0)
        if self.root_pairs:
            return Opa(None, root_pairs=self.root_pairs)

    def make_batched_adjoint(self, n_steps):
        check_integer("backward_steps", self.backward_steps, least=0)
        estimate = check_choice("estimate", self.estimate or "transposed", {
            **SIDES, "cold": cold,
        })
        if self.backward_steps:
            return Refine(Shine(), broyden_steps(
                self.backward_steps, estimate
            ))
        if self.estimate:
            raise ValueError("estimate: needs backward_steps of at least 1")
        return Shine()
