from benchmark_shine.adjoint import Phantom
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """Phantom gradient: a few damped terms of the Neumann series.

    Geng, Zhang, Bai, Wang and Lin, *On training implicit models*, NeurIPS
    2021, equation 13, at the root.

    Parameters
    ----------
    k, tau : int, float
        Terms and damping.  torchdeq advises tau of 0.5 to 0.7 for MDEQ.
    """

    name = "Phantom"
    parameters = {**ImplicitSolver.parameters, "k": [5], "tau": [1.0]}
    test_config = {"dataset": {"name": "digits"}}

    def make_adjoint(self):
        raise ValueError(
            f"{self.name}: its steps fit J = I - contraction; on bi-level "
            "problems the series is Neumann's, with a step from ‖J‖"
        )

    def make_batched_adjoint(self, n_steps):
        return Phantom(self.k, self.tau)
