"""The paper's claims, judged by the numbers of result files.

Ramzi et al., ICLR 2022, arXiv 2106.00553.  A claim compares two methods in
one quantity wherever both were run, by the medians and quartiles over seeds
of the league (figures/league.py).  Nothing is judged by eye.
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

import league
from common import base_of, quantile, short_names
from figE2_deq_inversion import panels_of

CONFIRMED, REFUTED = "confirmed", "refuted"
UNDECIDED, UNTESTED = "undecided", "not tested"
VERDICTS = (CONFIRMED, REFUTED, UNDECIDED, UNTESTED)

RULES = f"""\
Two methods are compared by their medians and quartiles over seeds. "Lower"
is confirmed where the first method's third quartile lies below the other's
first quartile, refuted where its first lies above the other's third, and
undecided where the quartiles overlap. "No worse", "within" and "times" are
spelled out with each claim. A run that never arrives is infinitely late. With
fewer than {league.LEAST_SEEDS} seeds, or where a method lacks a seed that
another one has, there are no quartiles to speak of: not tested. The times are
those of the machine that made the files; counts are the same everywhere.
"""


# Numbers

@dataclass(frozen=True)
class Spread:
    """Quartiles of a quantity over seeds, batches or tries.

    ``counted`` is how many have a number, ``of`` how many there should be.
    """

    q1: float
    median: float
    q3: float
    counted: int
    of: int

    def __neg__(self):
        return Spread(-self.q3, -self.median, -self.q1, self.counted, self.of)

    def __mul__(self, factor):
        return Spread(
            self.q1 * factor, self.median * factor, self.q3 * factor,
            self.counted, self.of,
        )

    def __add__(self, shift):
        return Spread(
            self.q1 + shift, self.median + shift, self.q3 + shift,
            self.counted, self.of,
        )

    @property
    def enough(self):
        """Whether its quartiles may decide."""
        return self.counted >= max(self.of, league.LEAST_SEEDS)


NOTHING = Spread(np.nan, np.nan, np.nan, 0, 0)


def spread_of(numbers):
    """Of numbers that are all there."""
    return Spread(
        *(quantile(numbers, q) for q in (0.25, 0.5, 0.75)),
        len(numbers), len(numbers),
    )


@dataclass(frozen=True)
class Place:
    """Where methods were compared: a data set in a protocol, or a network.

    Parameters
    ----------
    title : str
    family : {"bilevel", "network", "inversion", "alignment"}
    numbers : dict of (quantity, method) to Spread
    """

    title: str
    family: str
    numbers: dict


def places_of(problems, inversion=None, alignment=None):
    """Everything that claims can be judged on.

    Parameters
    ----------
    problems : list of league.Problem
    inversion : pandas.DataFrame or None
        Of `fig2_opa.read_inversion`.
    alignment : pandas.DataFrame or None
        Of `figE2_deq_inversion.read`.
    """
    places = []
    titles = short_names([problem.dataset for problem in problems])
    for problem in problems:
        for protocol in league.protocols(problem):
            own = problem.league[problem.league["protocol"] == protocol]
            places.append(Place(
                f"{titles[problem.dataset]}, {protocol}",
                "bilevel" if problem.family is league.BILEVEL else "network",
                {(row.quantity, row.method):
                    Spread(row.q1, row.median, row.q3, row.counted, row.of)
                 for row in own.itertuples()},
            ))
    if inversion is not None:
        # of ‖a − b‖ / ‖b‖, from ‖a‖ / ‖b‖ and the cosine
        ratio, cosine = inversion["ratio"], inversion["cosine"]
        error = np.sqrt((ratio**2 - 2 * ratio * cosine + 1).clip(lower=0))
        groups = error.groupby(inversion["direction"])
        places.append(Place(
            "breast cancer, L-BFGS", "inversion",
            {("error of B v", name): spread_of(e) for name, e in groups},
        ))
    if alignment is not None:
        for (network, state), rows in panels_of(alignment).items():
            names = short_names(rows["solver"].unique())
            exact = rows[rows["reference_converged"] > 0]
            groups = exact["sample_cosine_median"].groupby(exact["solver"])
            places.append(Place(
                f"{network}, {state}", "alignment",
                {("cosine of q", names[s]): spread_of(c) for s, c in groups},
            ))
    return places


# Rules: two spreads to a verdict

def lower(one, other):
    """Whether the quartiles of the first lie below those of the other."""
    if one.q3 < other.q1:
        return CONFIRMED
    return REFUTED if one.q1 > other.q3 else UNDECIDED


def higher(one, other):
    """As `lower`, upside down."""
    return lower(-one, -other)


@dataclass(frozen=True)
class Times:
    """The first is ``factor`` times lower, or more."""

    factor: float

    def __call__(self, one, other):
        return lower(one * self.factor, other)


def no_later(one, other):
    """The first's median is no higher; refuted as `lower` is."""
    if one.median <= other.median and one.median < np.inf:
        return CONFIRMED
    return REFUTED if one.q1 > other.q3 else UNDECIDED


