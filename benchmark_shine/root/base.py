"""What every root finder returns."""
from dataclasses import dataclass

from torch import Tensor

from ..operators import LinearOperator


@dataclass(frozen=True)
class Root:
    """An approximate root of g and the estimate of J⁻¹ that came with it.

    Parameters
    ----------
    z : Tensor, shape (d,) or (B, d)
        The approximate root, detached.
    inverse : LinearOperator
        Estimate of J⁻¹ at z.  It shares the finder's memory: handing this
        root to the finder as ``warm_start`` gives that memory up.
    residual, first_residual : float
        2-norms of g at z and at the start, over all samples.
    n_iter, n_g : int
        Iterations, and evaluations of g (with or without its energy).
    converged : bool
        Whether the residual met the tolerance, in every sample.
    n_vjp : int
        Products with Jᵀ.
    residuals : Tensor, shape (B,), or None
        2-norm of each sample's g at its z; None where there is no batch,
        like all that follow.
    solved, diverged : Tensor of bool, shape (B,), or None
        Whether the sample met its tolerance; whether it was given up because
        its residual exploded or was not finite.
    steps : Tensor of int64, shape (B,), or None
        Steps made by each sample before it was done.
    diagonal : Tensor, shape () or (d,), or None
        The equation's: that of the theta which the inverse belongs to.
    """

    z: Tensor
    inverse: LinearOperator
    residual: float
    first_residual: float
    n_iter: int
    n_g: int
    converged: bool
    n_vjp: int = 0
    residuals: Tensor | None = None
    solved: Tensor | None = None
    diverged: Tensor | None = None
    steps: Tensor | None = None
    diagonal: Tensor | None = None
