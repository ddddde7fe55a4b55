"""Outer-problem awareness: extra secant pairs for the backward pass."""
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_integer, check_number
from ..equation import Equation


def loss_gradient(equation, z):
    """Differentiate the outer loss: ∂ℓ/∂z, the vector that SHINE multiplies.

    Parameters
    ----------
    equation : Equation
    z : Tensor, shape (d,)

    Returns
    -------
    Tensor, shape (d,)
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(equation.loss(z), z)[0]


@dataclass(frozen=True)
class EveryFewSteps:
    """Choose M, the inner iterations per OPA pair, by the outer step k.

    M is linear in k between ``first`` at k = 1 and ``last`` at k =
    ``n_outer``, rounded down, and at least 1; (5, 5) is every fifth iteration
    throughout.

    Parameters
    ----------
    first, last : float
        Not negative; 0 means every iteration.
    n_outer : int
        Outer steps of the run.

    Raises
    ------
    ValueError
        Where ``first`` or ``last`` is not a number, or negative.

    Notes
    -----
    The authors' code effectively runs (29, 0) over 30 outer steps for
    logistic regression and (12.25, 0) over 50 for non-linear least squares.
    """

    first: float
    last: float
    n_outer: int

    def __post_init__(self):
        check_number("opa_every, first", self.first, least=0)
        check_number("opa_every, last", self.last, least=0)

    def __call__(self, k):
        share = (k - 1) / max(1, self.n_outer - 1)
        # the small number keeps exact integers from being rounded away
        return max(1, int(
            self.first + share * (self.last - self.first) + 1e-9
        ))


@dataclass(frozen=True)
class Opa:
    """Add secant pairs in one chosen direction: outer-problem awareness.

    Every M-th iteration adds the pair e = t B v, g(z + e) - g(z), where v is
    the direction and t makes ‖e‖ the length of the last step, but no shorter
    than where the difference of g is mostly rounding (Ramzi et al. 2022,
    section 2.3 and algorithm LBFGS).

    Parameters
    ----------
    every : callable, int -> int, or None
        M as a function of the outer step k; None: no pair during the solve.
    direction : callable, (Equation, Tensor (d,)) -> Tensor (d,)
        v; the default is ∂ℓ/∂z.
    root_pairs : int
        Pairs after the solve has ended (L-BFGS only; default 0): BFGS on
        J q = v with exact steps, from q = 0, where each pair has the
        direction e = t B r with the residual r that the pairs before have
        left.  The pairs are conjugate, so that B v is then q + B r, one step
        better than q itself.

    Raises
    ------
    ValueError
        Where ``root_pairs`` is out of its range.

    Notes
    -----
    The paper writes v = ∂g/∂theta, the authors' code takes ∂ℓ/∂z; either
    serves, because B is symmetric there.  The length of e is the code's.
    """

    every: Callable[[int], int] | None
    direction: Callable[[Equation, Tensor], Tensor] = loss_gradient
    root_pairs: int = 0

    def __post_init__(self):
        check_integer("root_pairs", self.root_pairs, least=0)

    def due(self, n_iter, k):
        """Say whether iteration n_iter of outer step k adds a pair."""
        return self.every is not None and n_iter % self.every(k) == 0

    def teach(self, B, equation, z, gradient, length, n_pairs=1):
        """Teach L-BFGS's matrix pairs in this direction.

        Parameters
        ----------
        B : LBFGSInverse
        equation : Equation
            With an energy.
        z, gradient : Tensor, shape (d,)
            The iterate, and g there.
        length : float
            ‖e‖, unless that is too short.
        n_pairs : int

        Returns
        -------
        int
            Evaluations of the energy.
        """
        r = self.direction(equation, z)
        shortest = torch.finfo(z.dtype).eps ** 0.5 * (1 + float(z.norm()))
        for n in range(n_pairs):
            e = B @ r
            norm = float(e.norm())
            if not (norm > 0 and math.isfinite(norm)):
                return n
            e *= max(length, shortest) / norm
            change = equation.energy(z + e)[1] - gradient
            r = r - (r @ e) / (change @ e) * change
            B.learn(e, change)
        return n_pairs
