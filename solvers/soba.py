from benchmark_shine.single_loop import Soba
from benchmark_shine.solver import BilevelSolver


class Solver(BilevelSolver):
    """SOBA: no inner loops, z, q and theta move at once (whole gradients).

    Dagréou et al., *A framework for bilevel optimization that enables
    stochastic and global variance reduction algorithms*, NeurIPS 2022.

    Parameters
    ----------
    n_iter : int
        Iterations per point of the curve.
    ratio : float
        Inner over outer step size; the paper searches for it.
    n_power : int
        Power iterations for ‖J‖, whose inverse is the inner step.

    ``tol``, ``memory``, ``c2``, ``scale`` and ``max_iter`` are those of the
    one solve that z starts from.
    """

    name = "SOBA"
    parameters = {
        name: BilevelSolver.parameters[name]
        for name in ("memory", "tol", "c2", "scale", "max_iter")
    } | {"n_iter": [50], "ratio": [10.0], "n_power": [5]}
    keep_pairs = False

    def make_adjoint(self):
        return None

    def for_bilevel(self, problem, n_outer):
        find_root = self.make_finder(problem, n_outer)
        return Soba(
            find_root, self.tol, self.n_iter, self.ratio, self.n_power
        ), None, None, n_outer

    def steps(self):
        loop, *_, n_outer = self._parts
        yield from loop(self._problem, n_outer)
