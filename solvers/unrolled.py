from benchmark_shine.engine import Method
from benchmark_shine.loops.unrolled import Truncated
from benchmark_shine.solver import BilevelSolver


class Solver(BilevelSolver):
    """Truncated back-propagation through steps of the inner solver.

    Shaban et al., *Truncated back-propagation for bilevel optimization*,
    AISTATS 2019, on gradient descent as in Franceschi et al., ICML 2017.

    Parameters
    ----------
    backward_steps : int
        Steps that are differentiated, after the suite's forward solver.
    n_power : int or None
        Power iterations for ‖J‖, whose inverse is the step size.
    """

    name = "Unrolled"
    parameters = {
        **BilevelSolver.parameters, "backward_steps": [20],
        "n_power": [None],
    }

    def bilevel(self, problem, n_outer):
        find_root = self.make_finder(problem, n_outer)
        step = Truncated(find_root, self.backward_steps, self.n_power)
        return Method(step, self.make_outer(), n_outer)
