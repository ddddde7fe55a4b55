"""What every root finder returns."""
from dataclasses import dataclass

from torch import Tensor

from ..operators import LinearOperator


@dataclass(frozen=True)
class Root:
    """An approximate root of g and the estimate of J⁻¹ that came with it.

    Parameters
    ----------
    z : Tensor, shape (d,)
        The approximate root, detached.
    inverse : LinearOperator
        Estimate of J⁻¹ at z.  It shares the finder's memory: handing this
        root to the finder as ``previous`` gives that memory up.
    residual, first_residual : float
        2-norms of g at z and at the start.
    n_iter, n_calls : int
        Iterations, and evaluations of g (with or without its energy).
    converged : bool
        Whether the residual met the tolerance.
    """

    z: Tensor
    inverse: LinearOperator
    residual: float
    first_residual: float
    n_iter: int
    n_calls: int
    converged: bool
