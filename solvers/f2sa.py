from benchmark_shine.engine import Method
from benchmark_shine.loops.penalty import F2sa, check_energy_theta
from benchmark_shine.solver import BilevelSolver


class Solver(BilevelSolver):
    """F2SA: a second, penalised solve and no second-order product.

    Kwon, Kwon, Wright and Nowak, *A fully first-order method for stochastic
    bilevel optimization*, ICML 2023, algorithm 1, with the suite's root
    finder in place of gradient steps; order 2 is F2SA-2 of arXiv 2509.02937.

    Parameters
    ----------
    order : {1, 2}
        Of the difference quotient.
    nu : float
        Factor of the difference step, whose inverse is the penalty weight.
    tightness : float
        From 0 to 1: how much more exact both solves are than other methods'.
    """

    name = "F2SA"
    parameters = {
        **BilevelSolver.parameters, "order": [1], "nu": [0.1],
        "tightness": [1.0],
    }

    def bilevel(self, problem, n_outer):
        check_energy_theta(problem.draw(*problem.start(), 0))
        find_root = self.make_finder(problem, n_outer)
        step = F2sa(find_root, self.order, self.nu, self.tightness)
        return Method(step, self.make_outer(), n_outer)
