"""Randomised low-rank approximations of J."""
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..checks import check_integer, check_number
from .base import linear_in_rhs


def columns(d, rank, generator, dtype):
    """Draw ``rank`` different unit vectors, (rank, d)."""
    index = torch.randperm(d, generator=generator)[:rank]
    rows = torch.zeros(rank, d, dtype=dtype)
    rows[torch.arange(rank), index] = 1.0
    return rows


def gaussian(d, rank, generator, dtype):
    """Draw ``rank`` standard normal vectors, (rank, d)."""
    return torch.randn(rank, d, generator=generator, dtype=dtype)


@dataclass(frozen=True)
class Nystrom:
    r"""Solve (H_k + D) q = rhs, H_k the Nyström approximation of J - D.

    Hataya and Yamada, *Nyström method for accurate and scalable implicit
    differentiation*, AISTATS 2023, equation 6: with H = J - D, rows of Omega
    drawn at random, C = H Omegaᵀ and W = Omega C,

        H_k = C W⁺ Cᵀ,   q = v - D⁻¹ C (W + Cᵀ D⁻¹ C)⁺ Cᵀ v,   v = D⁻¹ rhs.

    The vectors are drawn from one seed: they are the same at each outer step.

    Parameters
    ----------
    rank : int
        k, products; at most d.
    rho : float or None
        A number makes D = rho I and H = J, as published with 0.01.  None (the
        default) makes D the system's known diagonal, that of the penalty, and
        H the rest of J; then q is exact at full rank.
    sketch : callable
        `columns` of H (published), or `gaussian` combinations of them
        (Frangella, Tropp and Udell, SIMAX 2023), which see every feature.
    seed : int

    Raises
    ------
    ValueError
        Where a setting is out of its range, or (on a call) ``rho`` is None
        and the system knows no diagonal.
    """

    rank: int = 10
    rho: float | None = None
    sketch: Callable = columns
    seed: int = 0

    def __post_init__(self):
        check_integer("rank", self.rank, least=1)
        if self.rho is not None:
            check_number("rho", self.rho, above=0)
        check_integer("seed", self.seed, least=0)

    @linear_in_rhs
    def __call__(self, system):
        rhs, D = system.rhs, system.diagonal
        shift = 0.0 if self.rho is not None else D
        if self.rho is not None:
            D = self.rho
        elif D is None:
            raise ValueError(
                "rho: J has no part that is known to be diagonal; give a "
                "number"
            )
        generator = torch.Generator().manual_seed(self.seed)
        rank = min(self.rank, len(rhs))
        omega = self.sketch(len(rhs), rank, generator, rhs.dtype)
        omega = omega.to(rhs.device)
        C = torch.stack([system.vjp(row) - shift * row for row in omega])
        C = C.where(C.isfinite(), 0.0)  # pinv would raise an error; q is NaN
        v, W = rhs / D, C @ omega.T
        small = torch.linalg.pinv(
            0.5 * (W + W.T) + (C / D) @ C.T, hermitian=True
        )
        return v - (C.T @ (small @ (C @ v))) / D
