"""How a network is trained, in numbers."""
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..checks import check_integer, check_number


@dataclass(frozen=True)
class Recipe:
    """Settings of a network's training, the same for all solvers.

    Parameters
    ----------
    batch_size, epochs : int
    optimizer : callable, (list of Tensor, lr) -> torch.optim.Optimizer
        Default: Adam.
    rate, last_rate : float
        First and last learning rate of a cosine schedule (Loshchilov and
        Hutter, *SGDR*, ICLR 2017, equation 5, without restarts).
    warm_up : int
        The rate of outer step k < ``warm_up`` is rate · k / warm_up.
    clip : float
        A longer hypergradient is scaled to this 2-norm; default: none is.
    forward_steps, backward_steps : int
        Most iterations of the root finder and of the exact adjoint solve.
    tol : float
        The root finder stops a sample where ‖g‖ ≤ tol √d.
    backward_tol : float
        The exact adjoint solve stops at this relative residual.
    unrolled_steps, unrolled_layers : int
        The first ``unrolled_steps`` outer steps differentiate through
        ``unrolled_layers`` applications of f from z = 0.  A method's
        evaluations of g are then evaluations of z minus that result, and
        contain no f.
    jacobian_weight : float
        Weight of the penalty ‖df/dz‖² / d in the outer loss (Bai, Koltun and
        Kolter, *Stabilizing equilibrium models by Jacobian regularization*,
        ICML 2021).  No solver's count includes the evaluation of f and the
        product with Jᵀ that the penalty needs.
    jacobian_frequency : float
        Share of the outer steps that have the penalty, drawn at random.

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Notes
    -----
    The authors' code stops the forward solve at ``tol`` = 1e-5 for the norm
    of the whole batch, and the adjoint solve at an absolute residual that
    single precision does not reach, so that all steps are made.
    """

    batch_size: int
    epochs: int
    optimizer: Callable = torch.optim.Adam
    rate: float = 1e-3
    last_rate: float = 1e-6
    warm_up: int = 0
    clip: float = math.inf
    forward_steps: int = 20
    backward_steps: int = 20
    tol: float = 1e-5
    backward_tol: float = 1e-5
    unrolled_steps: int = 0
    unrolled_layers: int = 10
    jacobian_weight: float = 0.0
    jacobian_frequency: float = 1.0

    def __post_init__(self):
        for name, least in (
            ("batch_size", 1), ("epochs", 1), ("forward_steps", 1),
            ("backward_steps", 0), ("unrolled_steps", 0),
            ("unrolled_layers", 1), ("warm_up", 0),
        ):
            check_integer(name, getattr(self, name), least)
        check_number("rate", self.rate, above=0)
        check_number("jacobian_weight", self.jacobian_weight, least=0)
        check_number(
            "jacobian_frequency", self.jacobian_frequency, least=0, most=1
        )

    def rate_at(self, k, n_steps):
        """Return the learning rate of outer step k = 1 … n_steps."""
        if k < self.warm_up:
            return self.rate * k / self.warm_up
        share = min(k - 1, n_steps) / n_steps
        swing = (1 + math.cos(math.pi * share)) / 2
        return self.last_rate + (self.rate - self.last_rate) * swing
