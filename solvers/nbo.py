from benchmark_shine.engine import Method
from benchmark_shine.loops.newton import NewtonStep
from benchmark_shine.solver import BilevelSolver


class Solver(BilevelSolver):
    """NBO: one block solve gives z its Newton step, and corrects q.

    Dong, Yang, Yao and Zhang, *Efficient curvature-aware hypergradient
    approximation for bilevel optimization*, ICML 2025.

    Parameters
    ----------
    n_newton : int
        Most Newton steps per outer step; with more than one, the step that
        begins within the inner tolerance is the last.  Published: 1.
    inner : {"shared", "own"}
        "shared": at each outer step the suite's forward solver solves for z
        first.  "own": it makes the first outer step alone, and Newton steps
        all others, as published; 10 of them are better then than 1.
    """

    name = "NBO"
    parameters = {
        **BilevelSolver.parameters, "n_newton": [1], "inner": ["shared"],
    }

    def bilevel(self, problem, n_outer):
        find_root = self.make_finder(problem, n_outer)
        step = NewtonStep(
            find_root, self.n_newton, self.criterion, self.inner
        )
        return Method(step, self.make_outer(), n_outer)
