"""Ways to get q ~ J⁻ᵀ dl/dz: the one place where the methods differ.

Each is a callable that takes an `AdjointSystem` and returns q.  They compose:
``Refine(Shine(), ConjugateGradient(max_iter=5))``.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .checks import check_integer, check_number
from .operators import LinearOperator


@dataclass(frozen=True)
class AdjointSystem:
    """Jᵀ q = rhs, and what may help to solve it.

    Parameters
    ----------
    jt : callable, Tensor (d,) -> Tensor (d,)
        v ↦ Jᵀ v, at the price of about one evaluation of g.
    rhs : Tensor, shape (d,)
        dl/dz at the root.
    inverse : LinearOperator
        The root finder's estimate of J⁻¹.
    z : Tensor, shape (d,)
        The root.
    start : Tensor, shape (d,), or None
        First guess: the previous outer step's q, None before there is one.
    tol : float
        Relative residual that an iterative solver is asked for.
    """

    jt: Callable[[Tensor], Tensor]
    rhs: Tensor
    inverse: LinearOperator
    z: Tensor
    start: Tensor | None
    tol: float


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


@dataclass(frozen=True)
class ConjugateGradient:
    """Conjugate gradients on Jᵀ q = rhs, for symmetric J.

    To the system's tolerance this is HOAG (Pedregosa, ICML 2016); stopped
    after a few iterations it is limited backward.

    Parameters
    ----------
    max_iter : int
        Most iterations, one product each (and one for the first residual
        unless the start is zero).
    growth : float
        Adds int(growth / √tol) iterations as the tolerance shrinks: the
        authors' code refines SHINE with max_iter 0 and growth 0.01.
    first : callable, Tensor (d,) -> Tensor (d,)
        First guess from z where the system has none: `zeros` or, as
        published, `at_root`.
    """

    max_iter: int = 10_000
    growth: float = 0.0
    first: Callable[[Tensor], Tensor] = torch.zeros_like

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)
        check_number("growth", self.growth, least=0)

    def __call__(self, system):
        q, rhs = system.start, system.rhs
        if q is None:
            q = self.first(system.z)
        n_iter = self.max_iter
        if self.growth:
            n_iter += int(self.growth / math.sqrt(system.tol))
        if n_iter == 0:
            return q
        r = rhs - system.jt(q) if q.any() else rhs
        p, rr = r, float(r @ r)
        goal = (system.tol * float(rhs.norm())) ** 2
        for _ in range(n_iter):
            if not rr > goal:
                break
            jp = system.jt(p)
            curvature = float(p @ jp)
            if curvature == 0:  # J is indefinite: no step along p
                break
            alpha = rr / curvature
            q, r = q + alpha * p, r - alpha * jp
            rr, previous = float(r @ r), rr
            p = r + (rr / previous) * p
        return q


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
        return self.solver(replace(system, start=self.base(system)))


@dataclass(frozen=True)
class Neumann:
    """Truncated Neumann series, q = eta Σ_{i ≤ k} (I - eta Jᵀ)ⁱ rhs.

    Lorraine, Vicol and Duvenaud, AISTATS 2020, algorithm 3.  It converges
    for eta < 2 / ‖J‖, so ‖J‖ is estimated by power iterations from rhs.
    Their products are counted like all others.

    Parameters
    ----------
    n_steps : int
        k, products of the series.
    n_power : int
        Power iterations; 0 takes eta = 1, right where J = I - (contraction).
    """

    n_steps: int = 10
    n_power: int = 5

    def __post_init__(self):
        check_integer("n_steps", self.n_steps, least=0)
        check_integer("n_power", self.n_power, least=0)

    def __call__(self, system):
        if not system.rhs.any():
            return system.rhs
        v, norm = system.rhs, 1.0
        for _ in range(self.n_power):
            v = system.jt(v / v.norm())
            norm = float(v.norm())
        q = p = system.rhs / norm
        for _ in range(self.n_steps):
            p = p - system.jt(p) / norm
            q = q + p
        return q


def at_root(z):
    """First guess of the first linear solve in the authors' code: z itself.

    It has no meaning as an adjoint; five iterations do not forget it, which
    is what makes their limited backward diverge on 20 newsgroups.
    """
    return z.clone()