@dataclass(frozen=True)
class AtMostBelow:
    """The first's median is no more than ``margin`` below the other's."""

    margin: float

    def __call__(self, one, other):
        return no_later(-one, -other + self.margin)


@dataclass(frozen=True)
class Within:
    """The medians differ by no more than ``margin``."""

    margin: float

    def __call__(self, one, other):
        if abs(one.median - other.median) <= self.margin:
            return CONFIRMED
        apart = REFUTED in (
            no_later(one, other + self.margin),
            no_later(-one, -other + self.margin),
        )
        return REFUTED if apart else UNDECIDED


# Claims

@dataclass(frozen=True)
class Claim:
    """What the paper says, and how it is judged.

    Parameters
    ----------
    title : str
    source : str
        Figure or section, and the published numbers.
    rule : str
        In words.
    families : tuple of str
        Of places.
    quantities : tuple of str
        Any of them that a place has is judged.
    pairs : tuple of (str, str)
        Methods: the one the claim is for, and the other.
    judge : callable, (Spread, Spread) -> verdict
    given : callable, numbers -> bool
        Whether a place can tell at all.
    unless : str
        What is said where it cannot.
    """

    title: str
    source: str
    rule: str
    families: tuple
    quantities: tuple
    pairs: tuple
    judge: Callable
    given: Callable = lambda numbers: True
    unless: str = ""


def _falls_short(numbers):
    pair = [numbers.get(("accuracy", name)) for name in ("SHINE", "HOAG")]
    return all(pair) and lower(*pair) == CONFIRMED


ARRIVALS = ("time to 1e-2", "evaluations to 1e-2")
FREE = (("SHINE", "HOAG"), ("Jacobian-Free", "HOAG"))
# Nearest to the exact q first.
ALIGNED = (
    "SHINE-OPA", "SHINE (forward=adjoint_broyden)", "SHINE", "Jacobian-Free",
)

