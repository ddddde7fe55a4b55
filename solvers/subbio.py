from benchmark_shine.adjoint.subspace import TwoDirections
from benchmark_shine.bench.inner import InnerSolver


class Solver(InnerSolver):
    """SubBiO: the best q of a plane, span{rhs, (I - J / ‖J‖) q}, by steps.

    Yang, Gao and Yuan, *LancBiO: dynamic Lanczos-aided bilevel optimization
    via Krylov subspace*, ICLR 2025.

    Parameters
    ----------
    backward_steps : int
        Such steps per outer step.  Published: 1, in runs of 3,000 outer
        steps.
    inner : {"shared", "own"}
        The suite's forward solver, or as published ``inner_steps`` gradient
        steps per outer step, here of length 1 / ‖J‖.
    inner_steps : int
        Published: 5.
    n_power : int or None
        Power iterations for ‖J‖.
    """

    name = "SubBiO"
    parameters = {**InnerSolver.parameters, "backward_steps": [10]}

    def make_adjoint(self):
        return TwoDirections(self.backward_steps, self.n_power)
