"""qNBO's subroutine B: quasi-Newton steps on the adjoint system."""
from collections.abc import Callable
from dataclasses import dataclass

from ..checks import check_integer
from ..root.updates import BfgsUpdates
from .base import linear_in_rhs


@dataclass(frozen=True)
class SecantSteps:
    """Make quasi-Newton steps on J q = rhs from q = C rhs, J symmetric.

    Subroutine B of qNBO (Fang, Liu, Yao, Yu and Zhang, ICLR 2025).  No code of
    the authors is public: this is a reconstruction.  C starts as the forward
    pass's estimate of J⁻¹.  Each step s = C (rhs - J q) is made as it is, and
    teaches C the pair (s, J s), in the direction that is needed.  The first
    step, from q = 0 to C rhs, teaches such a pair too.

    With SR1 updates, d steps solve the system, whatever C is at first, unless
    a pair is left out (Nocedal and Wright 2006, theorem 6.1).  With BFGS
    updates, unit steps converge superlinearly where C is near J⁻¹.

    Parameters
    ----------
    n_steps : int
        Q, steps after the first, one product each; 0 is SHINE.
    update : callable, LinearOperator -> Updates
        `BfgsUpdates` or `Sr1Updates` of `benchmark_shine.root.updates`.

    Raises
    ------
    ValueError
        Where ``n_steps`` is out of its range.
    """

    n_steps: int = 5
    update: Callable = BfgsUpdates

    def __post_init__(self):
        check_integer("backward_steps", self.n_steps, least=0)

    @linear_in_rhs
    def __call__(self, system):
        C, r = self.update(system.inverse), system.rhs
        q = s = C @ r
        for _ in range(self.n_steps):
            y = system.vjp(s)
            r = r - y
            C.learn(s, y)
            s = C @ r
            q = q + s
        return q
