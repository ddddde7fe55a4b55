"""Strong Wolfe line search on the value and slope of an energy."""
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

# Relative rounding of an energy summed over many samples.
NOISE = 1e-14


@dataclass(frozen=True)
class Point:
    """Hold one trial of a line search.

    Parameters
    ----------
    t : float
        Step length.
    value, slope : float
        Of the energy along the line, at t.
    arrive : callable, () -> Place
        Make the place to which the step leads, with its gradient.
    """

    t: float
    value: float
    slope: float
    arrive: Callable


class Place:
    """Hold value and gradient of an energy at z, where a line search begins.

    This form serves every energy: each trial evaluates it.

    Parameters
    ----------
    energy : callable, Tensor (d,) -> (float, Tensor (d,))
    z : Tensor, shape (d,)

    Attributes
    ----------
    z, gradient : Tensor, shape (d,)
    value : float
    cheap : bool
        Whether value and gradient took no product with the data.
    cheap_trials : bool
        Whether trials take no product with the data.
    """

    cheap = cheap_trials = False

    def __init__(self, energy, z):
        self.z, self._energy = z, energy
        self.value, self.gradient = energy(z)

    def along(self, direction):
        """Restrict the energy to the line z + t direction.

        Parameters
        ----------
        direction : Tensor, shape (d,)

        Returns
        -------
        callable, float -> Point
            Gives the trial at a step length t.
        """
        def trial(t):
            place = Place(
                self._energy, torch.add(self.z, direction, alpha=t)
            )
            slope = float(place.gradient @ direction)
            return Point(t, place.value, slope, lambda: place)

        return trial


def place_at(energy, z, last=None):
    """Evaluate an energy where a solve begins.

    Parameters
    ----------
    energy : callable, Tensor (d,) -> (float, Tensor (d,))
        An energy with a method ``at`` makes its own form of `Place`, from z
        and the last place.
    z : Tensor, shape (d,)
    last : Place or None
        Where the last solve ended, maybe of another energy.

    Returns
    -------
    Place
    """
    if hasattr(energy, "at"):
        return energy.at(z, last)
    return Place(energy, z)


def cubic_minimiser(a, b):
    """Minimise the cubic through two points' values and slopes.

    Nocedal and Wright 2006, equation 3.59.  NaN where there is no minimum.
    """
    d = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    inside = d * d - a.slope * b.slope
    if not inside >= 0:
        return math.nan
    root = math.copysign(math.sqrt(inside), b.t - a.t)
    below = b.slope - a.slope + 2 * root
    if below == 0:
        return math.nan
    return b.t - (b.t - a.t) * (b.slope + root - d) / below


def strong_wolfe(along, origin, t, c1, c2, max_trials):
    """Find a step that satisfies the strong Wolfe conditions.

    Nocedal and Wright 2006, algorithms 3.5 and 3.6, as one loop over a
    bracket.  Close to a minimum, differences of the energy are rounding noise;
    there the slope decides about sufficient decrease (the approximate Wolfe
    condition, Hager and Zhang 2005, equation 4.1).

    Parameters
    ----------
    along : callable, float -> Point
        Gives the trial at a step length, see `Place.along`.
    origin : Point
        The current iterate, at t = 0, with a negative slope.
    t : float
        First trial.
    c1, c2 : float
        Constants of sufficient decrease and of curvature.
    max_trials : int

    Returns
    -------
    point : Point or None
        The accepted trial, or the best one that decreases the energy, or
        None where no trial does.
    n_trials : int
    """
    low, high = origin, None
    noise = NOISE * abs(origin.value)
    for n_trials in range(1, max_trials + 1):
        trial = along(t)
        value, slope = trial.value, trial.slope
        if not (math.isfinite(value) and math.isfinite(slope)):
            # outside the energy's domain nothing can be interpolated
            high, t = None, low.t + 0.1 * (t - low.t)
            continue
        decrease = value <= origin.value + c1 * t * origin.slope or (
            value <= origin.value + noise
            and slope <= (2 * c1 - 1) * origin.slope
        )
        if decrease and abs(slope) <= -c2 * origin.slope:
            return trial, n_trials
        if not decrease or (
            value >= low.value + noise and low is not origin
        ):
            high = trial
        else:
            if slope * ((high.t if high else math.inf) - low.t) >= 0:
                high = low
            low = trial
        t = _next_trial(low, high)
        if high and abs(high.t - low.t) <= 1e-12 * max(low.t, high.t):
            break
    return (None if low is origin else low), n_trials


def _next_trial(low, high):
    if high is None:
        return 4 * low.t
    t, width = cubic_minimiser(low, high), high.t - low.t
    inside = 0.1 <= (t - low.t) / width <= 0.9
    return t if inside else low.t + 0.5 * width
