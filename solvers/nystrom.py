from benchmark_shine.adjoint import Nystrom, columns, gaussian
from benchmark_shine.checks import check_choice
from benchmark_shine.solver import BilevelSolver

SKETCHES = {"columns": columns, "gaussian": gaussian}


class Solver(BilevelSolver):
    """Nyström approximation of J, and Woodbury's formula for its inverse.

    Hataya and Yamada, *Nyström method for accurate and scalable implicit
    differentiation*, AISTATS 2023.

    Parameters
    ----------
    rank : int
        Columns, one product each.  Published: 5 to 20.
    rho : float or None
        Added to the low-rank part.  Published: 0.01; None: the penalty that
        J is known to contain.
    sketch : {"columns", "gaussian"}
        Random columns as published, or random combinations of them.
    seed : int
        Of the sketch.
    """

    name = "Nystrom"
    parameters = {
        **BilevelSolver.parameters, "rank": [10], "rho": [None],
        "sketch": ["columns"], "seed": [0],
    }

    def make_adjoint(self):
        sketch = check_choice("sketch", self.sketch, SKETCHES)
        return Nystrom(self.rank, self.rho, sketch, self.seed)
