from functools import partial

from benchmark_shine.engine import Loop
from benchmark_shine.loops.soba import Soba
from benchmark_shine.solver import BilevelSolver

FIRST_SOLVE = (
    "protocol", "criterion", "memory", "tol", "c2", "scale", "max_iter",
)


class Solver(BilevelSolver):
    """SOBA: no inner loops, z, q and theta move at once (whole gradients).

    Dagréou et al., *A framework for bilevel optimization that enables
    stochastic and global variance reduction algorithms*, NeurIPS 2022.

    Parameters
    ----------
    n_iter : int
        Iterations per point of the curve, after a first solve for z.
    ratio : float
        Inner over outer step size; the paper searches for it.
    n_power : int or None
        Power iterations for ‖J‖, whose inverse is the inner step.
    """

    name = "SOBA"
    parameters = {
        name: BilevelSolver.parameters[name] for name in FIRST_SOLVE
    } | {"n_iter": [50], "ratio": [10.0], "n_power": [None]}
    keep_pairs, polish = False, 0

    def bilevel(self, problem, n_outer):
        absolute = self.criterion == "energy"
        first = partial(
            self.make_finder(problem, n_outer),
            **{"atol" if absolute else "rtol": self.tol},
        )
        return Loop(Soba(
            first, n_outer, self.n_iter, self.ratio, self.n_power
        ), n_outer)
