from benchmark_shine.adjoint import ConjugateGradient, JacobianFree, Refine
from benchmark_shine.checks import check_integer
from benchmark_shine.solver import ImplicitSolver, broyden_steps


class Solver(ImplicitSolver):
    """Jacobian-free backpropagation: q = dl/dz.

    Fung et al., *JFB: Jacobian-free backpropagation for implicit networks*,
    AAAI 2022.

    Parameters
    ----------
    backward_steps : int
        Steps of an iterative solver from there on (Ramzi et al., ICLR 2022,
        figure 3).
    """

    name = "Jacobian-Free"
    parameters = {**ImplicitSolver.parameters, "backward_steps": [0]}

    def _refined(self, steps):
        check_integer("backward_steps", self.backward_steps, least=0)
        if not self.backward_steps:
            return JacobianFree()
        return Refine(JacobianFree(), steps(self.backward_steps))

    def make_adjoint(self):
        return self._refined(ConjugateGradient)

    def make_batched_adjoint(self, n_steps):
        return self._refined(broyden_steps)
