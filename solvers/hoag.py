from benchmark_shine.adjoint import ConjugateGradient
from benchmark_shine.checks import check_choice
from benchmark_shine.solver import FIRST_Q, ImplicitSolver


class Solver(ImplicitSolver):
    """HOAG: exact implicit differentiation, to the shrinking tolerance eps_k.

    Pedregosa, *Hyperparameter optimization with approximate gradient*, ICML
    2016.  Published: decay 0.9, memory 10.

    Parameters
    ----------
    first_q : {"zero", "z"}
        First guess of the first linear solve; later ones start from the last
        q.  Published: z, the model's coefficients.
    """

    name = "HOAG"
    parameters = {**ImplicitSolver.parameters, "first_q": ["zero"]}

    def make_adjoint(self):
        return ConjugateGradient(
            first=check_choice("first_q", self.first_q, FIRST_Q)
        )
