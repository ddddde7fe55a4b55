from benchmark_shine.engine import Method
from benchmark_shine.rivals.torchdeq import TorchDEQLayer
from benchmark_shine.solver import NetworkSolver


class Solver(NetworkSolver):
    """torchdeq's layer with its own defaults, not the recipe's settings.

    Geng and Kolter, *TorchDEQ: a library for deep equilibrium models*, 2023:
    40 fixed-point steps or ‖g‖ < 1e-3, then one step of phantom gradient.
    """

    name, library = "torchdeq-defaults", "torchdeq"
    parameters = {"protocol": ["fair"], "slurm_gres": [None]}

    def network(self, problem, n_outer):
        outer = self.make_trainer(problem, n_outer)
        return Method(TorchDEQLayer(), outer, n_outer)
