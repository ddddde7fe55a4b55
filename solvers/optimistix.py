from benchmark_shine.rivals.optimistix import Optimistix

from .jaxopt import SHARED
from .jaxopt import Solver as Jaxopt


class Solver(Jaxopt):
    """optimistix: its L-BFGS and its implicit differentiation, by lineax.

    Rader, Lyons and Kidger, *Optimistix: modular optimisation in JAX and
    Equinox*, 2024.  Same data, products, precision, tolerances and step rule;
    compiled before the clock starts.

    Parameters
    ----------
    keep : bool
        Whether its L-BFGS begins with the pairs of the last outer step, and
        lineax's conjugate gradients with the last q; without, both begin
        anew.
    """

    name = library = "optimistix"
    requirements = ["pip::optimistix"]
    parameters = {name: Jaxopt.parameters[name] for name in (*SHARED, "keep")}

    def make_step(self, problem):
        return Optimistix(
            problem, self.memory, self.max_iter, self.criterion, self.keep
        )
