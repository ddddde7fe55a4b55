from benchmark_shine.bench.solver import StepSolver
from benchmark_shine.loops.unrolled import Truncated


class Solver(StepSolver):
    """Truncated back-propagation through steps of the inner solver.

    Shaban et al., *Truncated back-propagation for bilevel optimization*,
    AISTATS 2019, on gradient descent as in Franceschi et al., ICML 2017.

    Parameters
    ----------
    n_steps : int
        Steps that are differentiated, after the suite's forward solver.
    n_power : int
        Power iterations for ‖J‖, whose inverse is their length.
    """

    name = "Unrolled"
    parameters = {
        **StepSolver.parameters, "n_steps": [20], "n_power": [5],
    }

    def make_finder(self, problem, n_outer):
        find_root = super().make_finder(problem, n_outer)
        return Truncated(find_root, self.n_steps, self.n_power)
