"""SHINE with a guard: q is corrected until the hypergradient is certain."""
import torch

from ..checks import check_number
from ..operators import transposed
from ..root import Broyden
from .base import Refine, Shine, linear_in_rhs
from .krylov import PairMemory, conjugate_gradients, residual_within
from .quasi_newton import QuasiNewtonSolve


class Guarded:
    r"""Correct SHINE's q where the hypergradient's estimated error is high.

    The candidates are the q of the last outer step and SHINE's.  One product
    gives the residual r = rhs - J q.  With C = ∂g/∂theta, (d, p), the error of
    the hypergradient -Cᵀ q is -Cᵀ J⁻¹ r exactly (Pedregosa 2016, theorem 1,
    bounds it by ‖C‖ ‖J⁻¹‖ ‖r‖).  With a known diagonal D it is estimated by

        e = Cᵀ D⁻¹ r,

    which costs no product with J: for penalties exp(thetaⱼ) it is the sum
    of z r over the coordinates of penalty j.  Conjugate gradients,
    preconditioned by the pairs of earlier solves (`PairMemory`), correct q
    until

        ‖e‖ ≤ max(guard ‖Cᵀ q‖, tol ‖Cᵀ D⁻¹ rhs‖)   or   ‖r‖ ≤ tol ‖rhs‖.

    The second number is tol times the estimate at q = 0: near the optimum,
    where the hypergradient vanishes, no relative error could be kept.

    J must be symmetric.  Where the system has no diagonal, or no derivative
    in theta, the guard is ‖r‖ ≤ guard ‖rhs‖.

    An instance remembers the pairs of its last solve: each run needs its own.

    Parameters
    ----------
    guard : float
        Relative error of the hypergradient.  0 solves to the system's
        tolerance.
    memory : int
        Pairs kept, see `PairMemory`.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    def __init__(self, guard=0.2, memory=30):
        check_number("guard", guard, least=0)
        self.guard, self._pairs = guard, PairMemory(memory)

    def __call__(self, system):
        return self._pairs.solve(system, self._solve)

    @linear_in_rhs
    def _solve(self, system):
        enough = self._rule(system)
        q, r = _start(system, enough)
        return conjugate_gradients(
            system.vjp, q, r, self._pairs.inverse, enough
        )

    def _rule(self, system):
        if system.diagonal is None or system.g_theta_vjp is None:
            return residual_within(system, max(self.guard, system.tol))
        solved = residual_within(system, system.tol)
        floor = system.tol * theta_norm(system, system.rhs / system.diagonal)

        def enough(q, r):
            error = theta_norm(system, r / system.diagonal)
            return solved(q, r) or error <= max(
                self.guard * theta_norm(system, q), floor
            )

        return enough


def _start(system, enough):
    """Take the last q if it is good enough, else the better of it and SHINE's.

    Returns
    -------
    q, r : Tensor, shape (d,)
    """
    last = system.q0 is not None
    if last:
        q, r = system.q0, system.rhs - system.vjp(system.q0)
        if enough(q, r):
            return q, r
    shine = Shine()(system)
    residual = system.rhs - system.vjp(shine)
    if last and not residual.norm() < r.norm():
        return q, r
    return shine, residual


def theta_norm(system, v):
    """Compute ‖(∂g/∂theta)ᵀ v‖ over all entries of theta."""
    parts = [part.reshape(-1) for part in system.g_theta_vjp(v)]
    return float(torch.cat(parts).norm())


def guarded_by_sample(guard, n_steps):
    """Correct SHINE's q in the samples whose residual is high.

    For networks, where J is not symmetric and no part of it is known: Broyden
    steps from SHINE's q and its matrix, until ‖rhs - Jᵀ q‖ ≤ guard ‖rhs‖ in
    each sample.  A sample that meets this at once keeps SHINE's q.

    Parameters
    ----------
    guard : float
        Relative residual.
    n_steps : int
        Most steps, one product each, and one for the first residual.

    Returns
    -------
    callable, AdjointSystem -> Tensor (B, d)

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """
    check_number("guard", guard, least=0)
    steps = Broyden(max(n_steps, 1), n_steps)
    return Refine(Shine(), QuasiNewtonSolve(steps, transposed, guard))
