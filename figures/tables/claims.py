"""The paper's claims, judged by the numbers of result files.

Ramzi et al., ICLR 2022, arXiv 2106.00553.  A claim compares two methods in
one quantity wherever both were run, by the medians and quartiles over seeds
of the league.  Nothing is judged by eye.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from ..fig2 import find_inversion
from ..figE2 import panels_of, read_alignment
from ..methods import label
from ..results import bare_name, settings_in_name
from ..stats import quantile
from . import league
from .markdown import markdown

CONFIRMED, REFUTED = "confirmed", "refuted"
UNDECIDED, UNTESTED = "undecided", "not tested"
VERDICTS = (CONFIRMED, REFUTED, UNDECIDED, UNTESTED)
HIGH_IS_GOOD = {"accuracy", "cosine of q"}

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

    @property
    def enough(self):
        """Whether its quartiles may decide."""
        return self.counted >= max(self.of, league.LEAST_SEEDS)

    def cost_of(self, quantity):
        """Return the spread of a number of which less is better."""
        if quantity not in HIGH_IS_GOOD:
            return self
        return Spread(
            -self.q3, -self.median, -self.q1, self.counted, self.of
        )

    def in_words(self):
        """Return median and quartiles as text."""
        low, middle, high = (
            league.number(x, "") for x in (self.q1, self.median, self.q3)
        )
        if middle == "∞":
            return "never"
        same = low == middle == high
        return middle if same else f"{middle} ({low}–{high})"


NOTHING = Spread(np.nan, np.nan, np.nan, 0, 0)


def spread_of(numbers):
    """Return the spread of numbers that are all there."""
    return Spread(
        *(quantile(numbers, q) for q in (0.25, 0.5, 0.75)),
        len(numbers), len(numbers),
    )


@dataclass(frozen=True)
class Place:
    """Where methods were compared: a data set in a protocol, or a network.

    ``family`` is "bilevel", "network", "inversion" or "alignment";
    ``numbers`` are spreads by quantity and label of the method, and
    ``bases`` the methods that the labels are variants of.
    """

    title: str
    family: str
    numbers: dict
    bases: frozenset = field(default_factory=frozenset)


def places_of(problems, inversion=None, alignment=None):
    """Collect everything that claims can be judged on, a list of `Place`.

    ``inversion`` is of `fig2.read_inversion`, ``alignment`` of
    `figE2.read_alignment`.
    """
    places = []
    for problem in problems:
        for protocol in problem.protocols:
            own = problem.league[problem.league["protocol"] == protocol]
            places.append(Place(
                f"{problem.dataset}, {protocol}",
                "bilevel" if problem.family is league.BILEVEL else "network",
                {(row.quantity, row.method):
                    Spread(row.q1, row.median, row.q3, row.counted, row.of)
                 for row in own.itertuples()},
                frozenset(own["base"]),
            ))
    if inversion is not None:
        places.append(_inversion_place(inversion))
    if alignment is not None:
        places += _alignment_places(alignment)
    return places


def places_in(inputs, problems):
    """Collect the places of `results.Inputs` and of their league."""
    alignment = inputs.csv.get("alignment")
    return places_of(
        problems, find_inversion(inputs),
        read_alignment(alignment) if alignment else None,
    )


def _inversion_place(points):
    # of ‖a − b‖ / ‖b‖, from ‖a‖ / ‖b‖ and the cosine
    ratio, cosine = points["ratio"], points["cosine"]
    error = np.sqrt((ratio**2 - 2 * ratio * cosine + 1).clip(lower=0))
    groups = error.groupby(points["direction"])
    return Place(
        "breast cancer, L-BFGS", "inversion",
        {("error of B v", name): spread_of(e) for name, e in groups},
    )


def _alignment_places(frame):
    places = []
    for (network, state), rows in panels_of(frame).items():
        exact = rows[rows["reference_converged"] > 0]
        groups = exact["sample_cosine_median"].groupby(exact["solver"])
        numbers = {}
        for name, cosines in groups:
            words = settings_in_name(name).items()
            method = label(bare_name(name), words)
            numbers["cosine of q", method] = spread_of(cosines)
        places.append(Place(f"{network}, {state}", "alignment", numbers))
    return places


# Rules: two spreads, of which less is better, to a verdict

def better(one, other, factor=1):
    """Say whether the first's quartiles lie below, ``factor`` times."""
    if one.q3 * factor < other.q1:
        return CONFIRMED
    return REFUTED if one.q1 * factor > other.q3 else UNDECIDED


