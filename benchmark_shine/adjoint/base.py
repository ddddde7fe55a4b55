"""Adjoint methods: ways to get q ≈ J⁻ᵀ ∂ℓ/∂z.

A method is a callable that takes an `AdjointSystem` and returns q.  Methods
compose: ``Refine(Shine(), ConjugateGradient(max_iter=5))``.  In a batch, where
rhs has shape (B, d), all methods treat each sample by itself, except for
ConjugateGradient and Nystrom, which take one system, and for the power
iterations of Neumann and GradientDescent, whose norm is that of the batch.
"""
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps

import torch
from torch import Tensor

from ..checks import check_number
from ..operators import LinearOperator
from ..precision import eager, finite_rows, scale_of, without_autocast


@dataclass(frozen=True)
class AdjointSystem:
    """Hold the linear system Jᵀ q = rhs, and what may help to solve it.

    Shapes are those of one vector; in a batch they are (B, d), and J is one
    matrix per sample.  An adjoint method must not change these tensors.

    Parameters
    ----------
    vjp : callable, Tensor (d,) -> Tensor (d,)
        The vector-Jacobian product v ↦ Jᵀ v, which costs about as much as
        one evaluation of g.
    rhs : Tensor, shape (d,)
        ∂ℓ/∂z at the root.
    inverse : LinearOperator
        The root finder's estimate of J⁻¹.
    z : Tensor, shape (d,)
        The root.
    q0 : Tensor, shape (d,), or None
        Initial guess: the q of the previous outer step; None where there is
        none.
    tol : float
        Relative residual tolerance that iterative solvers are asked for.
    diagonal : Tensor, shape () or (d,), or None
        A known diagonal part of J, such as that of a penalty.
    g_theta_vjp : callable, Tensor (d,) -> tuple of Tensor, or None
        v ↦ (∂g/∂theta)ᵀ v, in the shapes of theta: q gives the hypergradient
        -g_theta_vjp(q).  None where theta is not known.  It costs a product
        with Jᵀ where g has no cheaper ``g_theta``, and else nothing.
    """

    vjp: Callable[[Tensor], Tensor]
    rhs: Tensor
    inverse: LinearOperator
    z: Tensor
    q0: Tensor | None
    tol: float
    diagonal: Tensor | None = None
    g_theta_vjp: Callable[[Tensor], tuple[Tensor, ...]] | None = None


class _CheckedProducts:
    """Compute Jᵀ v, and remember in which rows it was not finite."""

    def __init__(self, vjp):
        self._vjp, self._sums = vjp, []

    def __call__(self, v):
        product = self._vjp(v)
        # one pass; a sum is not finite where an entry is not
        self._sums.append(product.sum(dim=-1, keepdim=True))
        return product

    def failed(self):
        """Say which rows had a product that is not finite, (…, 1)."""
        if not self._sums:
            return False
        return ~torch.stack(self._sums).isfinite().all(dim=0)


def _scaled_guess(system, scale, failed):
    """Divide q0 by the scale of rhs, and drop it in rows where it is useless.

    Where q0 is longer than rhs / eps², no digit of rhs would survive in the
    residual rhs - Jᵀ q0.  This includes each row of rhs that is zero, whose
    q is then zero exactly.
    """
    rhs, q0 = system.rhs, system.q0
    eps = torch.finfo(rhs.dtype).eps
    useless = (
        eps ** 2 * q0.abs().amax(dim=-1, keepdim=True)
        > rhs.abs().amax(dim=-1, keepdim=True)
    )
    return torch.where(useless | failed, 0.0, q0 / scale)


