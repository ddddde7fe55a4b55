from benchmark_shine.adjoint import Phantom
from benchmark_shine.solver import NetworkSolver


class Solver(NetworkSolver):
    """Phantom gradient: a few damped terms of the Neumann series.

    Geng, Zhang, Bai, Wang and Lin, *On training implicit models*, NeurIPS
    2021, equation 13, at the root.

    Parameters
    ----------
    k, tau : int, float
        Terms and damping.  torchdeq advises tau of 0.5 to 0.7 for MDEQ.
    """

    name = "Phantom"
    parameters = {**NetworkSolver.parameters, "k": [5], "tau": [1.0]}

    def make_batched_adjoint(self, n_steps):
        return Phantom(self.k, self.tau)
