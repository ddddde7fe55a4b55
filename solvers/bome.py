from functools import partial

from benchmark_shine.engine import Loop
from benchmark_shine.loops.bome import Bome
from benchmark_shine.loops.penalty import check_energy_theta
from benchmark_shine.solver import BilevelSolver

FIRST_SOLVE = (
    "protocol", "criterion", "memory", "tol", "c2", "scale", "max_iter",
)


class Solver(BilevelSolver):
    """BOME: gradient steps on z and theta, corrected by a dynamic barrier.

    Liu, Ye, Wright, Stone and Liu, *BOME! Bilevel optimization made easy: a
    simple first-order approach*, NeurIPS 2022, algorithm 1.

    Parameters
    ----------
    n_iter : int
        Moves per point of the curve, after a first solve for z.
    n_inner : int
        Gradient steps on the inner problem per move; the paper's 10.
    eta : float
        Factor of the barrier; the paper's 0.5.
    ratio : float
        Step of z over that of theta; the paper tunes its steps.
    n_power : int or None
        Power iterations for ‖J‖, whose inverse is the step of z.
    """

    name = "BOME"
    parameters = {
        name: BilevelSolver.parameters[name] for name in FIRST_SOLVE
    } | {
        "n_iter": [10], "n_inner": [10], "eta": [0.5], "ratio": [0.1],
        "n_power": [None],
    }
    keep_pairs, polish = False, 0

    def bilevel(self, problem, n_outer):
        check_energy_theta(problem.draw(*problem.start(), 0))
        absolute = self.criterion == "energy"
        first = partial(
            self.make_finder(problem, n_outer),
            **{"atol" if absolute else "rtol": self.tol},
        )
        return Loop(Bome(
            first, n_outer, self.n_iter, self.n_inner, self.eta, self.ratio,
            self.n_power,
        ), n_outer)
