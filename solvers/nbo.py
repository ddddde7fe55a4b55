from benchmark_shine.engine import Method
from benchmark_shine.loops.newton import NewtonStep
from benchmark_shine.solver import BilevelSolver


class Solver(BilevelSolver):
    """NBO: one block solve gives z its Newton step, and corrects q.

    Dong, Yang, Yao and Zhang, *Efficient curvature-aware hypergradient
    approximation for bilevel optimization*, ICML 2025.  The first outer step
    uses the suite's forward solver.

    Parameters
    ----------
    n_newton : int
        Most Newton steps per outer step; with more than one, the step that
        begins within the inner tolerance is the last.  Published: 1, where
        theta moves slowly.
    """

    name = "NBO"
    parameters = {**BilevelSolver.parameters, "n_newton": [10]}
    keep_pairs = False

    def bilevel(self, problem, n_outer):
        find_root = self.make_finder(problem, n_outer)
        step = NewtonStep(find_root, self.n_newton, self.criterion)
        return Method(step, self.make_outer(), n_outer)
