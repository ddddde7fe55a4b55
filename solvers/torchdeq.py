from benchmark_shine.adjoint import Phantom, QuasiNewtonSolve
from benchmark_shine.checks import check_choice
from benchmark_shine.rivals.torchdeq import TorchDEQ
from benchmark_shine.solver import NetworkSolver

SOLVERS = "broyden", "anderson", "fixed_point_iter"


class Solver(NetworkSolver):
    """torchdeq's solvers in the forward and in the backward pass.

    Geng and Kolter, *TorchDEQ: a library for deep equilibrium models*, 2023.

    Parameters
    ----------
    forward, backward : {"broyden", "anderson", "fixed_point_iter"} or None
        Of its solvers; None: broyden forward, fixed_point_iter backward.
        backward solves Jᵀ q = dl/dz, or is "phantom": the series that its
        layer unrolls at the root.
    k, tau : int, float, or None
        Terms and damping of the phantom gradient; None: 5 and 1.
    """

    name = library = "torchdeq"
    parameters = {
        **NetworkSolver.parameters, "backward": [None], "k": [None],
        "tau": [None],
    }

    def make_batched_finder(self, n_steps, n_outer):
        finders = {name: TorchDEQ(name, n_steps) for name in SOLVERS}
        return check_choice("forward", self.forward, finders)

    def make_batched_adjoint(self, n_steps):
        return check_choice("backward", self.backward, {
            name: QuasiNewtonSolve(TorchDEQ(name, n_steps)) for name in SOLVERS
        } | {"phantom": Phantom(
            5 if self.k is None else self.k,
            1.0 if self.tau is None else self.tau,
        )})
