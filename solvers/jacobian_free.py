from benchmark_shine.adjoint import (
    ConjugateGradient, JacobianFree, Neumann, Refine,
)
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
    n_power : int or None
        Power iterations for L = ‖J‖ in bi-level problems, after which q =
        dl/dz / L: the derivative of one gradient step of length 1 / L (Bolte,
        Pauwels and Vaiter, NeurIPS 2023).  0, the protocols' value,
        takes q = dl/dz.
    """

    name = "Jacobian-Free"
    parameters = {
        **ImplicitSolver.parameters, "backward_steps": [0], "n_power": [None],
    }

    def _refined(self, base, steps):
        check_integer("backward_steps", self.backward_steps, least=0)
        if not self.backward_steps:
            return base
        return Refine(base, steps(self.backward_steps))

    def make_adjoint(self):
        check_integer("n_power", self.n_power, least=0)
        # the first term of a Neumann series is q / L
        base = Neumann(0, self.n_power) if self.n_power else JacobianFree()
        return self._refined(base, ConjugateGradient)

    def make_batched_adjoint(self, n_steps):
        return self._refined(JacobianFree(), broyden_steps)
