"""Truncated series and gradient steps for Jᵀ q = rhs."""
from dataclasses import dataclass

import torch

from ..checks import check_integer, check_number
from ..precision import finite_rows, scale_of
from .base import linear_in_rhs


@dataclass(frozen=True)
class Neumann:
    """Sum a truncated Neumann series, q = eta Σ_{i ≤ k} (I - eta Jᵀ)ⁱ rhs.

    Lorraine, Vicol and Duvenaud, AISTATS 2020, algorithm 3.  For symmetric J
    the series converges where eta < 2 / ‖J‖; eta = 1 / ‖J‖, with ‖J‖
    estimated by power iterations from rhs.  Their products are counted like
    all others.

    Parameters
    ----------
    n_steps : int
        k, products of the series.
    n_power : int
        Power iterations; 0 takes eta = 1, which is right where J is the
        identity minus a contraction.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    n_steps: int = 10
    n_power: int = 5

    def __post_init__(self):
        check_integer("n_steps", self.n_steps, least=0)
        check_integer("n_power", self.n_power, least=0)

    @linear_in_rhs
    def __call__(self, system):
        norm = spectral_norm(system.vjp, system.rhs, self.n_power)
        q = p = system.rhs / norm
        for _ in range(self.n_steps):
            p = p - system.vjp(p) / norm
            q = q + p
        return q


def spectral_norm(product, v, n_steps):
    """Estimate the spectral norm of J by power iterations, J symmetric.

    Parameters
    ----------
    product : callable, Tensor -> Tensor
        The product with J or Jᵀ.
    v : Tensor
        The vector to begin with.
    n_steps : int
        Products; 0 gives a norm of 1, and so does v = 0.

    Returns
    -------
    float
        At most ‖J‖.
    """
    norm, v = 1.0, v / scale_of(v.reshape(-1))
    for _ in range(n_steps if v.any() else 0):
        v = product(v / v.norm())
        if v.dim() > 1:  # a sample without a number says nothing of others
            v = torch.where(finite_rows(v), v, 0.0)
        norm = float(v.norm())
    return norm


@dataclass(frozen=True)
class GradientDescent:
    """Descend ½ qᵀJ q - rhsᵀq from the system's q0, for symmetric J.

    AmIGO: Arbel and Mairal, *Amortized implicit differentiation for
    stochastic bilevel optimization*, ICLR 2022, algorithm 3, here with full
    gradients.  The step is 1 / ‖J‖, with ‖J‖ estimated as in `Neumann`.  From
    zero, k steps give the first k terms of the Neumann series.

    Parameters
    ----------
    n_steps : int
        Steps, one product each (the first step from zero needs none).
    n_power : int
        Power iterations; 0 takes ‖J‖ = 1.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    n_steps: int = 10
    n_power: int = 5

    def __post_init__(self):
        check_integer("n_steps", self.n_steps, least=0)
        check_integer("n_power", self.n_power, least=0)

    @linear_in_rhs
    def __call__(self, system):
        q = system.q0
        if q is None:
            q = torch.zeros_like(system.rhs)
        norm = spectral_norm(system.vjp, system.rhs, self.n_power)
        for _ in range(self.n_steps):
            r = system.rhs - system.vjp(q) if q.any() else system.rhs
            q = q + r / norm
        return q


@dataclass(frozen=True)
class Phantom:
    """Take the phantom gradient, q = tau Σ_{i < k} (I - tau Jᵀ)ⁱ rhs.

    Geng, Zhang, Bai, Wang and Lin, *On training implicit models*, NeurIPS
    2021, equation 13 (Neumann-series form); k terms take k - 1 products.
    Phantom(1, 1.0) is the Jacobian-free method.

    Parameters
    ----------
    k : int
        Terms, at least 1.
    tau : float
        Damping, in (0, 1].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    k: int = 5
    tau: float = 1.0

    def __post_init__(self):
        check_integer("k", self.k, least=1)
        check_number("tau", self.tau, above=0, most=1)

    @linear_in_rhs
    def __call__(self, system):
        q = p = self.tau * system.rhs
        for _ in range(self.k - 1):
            p = p - self.tau * system.vjp(p)
            q = q + p
        return q
