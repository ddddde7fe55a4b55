from benchmark_shine.adjoint import (
    Guarded, QuasiNewtonSolve, Refine, Shine,
)
from benchmark_shine.checks import check_number
from benchmark_shine.operators import transposed
from benchmark_shine.root import Broyden
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """SHINE, its q corrected where the hypergradient is not certain.

    Ours; see `benchmark_shine.adjoint.Guarded`.  In equilibrium networks
    Broyden steps from SHINE's q correct each sample whose relative residual
    is above ``guard``.

    Parameters
    ----------
    guard : float or None
        Relative error of the hypergradient, as it is estimated; in networks
        relative residual of each sample's adjoint system.
    """

    name = "SHINE-guarded"
    parameters = {**ImplicitSolver.parameters, "guard": [None]}

    def make_adjoint(self):
        return Guarded(self.guard, self.memory)

    def make_batched_adjoint(self, n_steps):
        check_number("guard", self.guard, least=0)
        return Refine(Shine(), QuasiNewtonSolve(
            Broyden(n_steps, n_steps), transposed, tol=self.guard
        ))
