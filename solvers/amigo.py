from benchmark_shine.adjoint import GradientDescent
from benchmark_shine.bench.solver import BilevelSolver


class Solver(BilevelSolver):
    """AmIGO: a few gradient steps on the linear system, from the last q.

    Arbel and Mairal, *Amortized implicit differentiation for stochastic
    bilevel optimization*, ICLR 2022, with whole gradients and the suite's
    forward solver.

    Parameters
    ----------
    n_steps : int
        Gradient steps.  Published: 10 on 20 newsgroups.
    n_power : int
        Power iterations for ‖J‖, whose inverse is the step; the paper tunes
        it by hand.
    """

    name = "AmIGO"
    parameters = {
        **BilevelSolver.parameters, "n_steps": [10], "n_power": [5],
    }

    def make_adjoint(self):
        return GradientDescent(self.n_steps, self.n_power)
