"""A fixed number of inner steps, without a tolerance, as rivals have them."""
from collections.abc import Callable
from dataclasses import dataclass, field

from ..checks import check_integer, check_number
from ..implicit import norm_of_jacobian
from ..precision import own_precision
from ..root import Root
from ..root.updates import BfgsUpdates, Multiple


@dataclass(frozen=True)
class GradientSteps:
    """Make n steps z ← z - g / ‖J‖ from the equation's start.

    ‖J‖ is estimated at the start by power iterations or, where that is
    larger, by the change of g along a step since.  The inverse that is left
    is the identity divided by ‖J‖.

    Parameters
    ----------
    n_steps : int
        Steps, one evaluation of g each.
    n_power : int
        Power iterations, one product each; 0 takes ‖J‖ = 1.  They begin with
        a gradient of the outer loss, which is not counted.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    n_steps: int = 5
    n_power: int = 5

    def __post_init__(self):
        check_integer("inner_steps", self.n_steps, least=1)
        check_integer("n_power", self.n_power, least=0)

    @own_precision
    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Make the steps; the tolerances and the warm start have no effect.

        Returns
        -------
        Root
            Its residual is that before the last step.
        """
        z = equation.start
        norm, n_g, n_vjp = norm_of_jacobian(equation, z, self.n_power)
        step, last, residuals = None, None, []
        for _ in range(self.n_steps):
            _, g = equation.energy(z)
            residuals.append(float(g.norm()))
            if step is not None and step.any():
                norm = max(norm, float((g - last).norm() / step.norm()))
            step, last = -g / norm, g
            z = z + step
        return Root(
            z, Multiple(1 / norm), residuals[-1], residuals[0], self.n_steps,
            n_g + self.n_steps, residuals[-1] <= atol, n_vjp,
            diagonal=equation.diagonal,
        )


@dataclass(frozen=True)
class QuasiNewtonSteps:
    """Make a few steps z ← z - gamma C g, C by the secant pairs of this call.

    Subroutine A of qNBO (Fang, Liu, Yao, Yu and Zhang, ICLR 2025), as far as
    it is known: gradient steps come first, C starts from the identity
    divided by ‖J‖, and no step is searched for.

    Parameters
    ----------
    first : GradientSteps
    n_steps : int
        T, quasi-Newton steps, one evaluation of g each and one at the start.
    step : float
        gamma.
    update : callable, LinearOperator -> Updates
        `BfgsUpdates` or `Sr1Updates`.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    first: GradientSteps = field(default_factory=GradientSteps)
    n_steps: int = 10
    step: float = 1.0
    update: Callable = BfgsUpdates

    def __post_init__(self):
        check_integer("newton_steps", self.n_steps, least=1)
        check_number("inner_step", self.step, above=0)

    @own_precision
    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Make the steps; the tolerances and the warm start have no effect.

        Returns
        -------
        Root
        """
        root = self.first(equation)
        z, C = root.z, self.update(root.inverse)
        _, g = equation.energy(z)
        for _ in range(self.n_steps):
            s = -self.step * (C @ g)
            z, last = z + s, g
            _, g = equation.energy(z)
            C.learn(s, g - last)
        residual = float(g.norm())
        return Root(
            z, C, residual, root.first_residual, root.n_iter + self.n_steps,
            root.n_g + 1 + self.n_steps, residual <= atol, root.n_vjp,
            diagonal=equation.diagonal, n_cheap=root.n_cheap,
        )
