from benchmark_shine.adjoint import (
    ConjugateGradient, Gmres, QuasiNewtonSolve, Recycled, cold,
)
from benchmark_shine.bench.bilevel import FIRST_Q
from benchmark_shine.checks import check_choice, check_integer
from benchmark_shine.operators import transposed
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
    preconditioner : {"none", "shine", "recycled"} or None
        Of the conjugate gradients: the forward pass's estimate of J⁻¹, or the
        ``memory`` pairs that the last linear solve left (Morales and Nocedal,
        SIAM J. Optim. 2000).
    backward : {"broyden", "gmres"} or None
        Linear solver of equilibrium networks.  Published: broyden.
    """

    name = "HOAG"
    parameters = {
        **ImplicitSolver.parameters, "backward_steps": [None],
        "first_q": [None], "preconditioner": [None], "backward": [None],
    }

    def _check_steps(self):
        if self.backward_steps is not None:
            check_integer("backward_steps", self.backward_steps, least=0)

    def make_adjoint(self):
        self._check_steps()
        if self.preconditioner == "recycled":
            if self.backward_steps is not None or self.first_q != "zero":
                raise ValueError("preconditioner: recycled needs first_q=zero "
                                 "and no limit of backward_steps")
            return Recycled(self.memory)
        limit = [] if self.backward_steps is None else [self.backward_steps]
        return ConjugateGradient(
            *limit, default_q0=check_choice("first_q", self.first_q, FIRST_Q),
            estimate=check_choice("preconditioner", self.preconditioner, {
                "none": cold, "shine": transposed, "recycled": None,
            }),
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
