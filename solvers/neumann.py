from benchmark_shine.adjoint import Neumann
from benchmark_shine.checks import check_integer
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """Truncated Neumann series for the inverse of J.

    Lorraine, Vicol and Duvenaud, *Optimizing millions of hyperparameters by
    implicit differentiation*, AISTATS 2020.

    Parameters
    ----------
    backward_steps : int
        Products of the series.
    n_power : int or None
        Power iterations for ‖J‖, which scales the series; none in
        equilibrium networks, where J is I minus a contraction.
    """

    name = "Neumann"
    parameters = {
        **ImplicitSolver.parameters, "backward_steps": [10],
        "n_power": [None],
    }

    def make_adjoint(self):
        check_integer("backward_steps", self.backward_steps, least=0)
        return Neumann(self.backward_steps, self.n_power)

    def make_batched_adjoint(self, n_steps):
        check_integer("backward_steps", self.backward_steps, least=0)
        return Neumann(self.backward_steps, 0)
