from benchmark_shine.engine import Method
from benchmark_shine.rivals.jaxopt import Jaxopt
from benchmark_shine.solver import BilevelSolver

SHARED = (
    "protocol", "step", "criterion", "memory", "tol", "decay", "anchor",
    "moves", "max_iter",
)


class Solver(BilevelSolver):
    """jaxopt: its L-BFGS and its implicit differentiation, by its own CG.

    Blondel et al., *Efficient and modular implicit differentiation*, NeurIPS
    2022.  Same data, products, precision, tolerances and step rule; compiled
    before the clock starts.  Its L-BFGS begins each solve without pairs, its
    conjugate gradients from zero.
    """

    name = library = "jaxopt"
    requirements = ["pip::jaxopt"]
    parameters = {name: BilevelSolver.parameters[name] for name in SHARED}

    def bilevel(self, problem, n_outer):
        step = Jaxopt(problem, self.memory, self.max_iter, self.criterion)
        return Method(step, self.make_outer(), n_outer)

    def pre_run_hook(self, callback):
        super().pre_run_hook(callback)
        # each problem compiles, at its first step, whose result is not used
        # (benchopt's warm_up is once per solver)
        points = self._method.run(self._problem)
        next(points), next(points)
