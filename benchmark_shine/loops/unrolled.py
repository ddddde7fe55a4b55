"""Hypergradients by back-propagation through iterations."""
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..adjoint import Phantom
from ..checks import check_integer, check_number
from ..engine import Step, clock
from ..implicit import Counted, norm_of_jacobian
from ..root import FixedPoint


@dataclass(frozen=True)
class Unrolled:
    """Differentiate the loss after n applications of f(z) = z - g(z).

    An outer step for `benchmark_shine.engine.Method`.  The gradient is that
    of the unrolled loss, and exact; compared with the gradient at the root,
    its error is that of the series Σ_{i < n} (I - Jᵀ)ⁱ and of z, both of
    which fall like ρⁿ with ρ the spectral radius of df/dz.  All iterates are
    kept in memory.

    Parameters
    ----------
    n_layers : int
        n, the applications of f from the equation's start.

    Raises
    ------
    ValueError
        Where ``n_layers`` is not a positive integer.
    """

    n_layers: int = 10

    def __post_init__(self):
        check_integer("n_layers", self.n_layers, least=1)

    @property
    def find_root(self):
        """Return the same iteration as a root finder, for comparisons."""
        return FixedPoint(self.n_layers)

    @property
    def adjoint(self):
        """Return what the gradient amounts to once f converges."""
        return Phantom(self.n_layers)

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Returns
        -------
        Step
            Without root and q.
        """
        g = Counted(equation.g)
        began = clock(equation.start)
        z = equation.start
        with torch.enable_grad():
            for _ in range(self.n_layers):
                z = z - g(z)
            solved = clock(z)
            loss = equation.loss(z)
        grads = torch.autograd.grad(loss, theta)
        return Step(
            theta, z.detach(), float(loss.detach()), equation, grads,
            n_g=g.n_g, n_vjp=g.n_vjp, forward_time=solved - began,
            backward_time=clock(z) - solved,
        )


@dataclass(frozen=True)
class Truncated:
    """Differentiate the loss after a few gradient steps from the root.

    Truncated back-propagation (Shaban, Cheng, Hatch and Boots, AISTATS 2019)
    in reverse mode through gradient descent (Franceschi, Donini, Frasconi and
    Pontil, ICML 2017): the root finder stops at its tolerance, then steps
    z ← z - tau g / ‖J‖ follow, and autograd keeps the graph of these steps
    alone.  At the root itself the gradient is that of the Neumann series with
    as many terms.  With ‖J‖ = 1, this is the phantom gradient in its unrolled
    form (Geng, Zhang, Bai, Wang and Lin, NeurIPS 2021), as the steps are then
    z ← (1 - tau) z + tau f(z).

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, warm_start) -> Root
    n_steps : int
        Differentiated steps: one evaluation of g each and, except for the
        first, one product with Jᵀ.
    n_power : int
        Power iterations for ‖J‖; 0 takes ‖J‖ = 1.
    tau : float
        Damping, in (0, 1].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    find_root: Callable
    n_steps: int = 20
    n_power: int = 5
    tau: float = 1.0

    def __post_init__(self):
        check_integer("backward_steps", self.n_steps, least=1)
        check_integer("n_power", self.n_power, least=0)
        check_number("tau", self.tau, above=0, most=1)

    @property
    def adjoint(self):
        """Return what the gradient amounts to at a root, if ‖J‖ = 1."""
        return None if self.n_power else Phantom(self.n_steps, self.tau)

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Returns
        -------
        Step
            Without q.  The root's residual is that before the last step.
        """
        began = clock(equation.start)
        root = self.find_root(
            equation, state.atol, state.rtol, last and last.root
        )
        solved = clock(root.z)
        norm, n_g, n_vjp = norm_of_jacobian(equation, root.z, self.n_power)
        g, z = Counted(equation.g), root.z
        with torch.enable_grad():
            for _ in range(self.n_steps):
                residual = g(z)
                z = z - residual / (norm / self.tau)
            loss = equation.loss(z)
        grads = torch.autograd.grad(loss, theta)
        root = replace(
            root, z=z.detach(), residual=float(residual.detach().norm())
        )
        return Step(
            theta, root.z, float(loss.detach()), equation, grads, root=root,
            n_g=root.n_g + n_g + g.n_g, n_vjp=n_vjp + g.n_vjp,
            forward_time=solved - began, backward_time=clock(z) - solved,
            n_cheap=root.n_cheap,
        )