CLAIMS = (
    Claim(
        "SHINE reaches a given suboptimality sooner than HOAG",
        "Figures 1 and E.1",
        "Time, and evaluations, to a relative suboptimality of 1e-2: lower.",
        ("bilevel",), ARRIVALS, (("SHINE", "HOAG"),), lower,
    ),
    Claim(
        "The Jacobian-free method stalls at a worse value than SHINE",
        "Figures 1 and E.1",
        "SHINE's lowest relative suboptimality along the run: lower.",
        ("bilevel",), ("lowest suboptimality",),
        (("SHINE", "Jacobian-Free"),), lower,
    ),
    Claim(
        "Grid search and random search are slower than SHINE",
        "Figures 1 and E.1",
        "Time, and evaluations, to a relative suboptimality of 1e-2: lower.",
        ("bilevel",), ARRIVALS,
        (("SHINE", "Grid-search"), ("SHINE", "Random-search")), lower,
    ),
    Claim(
        "SHINE-OPA is at least as fast as SHINE",
        "Figure 2, left",
        "Time, and evaluations, to a relative suboptimality of 1e-2: "
        "confirmed where the median is no higher, refuted where the quartiles "
        "lie above.",
        ("bilevel",), ARRIVALS, (("SHINE-OPA", "SHINE"),), no_later,
    ),
    Claim(
        "SHINE-OPA ends at least as low as SHINE",
        "Figure 2, left",
        "Relative suboptimality at the end: confirmed where the median is no "
        "higher, refuted where the quartiles lie above.",
        ("bilevel",), ("last suboptimality",), (("SHINE-OPA", "SHINE"),),
        no_later,
    ),
    Claim(
        "OPA inverts the prescribed and the Krylov direction almost exactly, "
        "random ones not",
        "Figure 2, right",
        "‖B v − J⁻¹ v‖ / ‖J⁻¹ v‖ over the tries: lower than in random "
        "directions.",
        ("inversion",), ("error of B v",),
        (("prescribed", "random"), ("krylov", "random")), lower,
    ),
    Claim(
        "In networks the backward pass is cheaper than the full solve",
        "Figure 3",
        "Time of a backward pass: lower.",
        ("network",), ("backward",), FREE, lower,
    ),
    Claim(
        "… by a factor of 10 to 60",
        "Figure 3: 13 (SHINE) and 16 (Jacobian-free) on CIFAR-10, 23 and 59 "
        "on ImageNet",
        "Time of a backward pass: confirmed where ten times the third "
        "quartile still lies below the first quartile of HOAG, refuted where "
        "ten times the first lies above HOAG's third.",
        ("network",), ("backward",), FREE, Times(10),
    ),
    Claim(
        "… at a loss of at most half a point of accuracy",
        "Figure 3, CIFAR-10: 93.14 and 93.09 % against 93.51 %",
        "Test accuracy at the end: confirmed where the median is no more than "
        "0.5 points below that of HOAG, refuted where the quartiles lie more "
        "than 0.5 points below.",
        ("network",), ("accuracy",), FREE, AtMostBelow(0.5),
    ),
    Claim(
        "… which a few refining steps make good",
        "Figure 3",
        "Where SHINE's accuracy lies below HOAG's, quartiles apart: confirmed "
        "where the median of SHINE-refine is no lower than that of HOAG, "
        "refuted where its quartiles lie below.",
        ("network",), ("accuracy",), (("SHINE-refine", "HOAG"),),
        AtMostBelow(0.0), _falls_short,
        "SHINE loses no accuracy here: nothing to make good",
    ),
    Claim(
        "Adjoint Broyden with OPA gives the best-aligned q, then adjoint "
        "Broyden, then Broyden, then Jacobian-free",
        "Figure E.2",
        "Cosine with the exact q, of the median sample; in files of figure "
        "E.2 over batches with a known exact q, in those of runs along the "
        "run and over seeds. Each pair of neighbours in that order: higher.",
        ("network", "alignment"), ("cosine of q",),
        tuple(zip(ALIGNED, ALIGNED[1:])), higher,
    ),
    Claim(
        "In bi-level problems SHINE has the clear advantage over "
        "Jacobian-free",
        "Sections 3.1 and 4",
        "Time, and evaluations, to a relative suboptimality of 1e-2: lower.",
        ("bilevel",), ARRIVALS, (("SHINE", "Jacobian-Free"),), lower,
    ),
    Claim(
        "In networks both are on a par",
        "Figure 3",
        "Test accuracy at the end: confirmed where the medians differ by at "
        "most 0.5 points, refuted where the quartiles lie more than 0.5 "
        "points apart.",
        ("network",), ("accuracy",), (("SHINE", "Jacobian-Free"),),
        Within(0.5),
    ),
)


def judge(claim, place, quantity, pair):
    """A verdict and, if it is not tested, why; or None, nothing to compare."""
    spreads = [place.numbers.get((quantity, name)) for name in pair]
    if None in spreads:
        return _several(place, quantity, pair)
    if any(np.isnan(s.median) for s in spreads):
        return None
    short = [s for s in spreads if not s.enough]
    if short:
        counts = f"{short[0].counted} of {short[0].of}"
        return UNTESTED, f"{counts} seeds: too few for quartiles"
    if not claim.given(place.numbers):
        return UNTESTED, claim.unless
    return claim.judge(*spreads), ""


def _several(place, quantity, pair):
    """Not tested, where a method is there in several settings alone."""
    labels = [label for what, label in place.numbers if what == quantity]
    if not set(pair) <= {base_of(label) for label in labels}:
        return None
    name = next(name for name in pair if name not in labels)
    return UNTESTED, f"several settings of {name}: give their files apart"


def findings(claim, places):
    """Every comparison that a claim is about.

    Returns
    -------
    pandas.DataFrame
        Columns ``place``, ``quantity``, ``one`` and ``other`` (methods),
        ``first`` and ``second`` (Spread), ``verdict``, ``why``.
    """
    rows = []
    for place in places:
        if place.family not in claim.families:
            continue
        for quantity in claim.quantities:
            for pair in claim.pairs:
                found = judge(claim, place, quantity, pair)
                if found is None:
                    continue
                rows.append({
                    "place": place.title, "quantity": quantity,
                    "one": pair[0], "other": pair[1],
                    "first": place.numbers.get((quantity, pair[0]), NOTHING),
                    "second":
                        place.numbers.get((quantity, pair[1]), NOTHING),
                    "verdict": found[0], "why": found[1],
                })
    return pd.DataFrame(rows)
