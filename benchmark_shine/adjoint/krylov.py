"""Krylov methods for Jᵀ q = rhs: conjugate gradients and GMRES."""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..checks import check_integer, check_number
from ..operators import combine, rows_times
from ..root import LBFGSInverse
from .base import cold, linear_in_rhs


def residual_within(system, tol):
    """Make the rule that ‖r‖ ≤ tol ‖rhs‖ is enough."""
    goal = tol * float(system.rhs.norm())
    return lambda q, r, Br: not float(r.norm()) > goal


def theta_norm(system, v):
    """Compute ‖(∂g/∂theta)ᵀ v‖ over all entries of theta."""
    parts = [part.reshape(-1) for part in system.g_theta_vjp(v)]
    return float(torch.cat(parts).norm())


def hypergradient_within(system, tol, least, *estimates):
    """Make the rule that the hypergradient's estimated error is small.

    With C = ∂g/∂theta and r the residual of q, the hypergradient -Cᵀ q has
    the error -Cᵀ J⁻¹ r.  The rule is that

        ‖Cᵀ M r‖ ≤ tol ‖Cᵀ q‖      for each estimate M of J⁻¹,

    or that ‖r‖ ≤ least ‖rhs‖: at the optimum of the outer loss, where the
    hypergradient is zero, no relative error of it can be kept.

    Parameters
    ----------
    system : AdjointSystem
        With a ``g_theta_vjp``.
    tol : float
        Relative error of the hypergradient.
    least : float
        Relative residual that is enough whatever the estimates say.
    *estimates : callable, (r, B r) -> Tensor (d,)
        Each gives M r.

    Returns
    -------
    callable, (q, r, B r) -> bool
    """
    solved = residual_within(system, least)

    def enough(q, r, Br):
        limit = tol * theta_norm(system, q)
        return solved(q, r, Br) or all(
            theta_norm(system, M(r, Br)) <= limit for M in estimates
        )

    return enough


def stop_by_residual(system, B):
    """Stop where ‖r‖ ≤ tol ‖rhs‖, the usual rule."""
    return residual_within(system, system.tol)


def stop_by_hypergradient(system, B):
    """Stop where the hypergradient's estimated relative error is within tol.

    The estimates M of J⁻¹ in `hypergradient_within` are D⁻¹, where the
    system has a known diagonal D, and the preconditioner B, where there is
    one.  The residual alone stops no solve before it is down to rounding, as
    the square root of the dtype's precision: where J is ill-conditioned, a
    small residual may hide a hypergradient of the wrong size.

    Ehrhardt, Gazzola and Scott, *Efficient gradient-based methods for bilevel
    learning via recycling Krylov subspaces*, arXiv 2412.08264, 2024, whose
    estimate has a preconditioner or the recycled subspace for J⁻¹; the
    maximum over two M is ours.  It is an estimate: where J ⪰ D, |cᵀ J⁻¹ r| ≤
    (cᵀ D⁻¹ c)^½ (rᵀ D⁻¹ r)^½ is a bound for each column c of C, but far from
    sharp; see the notes of `benchmark_shine.adjoint.Guarded`.

    Parameters
    ----------
    system : AdjointSystem
    B : LinearOperator or None
        The preconditioner.

    Returns
    -------
    callable, (q, r, B r) -> bool

    Raises
    ------
    ValueError
        Where there is neither a diagonal nor a preconditioner, or no
        derivative in theta.
    """
    estimates = []
    if system.diagonal is not None:
        estimates.append(lambda r, Br: r / system.diagonal)
    if B is not None:
        estimates.append(lambda r, Br: Br)
    if not estimates or system.g_theta_vjp is None:
        raise ValueError(
            "stop: hypergradient needs theta, and a diagonal that theta adds "
            "to J or a preconditioner"
        )
    least = torch.finfo(system.rhs.dtype).eps ** 0.5
    return hypergradient_within(system, system.tol, least, *estimates)


