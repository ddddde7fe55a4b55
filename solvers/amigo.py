from benchmark_shine.adjoint import GradientDescent
from benchmark_shine.checks import check_integer
from benchmark_shine.solver import BilevelSolver


class Solver(BilevelSolver):
    """AmIGO: a few gradient steps on the linear system, from the last q.

    Arbel and Mairal, *Amortized implicit differentiation for stochastic
    bilevel optimization*, ICLR 2022, with whole gradients and the suite's
    forward solver.

    Parameters
    ----------
    backward_steps : int
        Gradient steps.  Published: 10 on 20 newsgroups.
    n_power : int or None
        Power iterations for ‖J‖, whose inverse is the step size; the paper
        tunes the step size by hand.
    """

    name = "AmIGO"
    parameters = {
        **BilevelSolver.parameters, "backward_steps": [10], "n_power": [None],
    }

    def make_adjoint(self):
        check_integer("backward_steps", self.backward_steps, least=0)
        return GradientDescent(self.backward_steps, self.n_power)
