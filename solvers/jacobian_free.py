from benchmark_shine.adjoint import JacobianFree
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """Jacobian-free backpropagation: q = dl/dz.

    Fung et al., *JFB: Jacobian-free backpropagation for implicit networks*,
    AAAI 2022.  Published: decay 0.78, memory 30.
    """

    name = "Jacobian-Free"

    def make_adjoint(self):
        return JacobianFree()
