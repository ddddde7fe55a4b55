from benchmark_shine.adjoint import ConjugateGradient, Gmres, QuasiNewtonSolve
from benchmark_shine.bench.solver import FIRST_Q, ImplicitSolver
from benchmark_shine.checks import check_choice
from benchmark_shine.root import Broyden


class Solver(ImplicitSolver):
    """HOAG: exact implicit differentiation, to the shrinking tolerance eps_k.

    Pedregosa, *Hyperparameter optimization with approximate gradient*, ICML
    2016.  Published: decay 0.9, memory 10.  For equilibrium networks this is
    the original backward pass (Bai, Kolter and Koltun, NeurIPS 2019).

    Parameters
    ----------
    first_q : {"zero", "z"}
        First guess of the first linear solve; later ones start from the last
        q.  Published: z, the model's coefficients.
    backward : {"broyden", "gmres"}
        Linear solver of equilibrium networks.  Published: broyden.
    """

    name = "HOAG"
    parameters = {
        **ImplicitSolver.parameters, "first_q": ["zero"],
        "backward": ["broyden"],
    }

    def make_adjoint(self):
        return ConjugateGradient(
            default_q0=check_choice("first_q", self.first_q, FIRST_Q)
        )

    def make_batched_adjoint(self, n_steps):
        return check_choice("backward", self.backward, {
            "broyden": QuasiNewtonSolve(Broyden(n_steps, n_steps)),
            "gmres": Gmres(n_steps),
        })
