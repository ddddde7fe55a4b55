"""L-BFGS, with and without outer-problem awareness."""
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_choice, check_integer, check_number
from ..equation import Equation
from .base import Root
from .lbfgs_inverse import CURVATURE, LBFGSInverse
from .line_search import NOISE, Point, strong_wolfe

# What becomes of the last solve's pairs: used as they are, dropped, shifted.
KEEP_PAIRS = {True: 1, False: 0, "corrected": 2}

# A solve ends after so many iterations in a row without a smaller residual
# and without a decrease of the energy beyond its rounding.
STALLED = 100


def loss_gradient(equation, z):
    """dl/dz at z: the direction that SHINE will multiply with B.

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
    """An OPA pair every so many inner iterations, less many as k grows.

    Linear in the outer step k between ``first`` at k = 1 and ``last`` at
    k = ``n_outer``, rounded down, at least 1.  The authors' code effectively
    runs (29, 0) over 30 outer steps for logistic regression and (12.25, 0)
    over 50 for non-linear least squares; (5, 5) is every fifth throughout.

    Raises
    ------
    ValueError
        Where an end is not a number, or negative.
    """

    first: float
    last: float
    n_outer: int

    def __post_init__(self):
        # 0 means every iteration: see the floor below
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
    """Outer-problem awareness: extra secant pairs in one chosen direction.

    Every M-th iteration adds the pair e = t B v, g(z + e) - g(z), with v the
    direction and t such that ‖e‖ is the length of the last step (Ramzi et
    al. 2022, section 2.3 and algorithm LBFGS; the length is the authors'
    code's), but not so short that the difference of g is mostly rounding.
    The paper writes v = dg/dtheta; the authors' code takes dl/dz, the
    default here.  Both serve, B being symmetric.

    Parameters
    ----------
    every : callable, int -> int, or None
        M as a function of the outer step; None: no pair on the way.
    direction : callable, (Equation, Tensor (d,)) -> Tensor (d,)
    root_pairs : int
        Pairs once the solve has ended (L-BFGS only): BFGS on J q = v with
        exact steps, from q = 0, each pair of the direction e = t B r with the
        residual r left by those before.  They are conjugate, so that B v is
        then q + B r, one step better than q itself.

    Raises
    ------
    ValueError
        Where ``root_pairs`` is out of its range.
    """

    every: Callable[[int], int] | None
    direction: Callable[[Equation, Tensor], Tensor] = loss_gradient
    root_pairs: int = 0

    def __post_init__(self):
        check_integer("root_pairs", self.root_pairs, least=0)

    def due(self, n_iter, k):
        """Whether iteration n_iter of outer step k adds a pair."""
        return self.every is not None and n_iter % self.every(k) == 0


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS with a strong Wolfe line search.

    Nocedal and Wright 2006, algorithm 7.5, on an equation with an energy.

    Parameters
    ----------
    memory : int
        m, pairs kept.  Paper: 30; 60 with OPA, 10 for HOAG.
    max_iter : int
        Most iterations a solve.  Paper: 1,000.
    c2 : float
        Curvature constant of the line search: 0.9 is the field's default for
        quasi-Newton steps (and SciPy's compiled L-BFGS-B's); the authors'
        Python L-BFGS has 9e-4, which makes every search nearly exact.
    c1 : float
        Constant of sufficient decrease.
    scale : float or None
        B0 = scale × identity; None takes sᵀy / yᵀy of the newest pair.
    keep_pairs : bool or "corrected"
        Start from the previous solve's pairs (stale in theta, as in the
        authors' Python L-BFGS) instead of from none (their compiled one);
        corrected: made those of this theta, where it adds a diagonal to J.
    max_trials : int
        Most energy evaluations a line search.
    opa : Opa or None

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    memory: int = 30
    max_iter: int = 1000
    c2: float = 0.9
    c1: float = 1e-4
    scale: float | None = None
    keep_pairs: bool | str = False
    max_trials: int = 20
    opa: Opa | None = None

    def __post_init__(self):
        for name in ("memory", "max_iter", "max_trials"):
            check_integer(name, getattr(self, name), least=1)
        check_number("c1", self.c1, above=0, below=1)
        check_number("c2", self.c2, above=self.c1, below=1)
        check_choice("keep_pairs", self.keep_pairs, KEEP_PAIRS)
        if self.scale is not None:
            check_number("scale", self.scale, above=0)

    @torch.no_grad()
    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Minimise the equation's energy until its gradient is small.

        Parameters
        ----------
        equation : Equation
            With an energy.
        atol, rtol : float
            Stops where ‖g‖₂ ≤ max(atol, rtol ‖g(start)‖₂).
        warm_start : Root or None
            The last root of this finder, whose memory is taken over: its
            inverse is not usable any more.

        Returns
        -------
        Root
        """
        z = equation.start
        value, gradient = equation.energy(z)
        n_g, n_iter = 1, 0
        first_residual = residual = float(gradient.norm())
        tol = max(atol, rtol * first_residual)
        B = self._memory(warm_start, equation)
        # of the gradient with the memory: a pass over it that serves both
        # the direction and, as a difference, the next pair
        products = B.project(gradient)
        lowest, stalled = residual, 0
        while (
            residual > tol and n_iter < self.max_iter and stalled < STALLED
        ):
            direction = B.combine(gradient, products).neg_()
            slope = float(gradient @ direction)
            if not slope < 0:  # rounding, or pairs of another theta
                products = self._forget(B, gradient)
                direction, slope = -gradient, -residual * residual
            t = 1.0 if len(B) else min(1.0, 1.0 / residual)
            origin = Point(0.0, z, value, gradient, slope)
            point, n_trials = strong_wolfe(
                equation.energy, origin, direction, t,
                self.c1, self.c2, self.max_trials,
            )
            n_g += n_trials
            if point is None:
                if len(B):
                    products = self._forget(B, gradient)
                    continue
                break
            n_iter += 1
            step = point.z - z
            change, before = point.gradient - gradient, products
            products = B.project(point.gradient)
            products = self._push(
                B, step, change, products - before, point.gradient, products
            )
            decrease = value - point.value
            z, value, gradient = point.z, point.value, point.gradient
            residual = float(gradient.norm())
            better = decrease > NOISE * abs(value) or residual < lowest
            lowest, stalled = (
                min(lowest, residual), 0 if better else stalled + 1
            )
            if self.opa and self.opa.due(n_iter, equation.step):
                products, n_more = self._push_opa(
                    B, equation, z, gradient, products, float(step.norm()), 1
                )
                n_g += n_more
        if self.opa and self.opa.root_pairs:
            n_g += self._push_opa(
                B, equation, z, gradient, products, 0.0, self.opa.root_pairs
            )[1]
        return Root(
            z, B, residual, first_residual, n_iter, n_g,
            residual <= tol, diagonal=equation.diagonal,
        )

    def _memory(self, warm_start, equation):
        if self.keep_pairs == "corrected" and equation.diagonal is None:
            raise ValueError(
                "keep_pairs: 'corrected' needs an equation that says which "
                "diagonal theta adds to J"
            )
        B = LBFGSInverse.reuse(
            warm_start and warm_start.inverse, self.memory, equation.start,
            self.scale,
        )
        if not self.keep_pairs:
            B.clear()
        elif self.keep_pairs == "corrected" and len(B):
            B.shift(equation.diagonal - warm_start.diagonal)
        return B

    def _forget(self, B, gradient):
        B.clear()
        return B.project(gradient)

    def _push(self, B, s, y, products_y, gradient, products, rescale=True):
        """Store a pair that is sound; the gradient's products after that."""
        if float(s @ y) > CURVATURE * math.sqrt(float(s @ s) * float(y @ y)):
            B.push(s, y, rescale, products_y)
            return B.refresh(products, gradient)
        return products

    def _push_opa(
        self, B, equation, z, gradient, products, length, n_pairs
    ):
        """Learn OPA pairs; the gradient's products, evaluations made."""
        r = self.opa.direction(equation, z)
        shortest = torch.finfo(z.dtype).eps ** 0.5 * (1 + float(z.norm()))
        for n in range(n_pairs):
            e = B @ r
            norm = float(e.norm())
            if not (norm > 0 and math.isfinite(norm)):
                return products, n
            e *= max(length, shortest) / norm
            change = equation.energy(z + e)[1] - gradient
            r = r - (r @ e) / (change @ e) * change
            # the direction is one of low curvature: its pair as the scale
            # would make the next steps far too long
            products = self._push(
                B, e, change, B.project(change), gradient, products,
                rescale=False,
            )
        return products, n_pairs
