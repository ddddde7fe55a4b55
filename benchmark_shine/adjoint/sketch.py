"""Randomised low-rank approximations of J."""
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..checks import check_integer, check_number
from ..equation import need_diagonal
from ..operators import LinearOperator
from .base import linear_in_rhs
from .krylov import ConjugateGradient, stop_by_residual


def columns(d, rank, generator, dtype):
    """Draw ``rank`` different unit vectors, (rank, d)."""
    index = torch.randperm(d, generator=generator)[:rank]
    rows = torch.zeros(rank, d, dtype=dtype)
    rows[torch.arange(rank), index] = 1.0
    return rows


def gaussian(d, rank, generator, dtype):
    """Draw ``rank`` standard normal vectors, (rank, d)."""
    return torch.randn(rank, d, generator=generator, dtype=dtype)


def draw(sketch, d, rank, seed, like):
    """Draw at most d rows by `columns` or `gaussian`, like another tensor."""
    generator = torch.Generator().manual_seed(seed)
    return sketch(d, min(rank, d), generator, like.dtype).to(like.device)


def sketched(system, omega, shift):
    """Compute C = H Omegaᵀ and W = Omega C, H = J - diag(shift).

    Parameters
    ----------
    system : AdjointSystem
    omega : Tensor, shape (k, d)
        One product with J per row.
    shift : float, or Tensor of shape () or (d,)

    Returns
    -------
    C : Tensor, shape (k, d)
        The columns of C as rows.  An entry that is not finite is 0: pinv
        would raise an error, and the product that failed makes q NaN.
    W : Tensor, shape (k, k)
        Symmetric.
    """
    C = torch.stack([system.vjp(row) - shift * row for row in omega])
    C = C.where(C.isfinite(), 0.0)
    W = C @ omega.T
    return C, 0.5 * (W + W.T)


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

    @property
    def needs_diagonal(self):
        """Whether it is for systems with a known ``diagonal`` alone."""
        return self.rho is None

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
        omega = draw(self.sketch, len(rhs), self.rank, self.seed, rhs)
        C, W = sketched(system, omega, shift)
        v = rhs / D
        small = torch.linalg.pinv(W + (C / D) @ C.T, hermitian=True)
        return v - (C.T @ (small @ (C @ v))) / D


class NystromInverse(LinearOperator):
    r"""Represent (H_k + D)⁻¹ so that it is positive definite when rounded.

    With U Lambda Uᵀ the eigenvalues and vectors of D^-½ H_k D^-½,

        (H_k + D)⁻¹ = D^-½ (I - U Uᵀ + U (I + Lambda)⁻¹ Uᵀ) D^-½,

    while Woodbury's formula subtracts two nearly equal vectors of the size
    of D⁻¹.

    Parameters
    ----------
    C : Tensor, shape (k, d)
    W : Tensor, shape (k, k)
        Of `sketched`.  Eigenvalues of W that are negative or mostly rounding
        are left out.
    D : Tensor, shape () or (d,)
        Positive.
    """

    def __init__(self, C, W, D):
        self._root = D.sqrt()
        w, V = torch.linalg.eigh(W)
        sound = w > C.shape[1] * torch.finfo(w.dtype).eps * w.abs().max()
        factor = (V[:, sound] / w[sound].sqrt()).T @ (C / self._root)
        _, s, self._U = torch.linalg.svd(factor, full_matrices=False)
        self._shrunk = 1 / (1 + s.square())

    @property
    def T(self):
        return self

    def __matmul__(self, v):
        v = v / self._root
        inside = self._U @ v
        return (
            v - self._U.T @ inside + self._U.T @ (self._shrunk * inside)
        ) / self._root


class NystromPCG:
    """Precondition conjugate gradients by a Nyström approximation of J.

    Frangella, Tropp and Udell, *Randomized Nyström preconditioning*, SIAM J.
    Matrix Anal. Appl. 2023, section 5.  Their mu I is D here, the known
    diagonal of J: the matrix D^-½ H D^-½, H = J - D, is sketched.  Their
    factor lambda_k + mu outside of the sketch is left out; the condition
    number is of the same order without it.

    J - D must be positive semi-definite.  Where a sketch is kept, H is that of
    an older z, and D follows theta.

    An instance remembers its sketch: each run needs its own.

    Parameters
    ----------
    rank : int
        Products of a sketch.
    refresh : int
        Systems that a sketch serves; 1: each system has its own; 0: that of
        the first serves the whole run.
    sketch : callable
        `gaussian` or `columns`.
    seed : int
    stop : callable
        See `ConjugateGradient`.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or (on a call) the system knows
        no diagonal.
    """

    needs_diagonal = True

    def __init__(self, rank=20, refresh=1, sketch=gaussian, seed=0,
                 stop=stop_by_residual):
        check_integer("rank", rank, least=1)
        check_integer("refresh", refresh, least=0)
        check_integer("seed", seed, least=0)
        self.rank, self.refresh, self.seed = rank, refresh, seed
        self.sketch, self.stop = sketch, stop
        self._kept, self._age = None, 0

    @linear_in_rhs
    def __call__(self, system):
        need_diagonal(system, "preconditioner: nystrom")
        D = system.diagonal
        if self._due(system):
            rhs = system.rhs
            omega = draw(self.sketch, len(rhs), self.rank, self.seed, rhs)
            self._kept, self._age = sketched(system, omega / D.sqrt(), D), 0
        self._age += 1
        inverse = NystromInverse(*self._kept, D)
        return ConjugateGradient(
            estimate=lambda _: inverse, stop=self.stop
        )(system)

    def _due(self, system):
        return (
            self._kept is None or system.q0 is None
            or self._age == self.refresh
        )
