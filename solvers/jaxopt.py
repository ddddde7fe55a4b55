from benchmark_shine.engine import Method
from benchmark_shine.rivals.jaxopt import Jaxopt
from benchmark_shine.solver import BilevelSolver

SHARED = (
    "protocol", "step", "criterion", "memory", "tol", "decay", "anchor",
    "moves", "max_iter",
)


class Solver(BilevelSolver):
    """jaxopt: its L-BFGS and its implicit differentiation.

    Blondel et al., *Efficient and modular implicit differentiation*, NeurIPS
    2022.  Same data, products, precision, tolerances and step rule; compiled
    before the clock starts.

    Parameters
    ----------
    keep : bool
        Whether its L-BFGS begins with the pairs of the last outer step, and
        its conjugate gradients with the last q; without, both begin anew.
    q : {"cg", "shine"} or None
        By its conjugate gradients (None, the default), or by the pairs of its
        L-BFGS.
    """

    name = library = "jaxopt"
    requirements = ["pip::jaxopt"]
    parameters = {name: BilevelSolver.parameters[name] for name in SHARED} | {
        "keep": [True], "q": [None],
    }

    def make_step(self, problem):
        """Return the outer step of the library."""
        return Jaxopt(
            problem, self.memory, self.max_iter, self.criterion, self.keep,
            self.q,
        )

    def bilevel(self, problem, n_outer):
        return Method(self.make_step(problem), self.make_outer(), n_outer)

    def pre_run_hook(self, callback):
        super().pre_run_hook(callback)
        # each problem compiles, at its first step, whose result is not used
        # (benchopt's warm_up is once per solver)
        points = self._method.run(self._problem)
        next(points), next(points)
