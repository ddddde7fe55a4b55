from benchmark_shine.adjoint.subspace import Lanczos
from benchmark_shine.bench.inner import InnerSolver


class Solver(InnerSolver):
    """LancBiO: q in a Krylov space to which every outer step adds.

    Yang, Gao and Yuan, *LancBiO: dynamic Lanczos-aided bilevel optimization
    via Krylov subspace*, ICLR 2025.

    Parameters
    ----------
    backward_steps : int
        Lanczos steps per outer step, one product each.  Published: 1, in runs
        of 3,000 outer steps.
    longest : int
        Largest dimension of the space.  Published: 10.
    growth : float
        Its factor at each restart, from 1.  Published: 1.3, at every 50th of
        3,000 outer steps.
    inner : {"shared", "own"}
        The suite's forward solver, or as published ``inner_steps`` gradient
        steps per outer step, here of length 1 / ‖J‖.
    inner_steps : int
        Published: 5.
    n_power : int or None
        Power iterations for ‖J‖, with inner=own.
    """

    name = "LancBiO"
    parameters = {
        **InnerSolver.parameters, "backward_steps": [10], "longest": [10],
        "growth": [10.0],
    }

    def make_adjoint(self):
        return Lanczos(self.backward_steps, self.longest, self.growth)
