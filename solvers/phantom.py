from benchmark_shine.adjoint import Phantom
from benchmark_shine.checks import check_choice, check_integer
from benchmark_shine.engine import Method
from benchmark_shine.loops.unrolled import Truncated
from benchmark_shine.solver import NetworkSolver


class Solver(NetworkSolver):
    """Phantom gradient: a few damped steps of f at the root, differentiated.

    Geng, Zhang, Bai, Wang and Lin, *On training implicit models*, NeurIPS
    2021, equation 13 (series), and the unrolled form of it.

    Parameters
    ----------
    k, tau : int, float
        Steps, or terms, and damping.  torchdeq advises tau of 0.5 to 0.7 for
        MDEQ.
    form : {"series", "unrolled"}
        Sum the first k terms of the Neumann series at the root, or make k
        steps z ← (1 - tau) z + tau f(z) from the root and back-propagate
        through them (torchdeq: grad=k, tau).
    """

    name = "Phantom"
    parameters = {
        **NetworkSolver.parameters, "k": [5], "tau": [1.0],
        "form": ["series"],
    }

    def make_batched_adjoint(self, n_steps):
        return Phantom(self.k, self.tau)

    def _unrolled(self, problem, n_outer):
        check_integer("k", self.k, least=1)
        finder = self.make_batched_finder(
            problem.recipe.forward_steps, n_outer
        )
        return Method(
            Truncated(finder, self.k, n_power=0, tau=self.tau),
            self.make_trainer(problem, n_outer), n_outer,
        )

    def network(self, problem, n_outer):
        make = check_choice("form", self.form, {
            "series": super().network, "unrolled": self._unrolled,
        })
        return make(problem, n_outer)
