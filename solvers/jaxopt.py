from benchmark_shine.bench.solver import StepSolver
from benchmark_shine.rivals.jaxopt import Jaxopt


class Solver(StepSolver):
    """jaxopt: its L-BFGS and its implicit differentiation, by its own CG.

    Blondel et al., *Efficient and modular implicit differentiation*, NeurIPS
    2022.  Same data, products, precision, tolerances and step rule; compiled
    before the clock starts.  Its L-BFGS begins each solve without pairs, its
    conjugate gradients from zero.
    """

    name = library = "jaxopt"
    requirements = ["pip::jaxopt"]
    parameters = {
        name: StepSolver.parameters[name]
        for name in ("memory", "tol", "decay", "anchor", "moves", "max_iter")
    }

    def make_finder(self, problem, n_outer):
        return Jaxopt(problem, self.memory, self.max_iter)

    def pre_run_hook(self, callback):
        super().pre_run_hook(callback)
        # the first step compiles; what it finds is not used
        steps = self.steps()
        next(steps), next(steps)
