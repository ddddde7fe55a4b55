"""What every root finder returns, and takes for a warm start."""
from dataclasses import dataclass

from torch import Tensor

from ..operators import HANDED_OVER, LinearOperator


@dataclass(frozen=True)
class Root:
    """Hold an approximate root of g and the estimate of J⁻¹ of its solve.

    Parameters
    ----------
    z : Tensor, shape (d,) or (B, d)
        The approximate root, detached.
    inverse : LinearOperator
        Estimate of J⁻¹ at z.  It shares the finder's memory: it cannot be
        used any more once this root was a ``warm_start`` of the finder.
    residual, first_residual : float
        2-norms of g at z and at the start, over all samples.  ``residual`` is
        None where g was not evaluated at z (`Polished`).
    n_iter, n_g : int
        Iterations, and evaluations of g (with or without its energy).
    converged : bool
        Whether the residual met the tolerance, in every sample.
    n_vjp : int
        Products with Jᵀ.
    residuals : Tensor, shape (B,), or None
        2-norm of each sample's g at its z; None where there is no batch.
    solved, diverged : Tensor of bool, shape (B,), or None
        Whether the sample met its tolerance; whether it was given up because
        its residual exploded or was not finite.  None where there is no batch.
    steps : Tensor of int64, shape (B,), or None
        Steps that each sample made; None where there is no batch.
    diagonal : Tensor, shape () or (d,), or None
        The diagonal of the equation, at the theta of this solve.
    gradient : Tensor, shape (d,), or None
        g at z, where the finder knows it.
    n_cheap : int
        Those of the ``n_g`` evaluations that took no product with the data.
    place : Place or None
        Where the solve ended, for the next solve, if it begins there.
    """

    z: Tensor
    inverse: LinearOperator
    residual: float | None
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
    gradient: Tensor | None = None
    n_cheap: int = 0
    place: object = None


def inherited(warm_start):
    """Take the inverse of a warm start, whose memory the next solve may use.

    Parameters
    ----------
    warm_start : Root or None

    Returns
    -------
    LinearOperator or None

    Raises
    ------
    RuntimeError
        Where another solve has taken that memory before.
    """
    if warm_start is None:
        return None
    if getattr(warm_start.inverse, "handed_over", False):
        raise RuntimeError(
            f"warm_start: {HANDED_OVER}; give the newest root, or None"
        )
    return warm_start.inverse
