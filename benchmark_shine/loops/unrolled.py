"""Hypergradients by back-propagation through the iterations."""
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..checks import check_integer
from ..engine import Step, clock
from ..implicit import Counted, norm_of_jacobian


@dataclass(frozen=True)
class Unrolled:
    """The loss after n applications of f(z) = z - g(z), and its gradient.

    An outer step for `benchmark_shine.engine.descend`.  The gradient is that
    of the unrolled loss, exact; of the loss at the root it has the error of
    the series Σ_{i < n} (I - Jᵀ)ⁱ and of z, both of which fall like ρⁿ with
    ρ the spectral radius of df/dz.  All iterates are kept in memory.

    Parameters
    ----------
    n_layers : int
        n, applications of f from the equation's start.
    """

    n_layers: int = 10

    def __post_init__(self):
        check_integer("n_layers", self.n_layers, least=1)

    def __call__(self, equation, theta, state, last):
        """This outer step alone.

        Parameters
        ----------
        equation : Equation
        theta : tuple of Tensor
            The leaves that the equation closes over.
        state, last
            Of the outer optimiser, and the step before: of no use.

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
    """The loss a few steps of gradient descent after the root.

    Truncated back-propagation (Shaban, Cheng, Hatch and Boots, AISTATS 2019)
    in reverse mode through gradient descent (Franceschi, Donini, Frasconi and
    Pontil, ICML 2017): the forward solver comes as near as its tolerance
    asks, then steps z ← z - g / ‖J‖ follow, of which autograd keeps the graph
    and nothing of what was before.  At the root itself that is the Neumann
    series with as many terms.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, previous) -> Root
    n_steps : int
        Steps kept, one evaluation of g each and, but for the first, one
        product with Jᵀ.
    n_power : int
        Power iterations for ‖J‖; 0 takes 1.
    """

    find_root: Callable
    n_steps: int = 20
    n_power: int = 5

    def __post_init__(self):
        check_integer("n_steps", self.n_steps, least=1)
        check_integer("n_power", self.n_power, least=0)

    def __call__(self, equation, theta, state, last):
        """This outer step alone.

        Parameters
        ----------
        equation : Equation
        theta : tuple of Tensor
            The leaves that the equation closes over.
        state
            Of the outer optimiser: the forward solver's tolerances.
        last : Step
            Its root is the forward solver's memory.

        Returns
        -------
        Step
            Without q.  The root's residual is that before the last step.
        """
        began = clock(equation.start)
        root = self.find_root(equation, state.atol, state.rtol, last.root)
        solved = clock(root.z)
        norm, n_g, n_vjp = norm_of_jacobian(equation, root.z, self.n_power)
        g, z = Counted(equation.g), root.z
        with torch.enable_grad():
            for _ in range(self.n_steps):
                residual = g(z)
                z = z - residual / norm
            loss = equation.loss(z)
        grads = torch.autograd.grad(loss, theta)
        root = replace(
            root, z=z.detach(), residual=float(residual.detach().norm())
        )
        return Step(
            theta, root.z, float(loss.detach()), equation, grads, root=root,
            n_g=root.n_g + n_g + g.n_g, n_vjp=n_vjp + g.n_vjp,
            forward_time=solved - began, backward_time=clock(z) - solved,
        )
