from benchmark_shine.engine import Method
from benchmark_shine.loops.reversible import Reversible
from benchmark_shine.solver import NetworkSolver


class Solver(NetworkSolver):
    """Reversible DEQ: exact back-propagation that stores no iterate.

    McCallum, Arora and Foster, *Reversible deep equilibrium models*, arXiv
    2509.12917, 2025.  It has a forward iteration of its own, whose iterates
    the backward pass reconstructs.

    Parameters
    ----------
    steps : int
        Steps, two evaluations each.  Published (code): at most 5; 2 for one
        block on CIFAR-10 and 4 for language.
    beta : float
        Relaxation.  Published (code): 0.8, and 0.5 for language.
    """

    name = "Reversible"
    parameters = {
        "protocol": ["fair"], "steps": [5], "beta": [0.8],
        "slurm_gres": [None],
    }

    def network(self, problem, n_outer):
        outer_step = Reversible(self.steps, self.beta)
        outer_step.check(problem.start()[1].dtype)
        outer = self.make_trainer(problem, n_outer)
        return Method(outer_step, outer, n_outer)
