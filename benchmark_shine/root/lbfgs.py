"""L-BFGS, with and without outer-problem awareness."""
import math
from dataclasses import dataclass

from ..checks import check_choice, check_integer, check_number
from ..equation import need_diagonal
from ..precision import own_precision
from .base import Root, inherited
from .lbfgs_inverse import LBFGSInverse
from .line_search import NOISE, Point, place_at, strong_wolfe
from .opa import Opa

# What happens to the last solve's pairs: they are used, dropped, or shifted.
KEEP_PAIRS = {True: 1, False: 0, "corrected": 2}

# A solve ends after so many iterations in a row without progress.
STALLED = 100

# What a tolerance bounds; see `LBFGS`.
CRITERIA = {"gradient": 0, "energy": 1}


class _Progress:
    """Count the iterations since the last progress.

    Progress is a residual lower by a tenth, or an energy lower by more than
    its rounding: rounding alone makes a slightly lower residual for ever.
    """

    def __init__(self, value, residual):
        self._value, self._residual = value, residual
        self.n_without = 0

    def see(self, value, residual):
        """Take note of the energy and the residual of an iterate."""
        self.n_without += 1
        if residual < 0.9 * self._residual:
            self._residual, self.n_without = residual, 0
        if value < self._value - NOISE * abs(self._value):
            self._value, self.n_without = value, 0


