"""Solvers and the layer of torchdeq, as parts of the suite."""
import math
from dataclasses import dataclass

import torch

from ..adjoint import Phantom
from ..checks import check_integer
from ..engine import Step, clock
from ..implicit import Counted
from ..operators import Identity
from ..root.base import Root


@dataclass(frozen=True)
class TorchDEQ:
    """Find fixed points of f(z) = z - g(z) by a solver of torchdeq.

    Geng and Kolter, *TorchDEQ: a library for deep equilibrium models*, 2023,
    version 0.1.0, with the library's defaults.  torchdeq shares no estimate
    of J⁻¹: the root's inverse is the identity.

    Parameters
    ----------
    solver : {"broyden", "anderson", "fixed_point_iter"}
        Name of the solver in the library.
    max_iter : int
        Most steps.
    """

    solver: str = "broyden"
    max_iter: int = 50

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=1)

    @torch.no_grad()
    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Solve g(z) = 0 until all samples meet the tolerance at once.

        Parameters
        ----------
        equation : Equation
            ``start`` of shape (B, D).
        atol : float, or Tensor of shape (B,)
            On the 2-norm of each sample's g; the smallest counts for all.
        rtol : float
            0: torchdeq knows no tolerance relative to the first residual.
        warm_start : Root or None
            Not used.

        Returns
        -------
        Root
            Its ``residuals`` are the lowest that torchdeq has seen.  Of its
            Anderson and fixed-point iterates they are one application of f
            old.

        Raises
        ------
        ImportError
            Where torchdeq is not installed.
        ValueError
            Where ``rtol`` is not 0.
        """
        from torchdeq.solver import get_solver

        if rtol:
            raise ValueError(f"rtol: must be 0 for torchdeq, got {rtol}")
        n_g = 0

        def f(z):
            nonlocal n_g
            n_g += 1
            return z - equation.g(z)

        tol = float(torch.as_tensor(atol).min())
        z, _, found = get_solver(self.solver)(
            f, equation.start.detach(), max_iter=self.max_iter, tol=tol
        )
        residuals = found["abs_lowest"]
        return Root(
            z, Identity(), float(residuals.norm()), math.nan,
            int(found["nstep"].max()), n_g, bool((residuals < tol).all()),
            residuals=residuals,
        )


@dataclass(frozen=True)
class TorchDEQLayer:
    """Make an outer step by torchdeq's layer with all of its defaults.

    Geng and Kolter 2023, version 0.1.0: ``torchdeq.get_deq()`` has at most 40
    fixed-point steps, until all samples have ‖g‖ < 1e-3, and a phantom
    gradient of one undamped step (``grad`` = 1, ``tau`` = 1): loss and
    gradient are those of f(z) with z constant, so that q = ∂ℓ/∂z there.  The
    tolerances of the outer optimiser are not used.  An outer step for
    `benchmark_shine.engine.Method`.
    """

    @property
    def find_root(self):
        """Return the layer's forward pass as a root finder."""
        return TorchDEQ("fixed_point_iter", 40)

    @property
    def adjoint(self):
        """Return what the gradient amounts to at the root."""
        return Phantom(1, 1.0)

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Returns
        -------
        Step
            Without root and q.
        """
        from torchdeq import get_deq

        g = Counted(equation.g)
        began = clock(equation.start)
        with torch.enable_grad():
            (z,), _ = get_deq()(lambda z: z - g(z), equation.start.detach())
            solved = clock(z)
            loss = equation.loss(z)
        grads = torch.autograd.grad(loss, theta)
        return Step(
            theta, z.detach(), float(loss.detach()), equation, grads,
            n_g=g.n_g, n_vjp=g.n_vjp, forward_time=solved - began,
            backward_time=clock(z) - solved,
        )
