from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import BilevelSolver


class Solver(BilevelSolver):
    """SHINE whose pairs follow theta from one outer step to the next.

    Ours, after Ramzi et al., ICLR 2022: their Python L-BFGS keeps its pairs
    though they are of another penalty.  A pair s, y of the old weights is
    one of the new weights once y grows by their difference times s: exact
    for a quadratic penalty, whatever the data term.
    """

    name = "SHINE-corrected"
    parameters = {**BilevelSolver.parameters, "keep_pairs": ["corrected"]}

    def make_adjoint(self):
        return Shine()
