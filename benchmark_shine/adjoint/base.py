"""Ways to get q ~ J⁻ᵀ dl/dz: the one place where the methods differ.

Each method is a callable that takes an `AdjointSystem` and returns q.  Methods
compose: ``Refine(Shine(), ConjugateGradient(max_iter=5))``.  In a batch, where
rhs has shape (B, d), all methods but ConjugateGradient (which needs a
symmetric J) and the power iterations of Neumann treat each sample by itself.
"""
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..checks import check_number
from ..operators import LinearOperator


@dataclass(frozen=True)
class AdjointSystem:
    """Jᵀ q = rhs, and what may help to solve it.

    Shapes are those of one vector; in a batch they are (B, d), and J is one
    matrix per sample.

    Parameters
    ----------
    vjp : callable, Tensor (d,) -> Tensor (d,)
        v ↦ Jᵀ v, at the price of about one evaluation of g.
    rhs : Tensor, shape (d,)
        dl/dz at the root.
    inverse : LinearOperator
        The root finder's estimate of J⁻¹.
    z : Tensor, shape (d,)
        The root.
    q0 : Tensor, shape (d,), or None
        First guess: the previous outer step's q, None before there is one.
    tol : float
        Relative residual that an iterative solver is asked for.
    diagonal : Tensor, shape () or (d,), or None
        A known diagonal part of J, such as that of a penalty.
    """

    vjp: Callable[[Tensor], Tensor]
    rhs: Tensor
    inverse: LinearOperator
    z: Tensor
    q0: Tensor | None
    tol: float
    diagonal: Tensor | None = None


@dataclass(frozen=True)
class JacobianFree:
    """q = dl/dz: J is taken for the identity (Fung et al., AAAI 2022)."""

    def __call__(self, system):
        return system.rhs


@dataclass(frozen=True)
class Shine:
    """q = Bᵀ dl/dz (Ramzi et al., ICLR 2022, section 2.1)."""

    def __call__(self, system):
        return system.inverse.T @ system.rhs


def cold(inverse):
    """No first estimate: a solver starts from B = I."""
    return None


@dataclass(frozen=True)
class Refine:
    """A few steps of an iterative solver, started from another method's q.

    Ramzi et al. 2022, section 3 ("refine").

    Parameters
    ----------
    base, solver : callable, AdjointSystem -> Tensor (d,)
    """

    base: Callable[[AdjointSystem], Tensor]
    solver: Callable[[AdjointSystem], Tensor]

    def __call__(self, system):
        return self.solver(replace(system, q0=self.base(system)))


@dataclass(frozen=True)
class NormRule:
    """Keep q where ‖q‖ ≤ ratio ‖rhs‖ (Ramzi et al. 2022, section 3).

    J⁻ᵀ rhs itself is often longer than that: a good q may be turned down.

    Parameters
    ----------
    ratio : float
        1.3 in the paper, 1.8 in the authors' code.
    """

    ratio: float = 1.3

    def __post_init__(self):
        check_number("ratio", self.ratio, above=0)

    def __call__(self, system, q):
        return q.norm(dim=-1) <= self.ratio * system.rhs.norm(dim=-1)


@dataclass(frozen=True)
class ResidualRule:
    """Keep q where ‖Jᵀ q - rhs‖ ≤ ‖Jᵀ rhs - rhs‖: the better of the two.

    Two products: neither residual says anything about the other.
    """

    def __call__(self, system, q):
        ours, theirs = (
            (system.vjp(v) - system.rhs).norm(dim=-1)
            for v in (q, system.rhs)
        )
        return ours <= theirs


@dataclass(frozen=True)
class Fallback:
    """Another method's q, or the Jacobian-free one, sample by sample.

    Ramzi et al. 2022, section 3 ("fallback").  A q that is not finite is
    never kept.

    Parameters
    ----------
    base : callable, AdjointSystem -> Tensor (B, d)
    rule : callable, (AdjointSystem, Tensor (B, d)) -> Tensor (B,) of bool
        Where to keep the base's q: `NormRule` or `ResidualRule`.
    """

    base: Callable[[AdjointSystem], Tensor]
    rule: Callable[[AdjointSystem, Tensor], Tensor]

    def __call__(self, system):
        q = self.base(system)
        keep = self.rule(system, q)
        return torch.where(keep.unsqueeze(-1), q, system.rhs)


def z_as_q0(z):
    """First guess of the first linear solve in the authors' code: z itself.

    It has no meaning as an adjoint; five iterations do not forget it, which
    is what makes their limited backward diverge on 20 newsgroups.
    """
    return z.clone()