def linear_in_rhs(solve):
    """Decorate a solver of Jᵀ q = rhs: safe at any scale, honest about NaN.

    As q is linear in rhs, the solver is given each row of rhs, and of q0,
    divided by a power of two near the largest entry of that row of rhs, and
    its q is multiplied by it: squares of entries neither under- nor overflow,
    and no digit changes where they did not before.

    A row of q is NaN where rhs, q0 or a product Jᵀ v has an entry that is
    not finite.  Left to itself, an iterative solver ends there, because no
    comparison with NaN is true, and returns its last iterate.

    Parameters
    ----------
    solve : callable, (method, AdjointSystem) -> Tensor (…, d)
    """
    @eager
    @wraps(solve)
    def solve_scaled(method, system):
        rhs = system.rhs
        with without_autocast(rhs):
            scale, failed = scale_of(rhs), ~finite_rows(rhs)
            q0 = system.q0
            if q0 is not None:
                failed = failed | ~finite_rows(q0)
                q0 = _scaled_guess(system, scale, failed)
            products = _CheckedProducts(system.vjp)
            rhs = torch.where(failed, 0.0, rhs / scale)
            q = solve(method, replace(system, vjp=products, rhs=rhs, q0=q0))
            failed = failed | products.failed()
            return torch.where(failed, torch.nan, q * scale)

    return solve_scaled


@dataclass(frozen=True)
class JacobianFree:
    """Take q = ∂ℓ/∂z, J for the identity (Fung et al., AAAI 2022)."""

    def __call__(self, system):
        return system.rhs


@dataclass(frozen=True)
class Shine:
    """Take q = Bᵀ ∂ℓ/∂z (Ramzi et al., ICLR 2022, section 2.1)."""

    def __call__(self, system):
        return system.inverse.T @ system.rhs


def cold(inverse):
    """Use no estimate of J⁻ᵀ: a solver starts from the identity."""
    return None


@dataclass(frozen=True)
class Refine:
    """Start a few steps of an iterative solver from another method's q.

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

    J⁻ᵀ rhs itself is often longer than that, so that a good q may be turned
    down.

    Parameters
    ----------
    ratio : float
        1.3 in the paper (the default), 1.8 in the authors' code.

    Raises
    ------
    ValueError
        Where ``ratio`` is not positive.
    """

    ratio: float = 1.3

    def __post_init__(self):
        check_number("ratio", self.ratio, above=0)

    def __call__(self, system, q):
        scale = scale_of(system.rhs)
        q, rhs = q / scale, system.rhs / scale
        return q.norm(dim=-1) <= self.ratio * rhs.norm(dim=-1)


@dataclass(frozen=True)
class ResidualRule:
    """Keep q where ‖Jᵀ q - rhs‖ ≤ ‖Jᵀ rhs - rhs‖: the better of the two.

    The rule costs two products with Jᵀ.
    """

    def __call__(self, system, q):
        scale = scale_of(system.rhs)
        rhs = system.rhs / scale
        ours, theirs = (
            (system.vjp(v) - rhs).norm(dim=-1) for v in (q / scale, rhs)
        )
        return ours <= theirs


@dataclass(frozen=True)
class Fallback:
    """Take another method's q or the Jacobian-free one, sample by sample.

    Ramzi et al. 2022, section 3 ("fallback").  A row of q that is not finite
    is never kept.

    Parameters
    ----------
    base : callable, AdjointSystem -> Tensor (B, d)
    rule : callable, (AdjointSystem, Tensor (B, d)) -> Tensor (B,) of bool
        Where to keep the q of ``base``: `NormRule` or `ResidualRule`.
    """

    base: Callable[[AdjointSystem], Tensor]
    rule: Callable[[AdjointSystem, Tensor], Tensor]

    def __call__(self, system):
        q = self.base(system)
        keep = self.rule(system, q).unsqueeze(-1) & finite_rows(q)
        return torch.where(keep, q, system.rhs)


def z_as_q0(z):
    """Take z as the initial guess of the first linear solve.

    Notes
    -----
    The authors' code does this.  z has no meaning as an adjoint, and five
    iterations do not forget it, which is why their limited backward diverges
    on 20 newsgroups.
    """
    return z.clone()
