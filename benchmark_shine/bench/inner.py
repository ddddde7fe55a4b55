"""The forward pass of rivals that publish inner steps of their own."""
from ..checks import check_choice
from ..loops.gradient_steps import GradientSteps
from .bilevel import BilevelSolver

INNER = {"shared": 0, "own": 1}


class InnerSolver(BilevelSolver):
    """A method on the suite's forward solver, or on its own inner steps.

    Parameters
    ----------
    inner : {"shared", "own"}
        "own" makes ``inner_steps`` gradient steps of length 1 / ‖J‖ per outer
        step, whatever the tolerance; the parameters of the suite's forward
        solver have no effect then.
    inner_steps : int
    n_power : int or None
        Power iterations for ‖J‖.

    The others are those of `BilevelSolver`.
    """

    parameters = {
        **BilevelSolver.parameters, "inner": ["shared"], "inner_steps": [5],
        "n_power": [None],
    }

    def make_finder(self, problem, n_outer):
        check_choice("inner", self.inner, INNER)
        if self.inner == "shared":
            return super().make_finder(problem, n_outer)
        if self.polish or self.step == "maid":
            raise ValueError(
                "inner: own leaves no tolerance to step=maid, and no inverse "
                "to polish; take inner=shared"
            )
        return self.make_own_finder()

    def make_own_finder(self):
        """Return the root finder of the published form."""
        return GradientSteps(self.inner_steps, self.n_power)