@dataclass(frozen=True)
class ConjugateGradient:
    """Solve Jᵀ q = rhs by conjugate gradients, for symmetric J.

    To the system's tolerance this is HOAG (Pedregosa, ICML 2016); stopped
    after a few iterations it is limited backward; with the forward pass's
    estimate as its preconditioner (Nocedal and Wright 2006, algorithm 5.3)
    SHINE makes the exact method cheaper.

    Parameters
    ----------
    max_iter : int
        Most iterations, one product each (and one for the first residual
        unless the initial guess is zero).
    growth : float
        Adds int(growth / √tol) iterations as the tolerance shrinks: the
        authors' code refines SHINE with max_iter 0 and growth 0.01.
    default_q0 : callable, Tensor (d,) -> Tensor (d,)
        Makes the initial guess from z where the system has no q0; the default
        is zero, published is `z_as_q0`.
    estimate : callable, LinearOperator -> LinearOperator or None
        Makes the preconditioner from the forward pass's estimate of J⁻¹:
        `cold` (the default: none) or `transposed`.  The estimate must be
        positive definite.
    stop : callable, (AdjointSystem, LinearOperator or None) -> rule
        `stop_by_residual` (the default) or `stop_by_hypergradient`.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    max_iter: int = 10_000
    growth: float = 0.0
    default_q0: Callable[[Tensor], Tensor] = torch.zeros_like
    estimate: Callable = cold
    stop: Callable = stop_by_residual

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)
        check_number("growth", self.growth, least=0)

    def __call__(self, system):
        if system.q0 is None:
            system = replace(system, q0=self.default_q0(system.z))
        return self._solve(system)

    @linear_in_rhs
    def _solve(self, system):
        q, rhs = system.q0, system.rhs
        n_iter = self.max_iter
        if self.growth:
            n_iter += int(self.growth / math.sqrt(system.tol))
        if n_iter == 0:
            return q
        r = rhs - system.vjp(q) if q.any() else rhs
        B = self.estimate(system.inverse)
        return conjugate_gradients(
            system.vjp, q, r, B, self.stop(system, B), n_iter
        )


def conjugate_gradients(vjp, q, r, B, enough, max_iter=10_000):
    """Descend by preconditioned conjugate gradients from q.

    Nocedal and Wright 2006, algorithm 5.3.

    Parameters
    ----------
    vjp : callable, Tensor (d,) -> Tensor (d,)
        The product with J, symmetric.
    q, r : Tensor, shape (d,)
        The first iterate and its residual, rhs - J q.
    B : LinearOperator or None
        The preconditioner, positive definite; None: the identity.
    enough : callable, (q, r, B r) -> bool
        Ends the iterations; it is asked once before each of them.
    max_iter : int
        Most iterations, one product each.

    Returns
    -------
    Tensor, shape (d,)
        The last iterate.
    """
    p, rBr = None, 1.0
    for _ in range(max_iter):
        Br = r if B is None else B @ r
        if enough(q, r, Br):
            break
        previous, rBr = rBr, float(r @ Br)
        p = Br if p is None else Br + (rBr / previous) * p
        jp = vjp(p)
        curvature = float(p @ jp)
        if curvature == 0:  # J is indefinite: no step along p
            break
        alpha = rBr / curvature
        q, r = q + alpha * p, r - alpha * jp
    return q


class PairMemory:
    """Keep secant pairs (p, J p) of the linear solves of a run.

    The pairs of the last solve, or a sample evenly spread over them, make the
    L-BFGS matrix ``inverse`` (None where there are none).  Where they are too
    few for the memory, older pairs stay, corrected for the change of J's
    known diagonal.  The first system of a run, which has no q0, has none.

    Parameters
    ----------
    memory : int
        m, pairs kept.  During a solve all of its pairs are kept.

    Raises
    ------
    ValueError
        Where ``memory`` is out of its range.
    """

    def __init__(self, memory):
        check_integer("memory", memory, least=1)
        self.memory, self.inverse, self._diagonal = memory, None, None

    def solve(self, system, solver):
        """Apply a solver to a system, and remember its products."""
        if system.q0 is None:
            self.inverse = None
        elif self.inverse is not None and system.diagonal is not None:
            self.inverse.shift(system.diagonal - self._diagonal)
        self._diagonal = system.diagonal
        pairs = []

        def vjp(v):
            pairs.append((v, system.vjp(v)))
            return pairs[-1][1]

        q = solver(replace(system, vjp=vjp))
        if q.isfinite().all():
            self._remember(pairs, system)
        return q

    def _remember(self, pairs, system):
        if self.inverse is None:
            # the scale of the forward pass's matrix, where it has a fixed one
            scale = getattr(system.inverse, "fixed_scale", None)
            self.inverse = LBFGSInverse(self.memory, system.rhs, scale)
        spread = torch.linspace(0, len(pairs) - 1, self.memory)
        chosen = spread.round().long().unique().tolist() if pairs else []
        pairs = [*zip(*self.inverse.pairs()), *(pairs[n] for n in chosen)]
        self.inverse.fill(pairs[-self.memory:])


class Recycled:
    """Precondition conjugate gradients by the directions of earlier solves.

    Morales and Nocedal, *Automatic preconditioning by limited memory
    quasi-Newton updating*, SIAM J. Optim. 2000.  Each iteration makes a secant
    pair of J for nothing: its direction p and J p.  `PairMemory` keeps them
    for the next system, whose J is near.

    An instance remembers its last solve: each run needs its own.

    Parameters
    ----------
    memory : int
        See `PairMemory`.
    stop : callable
        See `ConjugateGradient`.
    """

    def __init__(self, memory=30, stop=stop_by_residual):
        self.memory, self.stop = memory, stop
        self._pairs = PairMemory(memory)

    def __call__(self, system):
        return self._pairs.solve(system, ConjugateGradient(
            estimate=lambda _: self._pairs.inverse, stop=self.stop
        ))


@dataclass(frozen=True)
class Gmres:
    """Solve Jᵀ q = rhs by GMRES without restarts, for any J, by sample.

    Saad and Schultz, SIAM J. Sci. Stat. Comput. 1986, algorithm 3; the
    Arnoldi vectors are made by classical Gram-Schmidt, done twice.  The
    precision is that of rhs: a reference solution needs a float64 problem.
    A sample that is solved gets zero vectors from then on.

    The residual norm comes without a solve: with t the left null vector of
    the (n + 1, n) Hessenberg matrix, t₀ = 1, it is the first residual's norm
    divided by ‖t‖.

    Parameters
    ----------
    max_iter : int
        Most iterations, one product each (and one for the first residual
        where the system has a q0).  As many vectors are kept.
    tol : float or None
        Relative residual tolerance; None (the default) takes the system's.

    Raises
    ------
    ValueError
        Where ``max_iter`` is out of its range.
    """

    max_iter: int = 200
    tol: float | None = None

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)

    @linear_in_rhs
    def __call__(self, system):
        shape = system.rhs.shape
        rhs = system.rhs.reshape(-1, shape[-1])

        def vjp(v):
            return system.vjp(v.reshape(shape)).reshape(rhs.shape)

        q, r = torch.zeros_like(rhs), rhs
        if system.q0 is not None:
            q = system.q0.reshape(rhs.shape)
            r = rhs - vjp(q)
        tol = system.tol if self.tol is None else self.tol
        goal, norm = tol * rhs.norm(dim=1), r.norm(dim=1)
        working = norm > goal
        noise = 10 * torch.finfo(r.dtype).eps
        basis = r.new_empty(len(r), self.max_iter + 1, shape[-1])
        hessenberg = r.new_zeros(len(r), self.max_iter + 1, self.max_iter)
        t = r.new_ones(len(r), 1)
        basis[:, 0] = _divide(r, norm, working)
        n = 0
        while n < self.max_iter and bool(working.any()):
            V = basis[:, :n + 1]
            w = vjp(V[:, n])
            h = torch.zeros_like(t)
            for _ in range(2):
                overlap = rows_times(V, w)
                w = combine(V, -overlap, w)
                h = h + overlap
            # a sample that is done gets a column that no solution uses
            length = torch.where(working, w.norm(dim=1), 1.0)
            hessenberg[:, :n + 1, n] = h
            hessenberg[:, n + 1, n] = length
            # where only rounding is left, the Krylov space is exhausted
            working = working & (length > noise * h.norm(dim=1))
            following = -(t * h).sum(dim=1, keepdim=True) / length[:, None]
            t = torch.cat([t, following], dim=1)
            working = working & (norm / t.norm(dim=1) > goal)
            basis[:, n + 1] = _divide(w, length, working)
            n += 1
        if not n:
            return q.reshape(shape)
        Q, R = torch.linalg.qr(hessenberg[:, :n + 1, :n])
        y = torch.linalg.solve_triangular(
            R, norm[:, None, None] * Q[:, :1].mT, upper=True
        ).squeeze(2)
        return combine(basis[:, :n], y, q).reshape(shape)


def _divide(rows, by, where):
    return torch.where(where.unsqueeze(1), rows / by.unsqueeze(1), 0.0)
