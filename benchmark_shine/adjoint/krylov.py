"""Krylov methods for Jᵀ q = rhs: conjugate gradients and GMRES."""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..checks import check_integer, check_number
from ..operators import combine, rows_times
from ..root import LBFGSInverse
from .base import cold


@dataclass(frozen=True)
class ConjugateGradient:
    """Conjugate gradients on Jᵀ q = rhs, for symmetric J.

    To the system's tolerance this is HOAG (Pedregosa, ICML 2016); stopped
    after a few iterations it is limited backward; with the forward pass's
    estimate as its preconditioner (Nocedal and Wright 2006, algorithm 5.3)
    SHINE makes the exact method cheaper.

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
        published, `z_as_q0`.
    estimate : callable, LinearOperator -> LinearOperator or None
        The preconditioner, from the forward pass's estimate of J⁻¹: `cold`
        for none, or `transposed`.  The estimate must be positive definite.
    """

    max_iter: int = 10_000
    growth: float = 0.0
    first: Callable[[Tensor], Tensor] = torch.zeros_like
    estimate: Callable = cold

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)
        check_number("growth", self.growth, least=0)

    def __call__(self, system):
        q, rhs = system.q0, system.rhs
        if q is None:
            q = self.first(system.z)
        n_iter = self.max_iter
        if self.growth:
            n_iter += int(self.growth / math.sqrt(system.tol))
        if n_iter == 0:
            return q
        B = self.estimate(system.inverse)
        r = rhs - system.vjp(q) if q.any() else rhs
        p = r if B is None else B @ r
        rBr = float(r @ p)
        goal = system.tol * float(rhs.norm())
        for _ in range(n_iter):
            if not float(r.norm()) > goal:
                break
            jp = system.vjp(p)
            curvature = float(p @ jp)
            if curvature == 0:  # J is indefinite: no step along p
                break
            alpha = rBr / curvature
            q, r = q + alpha * p, r - alpha * jp
            Br = r if B is None else B @ r
            rBr, previous = float(r @ Br), rBr
            p = Br + (rBr / previous) * p
        return q


class Recycled:
    """Conjugate gradients preconditioned by those of the systems before.

    Morales and Nocedal, *Automatic preconditioning by limited memory
    quasi-Newton updating*, SIAM J. Optim. 2000: each iteration makes a secant
    pair of J for nothing, its direction p and J p.  Those of the last solve,
    or a sample evenly spread over it, are the L-BFGS matrix that preconditions
    the next system, whose J is near.  Where they are too few for the memory,
    older ones stay; what a known diagonal of J has changed by since is taken
    into account.  The first system of a run, which has no start, has no
    preconditioner.

    It remembers: one of these for each run.

    Parameters
    ----------
    memory : int
        m, pairs kept.  During a solve all of its own are.
    """

    def __init__(self, memory=30):
        check_integer("memory", memory, least=1)
        self.memory, self._inverse, self._diagonal = memory, None, None

    def __call__(self, system):
        if system.q0 is None:
            self._inverse = None
        elif self._inverse is not None and system.diagonal is not None:
            self._inverse.shift(system.diagonal - self._diagonal)
        pairs = []

        def vjp(v):
            pairs.append((v, system.vjp(v)))
            return pairs[-1][1]

        q = ConjugateGradient(estimate=lambda _: self._inverse)(
            replace(system, vjp=vjp)
        )
        if self._inverse is None:
            self._inverse = LBFGSInverse(
                self.memory, system.rhs, system.inverse.fixed_scale
            )
        spread = torch.linspace(0, len(pairs) - 1, self.memory)
        chosen = spread.round().long().unique().tolist() if pairs else []
        pairs = [
            *zip(*self._inverse.pairs()), *(pairs[n] for n in chosen)
        ]
        self._inverse.fill(pairs[-self.memory:])
        self._diagonal = system.diagonal
        return q


@dataclass(frozen=True)
class Gmres:
    """GMRES on Jᵀ q = rhs without restarts, for any J, by sample.

    Saad and Schultz, SIAM J. Sci. Stat. Comput. 1986, algorithm 3; Arnoldi
    by classical Gram-Schmidt, done twice.  The precision is that of rhs: a
    reference solution wants a float64 problem.  A sample that is solved gets
    zero products from then on.

    The residual norm comes without a solve: with t the left null vector of
    the (n + 1, n) Hessenberg matrix, t₀ = 1, it is the first one over ‖t‖.

    Parameters
    ----------
    max_iter : int
        Most iterations, one product each (and one for the first residual
        unless there is no start).  Keeps as many vectors.
    tol : float or None
        Relative residual; None: the system's.
    """

    max_iter: int = 200
    tol: float | None = None

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)

    def __call__(self, system):
        shape = system.rhs.shape
        rhs = system.rhs.reshape(-1, shape[-1])

        def vjp(v):
            return system.vjp(v.reshape(shape)).reshape(rhs.shape)

        q, r = 0 * rhs, rhs  # not zeros: NaN stays NaN
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
            # where only rounding is left, the space is exhausted
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
