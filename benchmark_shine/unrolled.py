"""Hypergradients without a root: back-propagation through the iterations."""
from dataclasses import dataclass

import torch

from .checks import check_integer
from .engine import Step, clock
from .implicit import Counted


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
            n_g=g.n_calls, n_jvp=g.n_jvp, forward_time=solved - began,
            backward_time=clock(z) - solved,
        )
