from benchmark_shine.adjoint import Guarded, guarded_by_sample
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """SHINE, its q corrected where the hypergradient is not certain.

    Ours; see `benchmark_shine.adjoint.Guarded`.  The q that it corrects is
    that of Ramzi et al., ICLR 2022.  In equilibrium networks
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
        return guarded_by_sample(self.guard, n_steps)
