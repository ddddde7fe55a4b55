from benchmark_shine.adjoint import Gmres, QuasiNewtonSolve
from benchmark_shine.bench.linear_solver import linear_solver
from benchmark_shine.checks import check_choice, check_integer
from benchmark_shine.root import Broyden
from benchmark_shine.solver import ImplicitSolver, broyden_steps


class Solver(ImplicitSolver):
    """HOAG: exact implicit differentiation, to the shrinking tolerance eps_k.

    Pedregosa, *Hyperparameter optimization with approximate gradient*, ICML
    2016.  For equilibrium networks this is the original backward pass (Bai,
    Kolter and Koltun, NeurIPS 2019).

    Parameters
    ----------
    backward_steps : int or None
        Most iterations of the linear solver; in networks exactly so many
        (Ramzi et al., ICLR 2022, figures 3 and E.1).  None: as many as the
        tolerance asks for.
    first_q : {"zero", "z"} or None
        First guess of the first linear solve; later ones start from the last
        q.  Published: z, the model's coefficients.
    preconditioner : {"none", "shine", "recycled", "nystrom"} or None
        Of the conjugate gradients: the forward pass's estimate of J⁻¹; the
        ``memory`` pairs that the last linear solve left (Morales and Nocedal,
        SIAM J. Optim. 2000); or a random sketch (Frangella, Tropp and Udell,
        SIMAX 2023).
    rank, refresh : int or None
        Of the sketch, see `benchmark_shine.adjoint.NystromPCG`.
    stop : {"residual", "hypergradient"} or None
        What ends the conjugate gradients: the residual, or the estimated
        error of the hypergradient (Ehrhardt, Gazzola and Scott 2024).
    backward : {"broyden", "gmres"} or None
        Linear solver of equilibrium networks.  Published: broyden.
    """

    name = "HOAG"
    parameters = {
        **ImplicitSolver.parameters, "backward_steps": [None],
        "first_q": [None], "preconditioner": [None], "rank": [None],
        "refresh": [None], "stop": [None], "backward": [None],
    }

    def _check_steps(self):
        if self.backward_steps is not None:
            check_integer("backward_steps", self.backward_steps, least=0)

    def make_adjoint(self):
        self._check_steps()
        return linear_solver(
            self.preconditioner, self.stop, self.first_q, self.backward_steps,
            self.memory, self.rank, self.refresh,
        )

    def make_batched_adjoint(self, n_steps):
        self._check_steps()
        k = self.backward_steps
        return check_choice("backward", self.backward, {
            "broyden": QuasiNewtonSolve(Broyden(n_steps, n_steps)),
            "gmres": Gmres(n_steps),
        } if k is None else {
            "broyden": broyden_steps(k), "gmres": Gmres(k, tol=0.0),
        })
