from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """SHINE: q = Bᵀ dl/dz, with the inverse the forward solver ended with.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 2.1.  Published:
    decay 0.78, memory 30.
    """

    name = "SHINE"

    def make_adjoint(self):
        return Shine()