@dataclass(frozen=True)
class LBFGS:
    """Minimise an equation's energy by L-BFGS with a strong Wolfe line search.

    Nocedal and Wright 2006, algorithm 7.5.

    Parameters
    ----------
    memory : int
        m, pairs kept.  Paper: 30; 60 with OPA, 10 for HOAG.
    max_iter : int
        Most iterations of a solve.  Paper: 1,000.
    c2 : float
        Curvature constant of the line search.
    c1 : float
        Constant of sufficient decrease.
    scale : float, "diagonal" or None
        B starts from scale × identity; None (the default) takes sᵀy / yᵀy of
        the newest pair, and "diagonal" the inverse of the known diagonal of
        J, which has to be one number: J⁻¹ is exactly that in the directions
        that the data do not see.
    keep_pairs : bool or "corrected"
        False (the default): a solve starts without pairs.  True: from the
        pairs of the warm start, which belong to another theta.  "corrected":
        from these pairs, corrected for the diagonal that theta adds to J.
    max_trials : int
        Most trials of a line search.
    opa : Opa or None
    criterion : {"gradient", "energy"}
        What the tolerances bound: ‖g‖₂, or √(½ gᵀD⁻¹g / h(z)), with h the
        energy and D the known diagonal of J.  Where J ≥ D, the latter bounds
        √((h(z) - min h) / h(z)) wherever the solve starts, whatever the units
        of z, and whatever the penalties of the single entries of z.  Where no
        diagonal is known, B in place of D⁻¹ makes an estimate of it.

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Notes
    -----
    c2 = 0.9 is usual for quasi-Newton steps (and SciPy's compiled
    L-BFGS-B's); the authors' Python L-BFGS has 9e-4, which makes every search
    nearly exact.  It keeps its pairs; their compiled one does not.
    """

    memory: int = 30
    max_iter: int = 1000
    c2: float = 0.9
    c1: float = 1e-4
    scale: float | str | None = None
    keep_pairs: bool | str = False
    max_trials: int = 20
    opa: Opa | None = None
    criterion: str = "gradient"

    def __post_init__(self):
        for name in ("memory", "max_iter", "max_trials"):
            check_integer(name, getattr(self, name), least=1)
        check_number("c1", self.c1, above=0, below=1)
        check_number("c2", self.c2, above=self.c1, below=1)
        check_choice("keep_pairs", self.keep_pairs, KEEP_PAIRS)
        check_choice("criterion", self.criterion, CRITERIA)
        if self.scale not in (None, "diagonal"):
            check_number("scale", self.scale, above=0)

    @property
    def needs_diagonal(self):
        """Whether it is for equations with a known ``diagonal`` alone."""
        return self.keep_pairs == "corrected" or self.scale == "diagonal"

    @own_precision
    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Minimise the equation's energy until its gradient is small.

        Parameters
        ----------
        equation : Equation
            With an energy.
        atol, rtol : float
            The solve stops where ‖g‖₂ ≤ max(atol, rtol ‖g(start)‖₂).
        warm_start : Root or None
            The last root of this finder, whose memory is taken over: its
            inverse cannot be used afterwards.

        Returns
        -------
        Root

        Raises
        ------
        RuntimeError
            Where the memory of ``warm_start`` was taken over before.
        ValueError
            Where a setting needs a diagonal that the equation does not have.
        """
        place = place_at(
            equation.energy, equation.start, warm_start and warm_start.place
        )
        n_g, n_iter, n_cheap = 1, 0, int(place.cheap)
        first_residual = residual = float(place.gradient.norm())
        B = self._memory(warm_start, equation)
        B.begin(place.gradient)
        error = self._error(equation, place, residual, B)
        tol = max(atol, rtol * error)
        progress = _Progress(place.value, residual)
        while (
            error > tol and n_iter < self.max_iter
            and progress.n_without < STALLED
        ):
            point, n_trials = self._search(place, residual, B)
            n_g += n_trials
            if place.cheap_trials:
                n_cheap += n_trials - 1
            if point is None:
                if not len(B):
                    break
                B.clear()
                continue
            n_iter += 1
            before, place = place, point.arrive()
            step = place.z - before.z
            B.update(step, place.gradient)
            residual = float(place.gradient.norm())
            error = self._error(equation, place, residual, B)
            progress.see(place.value, residual)
            if self.opa and self.opa.due(n_iter, equation.step):
                n_g += self.opa.teach(
                    B, equation, place.z, place.gradient, float(step.norm())
                )
        if self.opa and self.opa.root_pairs:
            n_g += self.opa.teach(
                B, equation, place.z, place.gradient, 0.0,
                self.opa.root_pairs,
            )
        return Root(
            place.z, B, residual, first_residual, n_iter, n_g,
            error <= tol, diagonal=equation.diagonal,
            gradient=place.gradient, n_cheap=n_cheap, place=place,
        )

    def _search(self, place, residual, B):
        """Search along the direction of B; drop its pairs if it is uphill."""
        direction = B.direction()
        slope = float(place.gradient @ direction)
        if not slope < 0:  # rounding, or pairs of another theta
            B.clear()
            direction, slope = -place.gradient, -residual * residual
        return strong_wolfe(
            place.along(direction),
            Point(0.0, place.value, slope, lambda: place),
            1.0 if len(B) else min(1.0, 1.0 / residual),
            self.c1, self.c2, self.max_trials,
        )

    def _error(self, equation, place, residual, B):
        """Compute what the tolerances bound."""
        value, gradient = place.value, place.gradient
        if self.criterion == "gradient" or value == 0:
            return residual
        if equation.diagonal is None:
            ahead = -B.direction()
        else:
            ahead = gradient / equation.diagonal
        return math.sqrt(max(float(gradient @ ahead), 0) / abs(2 * value))

    def _memory(self, warm_start, equation):
        if self.keep_pairs == "corrected":
            need_diagonal(equation, "keep_pairs: 'corrected'")
        scale = self.scale
        if scale == "diagonal":
            need_diagonal(equation, "scale: 'diagonal'")
            if equation.diagonal.numel() > 1:
                raise ValueError(
                    "scale: 'diagonal' needs one penalty for all entries of "
                    "z; with several take another scale"
                )
            scale = 1 / float(equation.diagonal)
        B = LBFGSInverse.reuse(
            inherited(warm_start), self.memory, equation.start, scale
        )
        if not self.keep_pairs:
            B.clear()
        elif self.keep_pairs == "corrected" and len(B):
            B.shift(equation.diagonal - warm_start.diagonal)
        return B
