"""SHINE with a guard: q is corrected until the hypergradient is certain."""
from ..checks import check_number
from ..operators import transposed
from ..root import Broyden
from .base import Refine, Shine, linear_in_rhs
from .krylov import (
    PairMemory, conjugate_gradients, hypergradient_within, residual_within,
)
from .quasi_newton import QuasiNewtonSolve


class Guarded:
    r"""Correct SHINE's q where the hypergradient's estimated error is high.

    The candidates are the q of the last outer step and, where it is not good
    enough, SHINE's.  One product gives the residual r = rhs - J q of a
    candidate.  With C = ∂g/∂theta, (d, p), the hypergradient -Cᵀ q differs
    from the exact one by Cᵀ J⁻¹ r (Pedregosa, ICML 2016, theorem 1, bounds
    that by ‖C‖ ‖J⁻¹‖ ‖r‖).  Two matrices stand for J⁻¹, which cost no product
    with J:

    - D⁻¹, D the known diagonal of J.  For penalties exp(thetaⱼ) it makes the
      sum of z r over the coordinates of penalty j.  D⁻¹ is exact for the part
      of r that the data do not see, where (J - D) D⁻¹ r = 0.
    - M, the L-BFGS matrix of the pairs of the last linear solves
      (`PairMemory`), and in the first the forward pass's B.  M is nearly
      exact for the part that these have seen, but may be far too small
      elsewhere, as D⁻¹ is too large.

    Conjugate gradients, preconditioned by M, correct q until

        max(‖Cᵀ D⁻¹ r‖, ‖Cᵀ M r‖) ≤ guard ‖Cᵀ q‖

    or ‖r‖ ≤ tol ‖rhs‖, tol being the system's: at the optimum of the outer
    loss, where the hypergradient is zero, no relative error can be kept, and
    q is as exact as HOAG's.

    J must be symmetric.  Where the system has no diagonal, or no derivative
    in theta, the guard is ‖r‖ ≤ guard ‖rhs‖.

    An instance remembers the pairs of its last solves: each run needs its
    own.

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

    Notes
    -----
    The maximum is an estimate, not a bound.  Where J ⪰ D ≻ 0, as for convex
    losses, J⁻¹ ⪯ D⁻¹ and the inequality of Cauchy and Schwarz give for each
    column c of C

        |cᵀ J⁻¹ r| ≤ (cᵀ D⁻¹ c)^½ (rᵀ D⁻¹ r)^½,

    and |cᵀ D⁻¹ r| is itself a bound where r is a multiple of c.  The bound
    was 2 to 1,000 times the error in our runs.  It has no meaning where J - D
    has negative eigenvalues.  The classical estimates from within conjugate
    gradients (Hestenes and Stiefel 1952; Golub and Meurant, *Matrices,
    Moments and Quadrature*, 2010) need further iterations, one product each.
    """

    def __init__(self, guard=0.2, memory=30):
        check_number("guard", guard, least=0)
        self.guard, self._pairs = guard, PairMemory(memory)

    def __call__(self, system):
        return self._pairs.solve(system, self._solve)

    @linear_in_rhs
    def _solve(self, system):
        enough, M = self._rule(system), self._pairs.inverse
        M = system.inverse if M is None else M
        q, r = _start(system, lambda q, r: enough(q, r, M @ r))
        return conjugate_gradients(system.vjp, q, r, M, enough)

    def _rule(self, system):
        if system.diagonal is None or system.g_theta_vjp is None:
            return residual_within(system, max(self.guard, system.tol))
        return hypergradient_within(
            system, self.guard, system.tol,
            lambda r, Mr: r / system.diagonal, lambda r, Mr: Mr,
        )


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
