from benchmark_shine.adjoint import Neumann
from benchmark_shine.bench.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """Truncated Neumann series for the inverse of J.

    Lorraine, Vicol and Duvenaud, *Optimizing millions of hyperparameters by
    implicit differentiation*, AISTATS 2020.

    Parameters
    ----------
    n_steps : int
        Products of the series.
    n_power : int
        Power iterations for ‖J‖, which scales it; none where J is I minus a
        contraction, in equilibrium networks.
    """

    name = "Neumann"
    parameters = {
        **ImplicitSolver.parameters, "n_steps": [10], "n_power": [5],
    }

    def make_adjoint(self):
        return Neumann(self.n_steps, self.n_power)

    def make_batched_adjoint(self, n_steps):
        return Neumann(self.n_steps, 0)