def no_worse(one, other, margin=0):
    """Say whether the first's median is at most ``margin`` above.

    It is refuted where the quartiles lie more than that above.
    """
    if one.median <= other.median + margin and one.median < np.inf:
        return CONFIRMED
    return REFUTED if one.q1 > other.q3 + margin else UNDECIDED


def within(one, other, margin):
    """Say whether the medians differ by at most ``margin``.

    It is refuted where the quartiles are more than that apart.
    """
    if abs(one.median - other.median) <= margin:
        return CONFIRMED
    apart = max(one.q1 - other.q3, other.q1 - one.q3) > margin
    return REFUTED if apart else UNDECIDED


# Claims

@dataclass(frozen=True)
class Claim:
    """What the paper says, and how it is judged.

    ``source`` has the published numbers, ``rule`` is in words.  In places
    of the ``families``, any of the ``quantities`` is judged for each of the
    ``pairs``: the method that the claim is for, and another.  ``judge``
    makes a verdict of two costs, see `Spread.cost_of`.  Where a place
    cannot tell (``given`` its numbers), ``unless`` is said.
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
    pair = [numbers.get(("accuracy", name)) for name in ("HOAG", "SHINE")]
    return all(pair) and better(
        *(spread.cost_of("accuracy") for spread in pair)) == CONFIRMED


ARRIVALS = ("time to 1e-2", "evaluations to 1e-2")
SOONER = "Time, and evaluations, to a relative suboptimality of 1e-2: lower."
FREE = (("SHINE", "HOAG"), ("Jacobian-Free", "HOAG"))
# Nearest to the exact q first.
ALIGNED = (
    "SHINE-OPA", "SHINE (forward=adjoint_broyden)", "SHINE", "Jacobian-Free",
)

CLAIMS = (
    Claim(
        "SHINE reaches a given suboptimality sooner than HOAG",
        "Figures 1 and E.1",
        SOONER,
        ("bilevel",), ARRIVALS, (("SHINE", "HOAG"),), better,
    ),
    Claim(
        "The Jacobian-free method stalls at a worse value than SHINE",
        "Figures 1 and E.1",
        "SHINE's lowest relative suboptimality along the run: lower.",
        ("bilevel",), ("lowest suboptimality",),
        (("SHINE", "Jacobian-Free"),), better,
    ),
    Claim(
        "Grid search and random search are slower than SHINE",
        "Figures 1 and E.1",
        SOONER,
        ("bilevel",), ARRIVALS,
        (("SHINE", "Grid-search"), ("SHINE", "Random-search")), better,
    ),
    Claim(
        "SHINE-OPA is at least as fast as SHINE",
        "Figure 2, left",
        "Time, and evaluations, to a relative suboptimality of 1e-2: "
        "confirmed where the median is no higher, refuted where the quartiles "
        "lie above.",
        ("bilevel",), ARRIVALS, (("SHINE-OPA", "SHINE"),), no_worse,
    ),
    Claim(
        "SHINE-OPA ends at least as low as SHINE",
        "Figure 2, left",
        "Relative suboptimality at the end: confirmed where the median is no "
        "higher, refuted where the quartiles lie above.",
        ("bilevel",), ("last suboptimality",), (("SHINE-OPA", "SHINE"),),
        no_worse,
    ),
    Claim(
        "OPA inverts the prescribed and the Krylov direction almost exactly, "
        "random ones not",
        "Figure 2, right",
        "‖B v − J⁻¹ v‖ / ‖J⁻¹ v‖ over the tries: lower than in random "
        "directions.",
        ("inversion",), ("error of B v",),
        (("prescribed", "random"), ("krylov", "random")), better,
    ),
    Claim(
        "In networks the backward pass is cheaper than the full solve",
        "Figure 3",
        "Time of a backward pass: lower.",
        ("network",), ("backward",), FREE, better,
    ),
    Claim(
        "… by a factor of 10 to 60",
        "Figure 3: 13 (SHINE) and 16 (Jacobian-free) on CIFAR-10, 23 and 59 "
        "on ImageNet",
        "Time of a backward pass: confirmed where ten times the third "
        "quartile still lies below the first quartile of HOAG, refuted where "
        "ten times the first lies above HOAG's third.",
        ("network",), ("backward",), FREE, partial(better, factor=10),
    ),
    Claim(
        "… at a loss of at most half a point of accuracy",
        "Figure 3, CIFAR-10: 93.14 and 93.09 % against 93.51 %",
        "Test accuracy at the end: confirmed where the median is no more than "
        "0.5 points below that of HOAG, refuted where the quartiles lie more "
        "than 0.5 points below.",
        ("network",), ("accuracy",), FREE, partial(no_worse, margin=0.5),
    ),
    Claim(
        "… which a few refining steps make good",
        "Figure 3",
        "Where SHINE's accuracy lies below HOAG's, quartiles apart: confirmed "
        "where the median of SHINE-refine is no lower than that of HOAG, "
        "refuted where its quartiles lie below.",
        ("network",), ("accuracy",), (("SHINE-refine", "HOAG"),),
        no_worse, _falls_short,
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
        tuple(zip(ALIGNED, ALIGNED[1:])), better,
    ),
    Claim(
        "In bi-level problems SHINE has the clear advantage over "
        "Jacobian-free",
        "Sections 3.1 and 4",
        SOONER,
        ("bilevel",), ARRIVALS, (("SHINE", "Jacobian-Free"),), better,
    ),
    Claim(
        "In networks both are on a par",
        "Figure 3",
        "Test accuracy at the end: confirmed where the medians differ by at "
        "most 0.5 points, refuted where the quartiles lie more than 0.5 "
        "points apart.",
        ("network",), ("accuracy",), (("SHINE", "Jacobian-Free"),),
        partial(within, margin=0.5),
    ),
)


def judge(claim, place, quantity, pair):
    """Return a verdict and, if it is not tested, why; None without numbers."""
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
    return claim.judge(*(s.cost_of(quantity) for s in spreads)), ""


def _several(place, quantity, pair):
    """Return not tested, where a method has several settings alone."""
    labels = [name for what, name in place.numbers if what == quantity]
    if not labels or not set(pair) <= place.bases | set(labels):
        return None
    name = next(name for name in pair if name not in labels)
    return UNTESTED, f"several settings of {name}: give their files apart"


def findings(claim, places):
    """Make every comparison that a claim is about, a table.

    Columns: ``place``, ``quantity``, ``one`` and ``other`` (methods),
    ``first`` and ``second`` (Spread), ``verdict``, ``why``.
    """
    rows = []
    for place in places:
        if place.family not in claim.families:
            continue
        for quantity in claim.quantities:
            for one, other in claim.pairs:
                found = judge(claim, place, quantity, (one, other))
                if found is None:
                    continue
                rows.append({
                    "place": place.title, "quantity": quantity,
                    "one": one, "other": other,
                    "first": place.numbers.get((quantity, one), NOTHING),
                    "second": place.numbers.get((quantity, other), NOTHING),
                    "verdict": found[0], "why": found[1],
                })
    return pd.DataFrame(rows)


def full(places):
    """Write every claim and its comparisons, in Markdown."""
    parts = ["# The paper's claims", RULES.strip()]
    for claim in CLAIMS:
        found = findings(claim, places)
        parts += [
            f"## {claim.title}", f"{claim.source}.  Rule: {claim.rule}",
            "No file compares these methods." if found.empty
            else _table(found).rstrip(),
        ]
    return "\n\n".join(parts) + "\n"


def _table(found):
    return markdown(pd.DataFrame({
        "where": found["place"], "quantity": found["quantity"],
        "the claim is for": found["one"] + ": " + found["first"].map(
            Spread.in_words),
        "against": found["other"] + ": " + found["second"].map(
            Spread.in_words),
        "verdict": [
            f"{row.verdict}: {row.why}" if row.why else row.verdict
            for row in found.itertuples()
        ],
    }))
