from benchmark_shine.adjoint import Recycled
from benchmark_shine.bench.solver import BilevelSolver
from benchmark_shine.checks import check_integer


class Solver(BilevelSolver):
    """HOAG, each linear solve preconditioned by the one before.

    Morales and Nocedal, *Automatic preconditioning by limited memory
    quasi-Newton updating*, SIAM J. Optim. 2000.  Exact to the same shrinking
    tolerance as HOAG, from the last q as there.

    Parameters
    ----------
    n_recycled : int
        Pairs of the last solve that are kept.
    """

    name = "Recycled-PCG"
    parameters = {**BilevelSolver.parameters, "n_recycled": [30]}

    def make_adjoint(self):
        check_integer("n_recycled", self.n_recycled, least=1)
        return Recycled(self.n_recycled)
