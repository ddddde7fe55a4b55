from benchmark_shine.adjoint.secant_steps import SecantSteps
from benchmark_shine.bench.inner import InnerSolver
from benchmark_shine.checks import check_choice
from benchmark_shine.loops.gradient_steps import QuasiNewtonSteps
from benchmark_shine.root.updates import UPDATES


class Solver(InnerSolver):
    """qNBO: quasi-Newton steps for z, and further ones for q.

    Fang, Liu, Yao, Yu and Zhang, *qNBO: quasi-Newton meets bilevel
    optimization*, ICLR 2025.  A reconstruction: no code of the authors is
    public.  With ``backward_steps`` = 0 this is their first choice of q, and
    else their second, subroutine B.

    Parameters
    ----------
    update : {"sr1", "bfgs"}
        Of subroutine B, and with inner=own of the forward steps.
    backward_steps : int
        Quasi-Newton steps on the adjoint system, one product each.
    inner : {"shared", "own"}
        The suite's forward solver, or as published ``inner_steps`` gradient
        steps of length 1 / ‖J‖, then ``newton_steps`` quasi-Newton steps of
        length ``inner_step`` on pairs of this outer step alone.  The
        published numbers of steps are not known.
    inner_steps, newton_steps : int
    inner_step : float
    n_power : int or None
        Power iterations for ‖J‖, with inner=own.
    """

    name = "qNBO"
    parameters = {
        **InnerSolver.parameters, "update": ["sr1"], "backward_steps": [10],
        "newton_steps": [10], "inner_step": [1.0],
    }

    def make_own_finder(self):
        return QuasiNewtonSteps(
            super().make_own_finder(), self.newton_steps, self.inner_step,
            self._update(),
        )

    def make_adjoint(self):
        return SecantSteps(self.backward_steps, self._update())

    def _update(self):
        return check_choice("update", self.update, UPDATES)
