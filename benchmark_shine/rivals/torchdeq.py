"""Solvers of the library torchdeq, as root finders of the suite."""
import math
from dataclasses import dataclass

import torch

from ..checks import check_integer
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
