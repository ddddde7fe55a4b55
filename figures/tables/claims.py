"""The paper's claims, judged by the numbers of result files.

Ramzi et al., ICLR 2022, arXiv 2106.00553.  A claim compares two methods in
some quantities wherever both were run with the same seeds, by the statistics
of `figures.stats`.  Nothing is judged by eye.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import stats
from ..arrivals import occasions
from ..fig2 import find_inversion
from ..figE2 import panels_of, read_alignment
from ..methods import label
from ..results import bare_name, in_protocol_order, settings_in_name
from . import league
from .markdown import markdown

CONFIRMED, REFUTED = "confirmed", "refuted"
UNDECIDED, UNTESTED = "undecided", "not tested"
VERDICTS = (CONFIRMED, REFUTED, UNDECIDED, UNTESTED)
SAME = "equal on every seed"  # two runs of the same steps, say
MARGIN = 1.1  # "at least as fast": at most a tenth slower
POINTS = 0.5  # of accuracy
LEAST_ERROR = 1e-6  # a cosine in float64 tells errors from 1e-8 on

RULES = f"""\
Two methods are compared seed by seed, on the seeds that both were run with.

Counts, times and errors are compared by the ratio of the other method's
number to that of the method that the claim is for: above 1, the claim's method
is better. A run that never arrives loses to one that does; where neither
arrives, the seed is a tie. The page gives the median of the ratios with its 95
% interval, a percentile bootstrap over seeds, which is infinite at one end
where too many runs never arrive; the wins, losses and ties of the claim's
method; and the p-value of the sign test, which drops the ties. What every run
has is compared by Student's t, its interval and its p-value: accuracies and
cosines by the mean of their differences, times of a backward pass by the
geometric mean of their ratios.

A claim says where the ratio or the difference lies. It is confirmed where the
interval lies there as a whole and p is at most {stats.LEVEL} after Holm's
correction. It is refuted where the interval lies elsewhere as a whole and the
p-value for that is as small. All else is undecided. A claim with a margin
("within", "at least as") is tested against the margin, on the seeds where at
least one of the two arrives, and not where the two are equal on every seed. A
t-test needs differences that are not all the same. Suboptimalities that differ
by no more than the error of F are a tie. Runs of two packages are not
compared. Times of two files or machines are not compared either, since they
were measured on different occasions.

Holm's family are the comparisons of the same two methods in one claim, on one
data set in one protocol: first arrival and arrival to stay, counts and times
apart. What the files lack counts in it too, and no other method does: no
verdict depends on what other files are read. Where a sign test of all seeds
could not decide (fewer than seven in a family of two, six alone), or a t-test
has fewer than three, the verdict is: not tested.

The times are those of the machine that made the files; counts are the same
everywhere but for rounding.
"""


# Three scales

class Scale(NamedTuple):
    """How a quantity is compared: paired effects, their location, a test.

    ``least`` maps the size of a family to the pairs that can decide in it.
    """

    effects: Callable
    interval: Callable
    test: Callable
    least: Callable

    def in_words(self, estimate):
        """Return a location and its interval as text."""
        if self.effects is stats.differences:
            return "{} ({} to {})".format(*map(_signed, estimate))
        with np.errstate(over="ignore"):
            ratio = [_rounded(x) for x in np.exp(estimate)]
        return ratio[0] if len(set(ratio)) == 1 else "{} ({}–{})".format(
            *ratio)


def _signed(x):
    """Return a difference as text, with its sign."""
    if not np.isfinite(x):
        return "–" if np.isnan(x) else "+∞" if x > 0 else "−∞"
    return f"{x:+.3g}".replace("-", "−")


def _rounded(x):
    """Return a ratio as text: three digits, whatever its size."""
    return league.number(float(f"{x:.3g}"), "")


def three(size):
    """Return the pairs from which a t-test is given, in any family."""
    return 3


COSTS = Scale(
    stats.log_ratios, stats.median_interval, stats.sign_test,
    stats.fewest_pairs)
# no run is without these
TIMES = Scale(stats.log_ratios, stats.mean_interval, stats.t_test, three)
SCORES = Scale(stats.differences, stats.mean_interval, stats.t_test, three)
SCALES = {"accuracy": SCORES, "cosine of q": SCORES, "backward": TIMES}


def scale_of(quantity):
    """Return how a quantity is compared."""
    return SCALES.get(quantity, COSTS)


class Region(NamedTuple):
    """Where a claim holds: effects between two ends, positive for better.

    An effect is log(other / one), on the scale SCORES one − other.
    """

    low: float
    high: float = np.inf

    def holds(self, estimate):
        """Say whether an interval lies inside as a whole."""
        return self.low + stats.TIE < estimate.low and (
            estimate.high < self.high - stats.TIE or np.isinf(self.high))

    def fails(self, estimate):
        """Say whether an interval lies outside as a whole."""
        return (estimate.high < self.low - stats.TIE
                or estimate.low > self.high + stats.TIE)


BETTER = Region(0.0)


# Numbers

@dataclass(frozen=True)
class Place:
    """Where methods were compared: a data set in a protocol, or a network.

    ``family`` is "bilevel", "network", "inversion" or "alignment".
    ``numbers`` has a row per method and seed (index ``method``, ``seed``; in
    the last two families a try or a batch stands for the seed) and a column
    per quantity.  Of methods of benchopt's files, ``settings`` has the
    parameters, a dict, as far as they are known, and ``origins`` the packages
    and the occasions that runs are of, two sets.  ``seeds`` is what to call
    the seeds.
    """

    title: str
    family: str
    numbers: pd.DataFrame
    protocol: str = ""
    settings: dict = field(default_factory=dict)
    origins: dict = field(default_factory=dict)
    seeds: str = "seeds"

    def table(self, quantity):
        """Return a quantity, a row per seed and a column per method.

        Methods without any number are left out.
        """
        if quantity not in self.numbers:
            return pd.DataFrame()
        table = self.numbers[quantity].unstack("method")
        return table.dropna(axis=1, how="all")

    def memory(self, method):
        """Return the memory of a method's forward solver, or None."""
        return self.settings.get(method, {}).get("memory")


def places_of(problems, runs=None, inversion=None, alignment=None):
    """Collect everything that claims can be judged on, a list of `Place`.

    ``problems`` are of `league.problems_of`, ``runs`` those that they are
    made of; ``inversion`` is of `fig2.read_inversion`, ``alignment`` of
    `figE2.read_alignment`.
    """
    places = [
        _place(problem, protocol, runs)
        for problem in problems for protocol in problem.protocols
    ]
    if inversion is not None:
        places.append(_inversion_place(inversion))
    if alignment is not None:
        places += _alignment_places(alignment)
    return places


def places_in(inputs, problems):
    """Collect the places of `results.Inputs` and of their league."""
    alignment = inputs.csv.get("alignment")
    return places_of(
        problems, inputs.runs, find_inversion(inputs),
        read_alignment(alignment) if alignment else None,
    )


def _place(problem, protocol, runs):
    here, settings, origins = (problem.dataset, protocol), {}, {}
    if runs is not None:
        own = runs[(runs["dataset"] == problem.dataset)
                   & (runs["protocol"] == protocol)]
        for method, rows in own.groupby("method"):
            settings[method] = rows["settings"].iloc[0]
            origins[method] = set(rows["fingerprint"]), occasions(rows)
    return Place(
        problem.dataset,
        "bilevel" if problem.family is league.BILEVEL else "network",
        problem.numbers.xs(here, level=("dataset", "protocol")), protocol,
        settings, origins,
    )


def _inversion_place(points):
    # of ‖a − b‖ / ‖b‖, from ‖a‖ / ‖b‖ and the cosine
    ratio, apart = points["ratio"], (1 - points["cosine"]).clip(lower=0)
    error = np.sqrt((ratio - 1)**2 + 2 * ratio * apart)
    numbers = pd.DataFrame({
        "method": points["direction"], "seed": points["try"],
        "error of B v": error.clip(lower=LEAST_ERROR),
    }).set_index(["method", "seed"])
    return Place("breast cancer, L-BFGS", "inversion", numbers, seeds="tries")


def _alignment_places(frame):
    places = []
    for (network, state), rows in panels_of(frame).items():
        exact = rows[rows["reference_converged"] > 0]
        if exact.empty:
            continue  # of this network no exact q is known
        numbers = pd.DataFrame({
            "method": exact["solver"].map(_label_of),
            "seed": exact["dataset"] + exact["batch"].map(" {:g}".format),
            "cosine of q": exact["sample_cosine_median"],
        }).groupby(["method", "seed"]).median()
        places.append(Place(
            f"{network}, {state}", "alignment", numbers, seeds="batches"))
    return places


def _label_of(solver):
    return label(bare_name(solver), settings_in_name(solver).items())


# Claims

@dataclass(frozen=True)
class Claim:
    """What the paper says, and how it is judged.

    ``source`` has the published numbers, ``rule`` is in words.  In places
    of the ``families``, each of the quantities is judged for each of the
    ``pairs``: the method that the claim is for, and another.  ``quantities``
    are in groups, each a family of Holm's correction for each pair.  The
    claim holds in the ``region`` of effects.  Where ``equal_memory``, forward
    solvers of the same memory are compared alone.  ``unless`` maps a place to
    the reason why it cannot tell, "" where it can.
    """

    title: str
    source: str
    rule: str
    families: tuple
    quantities: tuple
    pairs: tuple
    region: Region = BETTER
    equal_memory: bool = False
    unless: Callable = lambda place: ""


def _no_loss(place):
    """Say why SHINE's accuracy was not found to lie below HOAG's."""
    verdict = compare(place, "accuracy", "HOAG", "SHINE", BETTER)["verdict"]
    if verdict == UNTESTED:
        return "SHINE's own loss was not tested"
    return "" if verdict == CONFIRMED else (
        "no loss of SHINE is found here: nothing to make good")


ARRIVALS = tuple(
    (f"{x} to 1e-2", f"{x} to stay at 1e-2") for x in ("evaluations", "time"))
SOONER = (
    "Evaluations, and time, until the relative suboptimality is first within "
    "1e-2, and until it is so to stay: fewer, the ratio above 1."
)
FREE = (("SHINE", "HOAG"), ("Jacobian-Free", "HOAG"))
# Nearest to the exact q first.
ALIGNED = (
    "SHINE-OPA", "SHINE (forward=adjoint_broyden)", "SHINE", "Jacobian-Free",
)

CLAIMS = (
    Claim(
        "SHINE reaches a given suboptimality sooner than HOAG",
        "Figures 1 and E.1", SOONER,
        ("bilevel",), ARRIVALS, (("SHINE", "HOAG"),),
    ),
    Claim(
        "The Jacobian-free method stalls at a worse value than SHINE",
        "Figures 1 and E.1",
        "The relative suboptimality, lowest along the run and at its end: "
        "SHINE's is lower, the ratio above 1.",
        ("bilevel",), (("lowest suboptimality", "last suboptimality"),),
        (("SHINE", "Jacobian-Free"),),
    ),
    Claim(
        "Grid search and random search are slower than SHINE",
        "Figures 1 and E.1", SOONER,
        ("bilevel",), ARRIVALS,
        (("SHINE", "Grid-search"), ("SHINE", "Random-search")),
    ),
    Claim(
        "SHINE-OPA is at least as fast as SHINE",
        "Figure 2, left",
        "Evaluations, and time, until the relative suboptimality is first "
        "within 1e-2, and until it is so to stay, of forward solvers with the "
        f"same memory: at most {MARGIN} times those of SHINE, the ratio above "
        f"1 / {MARGIN}.",
        ("bilevel",), ARRIVALS, (("SHINE-OPA", "SHINE"),),
        Region(-np.log(MARGIN)), equal_memory=True,
    ),
    Claim(
        "SHINE-OPA ends at least as low as SHINE",
        "Figure 2, left",
        "The relative suboptimality at the end, of forward solvers with the "
        f"same memory: at most {MARGIN} times that of SHINE, the ratio above "
        f"1 / {MARGIN}.",
        ("bilevel",), (("last suboptimality",),), (("SHINE-OPA", "SHINE"),),
        Region(-np.log(MARGIN)), equal_memory=True,
    ),
    Claim(
        "OPA inverts the prescribed and the Krylov direction almost exactly, "
        "random ones not",
        "Figure 2, right",
        "‖B v − J⁻¹ v‖ / ‖J⁻¹ v‖ of one try's B, not told from 0 below "
        f"{LEAST_ERROR:.0e}: lower than in a random direction, the ratio "
        "above 1.",
        ("inversion",), (("error of B v",),),
        (("prescribed", "random"), ("krylov", "random")),
    ),
    Claim(
        "In networks the backward pass is cheaper than the full solve",
        "Figure 3",
        "Time of a backward pass, the median along a run: less, the ratio "
        "above 1.",
        ("network",), (("backward",),), FREE,
    ),
    Claim(
        "… by a factor of 10 to 60",
        "Figure 3: 13 (SHINE) and 16 (Jacobian-free) on CIFAR-10, 23 and 59 "
        "on ImageNet",
        "Time of a backward pass: a tenth of HOAG's at most, the ratio above "
        "10.",
        ("network",), (("backward",),), FREE, Region(np.log(10)),
    ),
    Claim(
        "… at a loss of at most half a point of accuracy",
        "Figure 3, CIFAR-10: 93.14 and 93.09 % against 93.51 %",
        f"Test accuracy at the end: the difference above −{POINTS} points.",
        ("network",), (("accuracy",),), FREE, Region(-POINTS),
    ),
    Claim(
        "… which a few refining steps make good",
        "Figure 3",
        "Where SHINE's accuracy lies below HOAG's, the difference of "
        f"SHINE-refine's and HOAG's is above −{POINTS} points.",
        ("network",), (("accuracy",),), (("SHINE-refine", "HOAG"),),
        Region(-POINTS), unless=_no_loss,
    ),
    Claim(
        "Adjoint Broyden with OPA gives the best-aligned q, then adjoint "
        "Broyden, then Broyden, then Jacobian-free",
        "Figure E.2",
        "Cosine with the exact q, of the median sample; in files of figure "
        "E.2 over batches with a known exact q, which say nothing of other "
        "networks, in those of runs along the run and over seeds. Each pair "
        "of neighbours in that order: higher, the difference above 0.",
        ("network", "alignment"), (("cosine of q",),),
        tuple(zip(ALIGNED, ALIGNED[1:])),
    ),
    Claim(
        "In bi-level problems SHINE has the clear advantage over "
        "Jacobian-free",
        "Sections 3.1 and 4", SOONER,
        ("bilevel",), ARRIVALS, (("SHINE", "Jacobian-Free"),),
    ),
    Claim(
        "In networks both are on a par",
        "Figure 3",
        f"Test accuracy at the end: the difference between −{POINTS} and "
        f"{POINTS} points.",
        ("network",), (("accuracy",),), (("SHINE", "Jacobian-Free"),),
        Region(-POINTS, POINTS),
    ),
)


# Which labels a claim is about

def labels_of(place, quantity, name):
    """Map the settings that the labels of a method tell to these labels."""
    return {x.removeprefix(name): x for x in place.table(quantity)
            if x == name or x.startswith(f"{name} (") and "=" in x}


def pairs_of(place, quantity, pair):
    """List what two methods' labels to compare, as pairs.

    A label without settings stands for the method where there is one.
    Where several settings of both were run, those with the same ones are
    compared, and each with each where there are none.
    """
    ones, others = (labels_of(place, quantity, name) for name in pair)
    ones, others = ({"": x[""]} if "" in x else x for x in (ones, others))
    shared = [key for key in ones if key in others]
    return [(ones[key], others[key]) for key in shared] or [
        (one, other) for one in ones.values() for other in others.values()
        if one != other]


def equal_pairs_of(place, quantity, pair):
    """List labels of two methods with equal memory, as pairs.

    Of several, each label of the first method is compared with those whose
    settings differ least from its own.  Also returned is why the two cannot
    be compared, "" if they can.
    """
    ones, others = (
        [*labels_of(place, quantity, name).values()] for name in pair)
    found = []
    for one in ones:
        equal = [
            (_n_different(place, one, other), other) for other in others
            if place.memory(one) == place.memory(other) is not None]
        found += [
            (one, other) for n, other in equal if n == min(equal)[0]]
    if found:
        return found, ""
    told = [
        " and ".join(sorted({str(place.memory(x) or "unknown") for x in own}))
        for own in (ones, others)
    ]
    return list(zip(ones, others))[:1], "memory {} against {}".format(*told)


def _n_different(place, one, other):
    """Count the settings that two methods share and do not agree in."""
    one, other = (place.settings.get(name, {}) for name in (one, other))
    return sum(one[key] != other[key] for key in one.keys() & other)


# Verdicts

def compare(place, quantity, one, other, region, size=1):
    """Compare two methods, by label, in one quantity; return a dict.

    ``n`` counts the seeds that both have, ``estimate`` and ``p`` are of
    `stats.evidence`, not corrected yet, and so is the ``verdict``, but for
    too few seeds in a family of that ``size``.
    """
    table, scale = place.table(quantity), scale_of(quantity)
    if not {one, other} <= set(table):
        return {"verdict": UNTESTED, "why": "not run"}
    both = table[[one, other]].dropna()
    pairs = both.T.to_numpy()
    if quantity.endswith("suboptimality") and league.ERROR in place.numbers:
        errors = place.table(league.ERROR).reindex(
            index=both.index, columns=[one, other])
        pairs = stats.equal_within(*pairs, errors.max(axis=1))
    if region.low < 0:  # where neither arrives, any margin would be kept
        pairs = pairs[:, np.isfinite(pairs).any(axis=0)]
    effects = scale.effects(*pairs)
    found = stats.evidence(effects, *region, scale.interval, scale.test)
    row = {
        "place": place.title, "protocol": place.protocol,
        "quantity": quantity, "one": one, "other": other,
        "n": len(effects), "wins": stats.wins_losses_ties(effects),
        "estimate": found.estimate, "p": min(found[1:]),
        "first": both[one], "second": both[other],
        "region": region, "why": "",
        "verdict": verdict_of(found.estimate, min(found[1:]), region),
    }
    if why := _incomparable(place, quantity, one, other) or _too_little(
        row, effects, scale, size, place.seeds
    ):
        row |= {"verdict": UNTESTED, "p": 1.0, "why": why}
    return row


def _incomparable(place, quantity, one, other):
    """Say why numbers of two methods are not of one kind, "" if they are."""
    packages, occasions = (
        [place.origins[x][i] for x in (one, other) if x in place.origins]
        for i in range(2))
    if packages and packages[0] != packages[-1]:
        return "runs of two packages"
    is_time = quantity.startswith(("time", "backward"))
    return "times of two occasions" if (
        is_time and occasions and occasions[0] != occasions[-1]) else ""


def _too_little(row, effects, scale, size, seeds):
    """Say why paired effects cannot decide anything, "" where they can."""
    least = scale.least(size)
    if len(effects) < least:
        return f"{seeds} to compare: {len(effects)}; {least} can decide"
    if row["region"].low < 0 and row["wins"][:2] == (0, 0):
        return SAME
    if scale.test is stats.t_test and np.isfinite(effects).all() and (
            np.ptp(effects) <= stats.TIE):
        return "no spread over the seeds to test by"
    return ""


def verdict_of(estimate, p, region):
    """Return the verdict of an interval and of an adjusted p-value."""
    if p <= stats.LEVEL and region.holds(estimate):
        return CONFIRMED
    if p <= stats.LEVEL and region.fails(estimate):
        return REFUTED
    return UNDECIDED


def judge(claim, place):
    """Make every comparison of a claim in a place; return a list of dicts.

    They are those of `compare`, with ``p`` and the verdict after Holm's
    correction, and the name of the ``family``: the quantities of one group,
    of the same two labels.  The size of the family is that of the group.
    """
    families = {}
    for group in claim.quantities:
        for pair in claim.pairs:
            for quantity in group:
                for row in _comparisons(
                    claim, place, quantity, pair, len(group)
                ):
                    key = group, row["one"], row["other"]
                    families.setdefault(key, []).append(row)
    return [
        row | {"family": f"{place.title}, {place.protocol}, {key}"}
        for key, own in families.items() for row in _corrected(own, key[0])
    ]


def _comparisons(claim, place, quantity, pair, size):
    """Yield the comparison of each pair of labels of two methods."""
    why = ""
    if claim.equal_memory:
        found, why = equal_pairs_of(place, quantity, pair)
    else:
        found = pairs_of(place, quantity, pair)
    if found:
        why = why or claim.unless(place)
    for one, other in found:
        row = compare(place, quantity, one, other, claim.region, size)
        if why:
            row |= {"verdict": UNTESTED, "why": why, "p": 1.0}
        yield row


def _corrected(rows, group):
    adjusted = stats.holm([row["p"] for row in rows], len(group))
    return [
        row | {"p": p} | ({} if row["why"] else {
            "verdict": verdict_of(row["estimate"], p, row["region"])})
        for row, p in zip(rows, adjusted)
    ]


def findings(claim, places):
    """Make every comparison that a claim is about, a table.

    Columns: those of `judge`, and as text ``score`` (wins:losses:ties),
    ``effect`` (ratio or difference with its interval), ``median_one``,
    ``median_other`` and ``p_text``.
    """
    return pd.DataFrame([
        row | in_words(row) for place in places
        if place.family in claim.families for row in judge(claim, place)
    ])


def in_words(row):
    """Return the numbers of a comparison as text."""
    scale, p = scale_of(row["quantity"]), row["p"]
    return {
        "score": "{}:{}:{}".format(*row["wins"]),
        "effect": scale.in_words(row["estimate"]),
        "median_one": _median(row["first"], row["quantity"]),
        "median_other": _median(row["second"], row["quantity"]),
        "p_text": "–" if row["verdict"] == UNTESTED else _p_in_words(p),
    }


def _p_in_words(p):
    """Return a p-value as text, which is on the right side of the level."""
    if p < 0.001:
        return "< 0.001"
    text = f"{p:.2g}"
    return text if (float(text) <= stats.LEVEL) == (p <= stats.LEVEL) else (
        f"> {stats.LEVEL:g}")


def _median(numbers, quantity):
    """Return a median as text, and how many runs arrived."""
    text = league.number(stats.quantile(numbers, 0.5), "")
    if " to " not in quantity:
        return text
    arrived = np.isfinite(numbers).sum()
    return f"{text if arrived else 'never'} ({arrived} of {len(numbers)})"


# The page

def full(places):
    """Write every claim and its comparisons, in Markdown."""
    parts, n_families = [], 0
    for claim in CLAIMS:
        found = findings(claim, places)
        parts += [f"## {claim.title}", f"{claim.source}.  Rule: {claim.rule}"]
        if found.empty:
            parts.append("No file compares these methods.")
            continue
        tested = found[found["verdict"] != UNTESTED]
        n_families += tested["family"].nunique()
        parts.append("\n".join(f"- {line}" for line in summary(found)))
        parts.append(table(found).rstrip())
    head = [
        "# The paper's claims", RULES.strip(),
        f"Tested on this page: {n_families} families of comparisons. If no "
        "two methods differed, a false verdict would be expected in "
        f"{stats.LEVEL * n_families:.1f} of them at most.",
    ]
    return "\n\n".join(head + parts) + "\n"


def summary(found):
    """Count the verdicts of a claim, a sentence per protocol and quantity.

    ``found`` is of `findings`.
    """
    lines = []
    for protocol in in_protocol_order(found["protocol"].unique()):
        own = found[found["protocol"] == protocol]
        for (one, other, quantity), rows in own.groupby(
            ["one", "other", "quantity"], sort=False
        ):
            where = f"{protocol}: " if protocol else ""
            lines.append(
                f"{where}{one} against {other}, {quantity}: "
                f"{counts_in_words(rows['verdict'])}.")
    return lines


def counts_in_words(verdicts):
    """Return "confirmed on 2 of 3 data sets, undecided on 1"."""
    counts = [(v, (verdicts == v).sum()) for v in VERDICTS]
    first, *more = [(v, n) for v, n in counts if n]
    of = league.in_words(len(verdicts), "data set")
    return ", ".join([
        f"{first[0]} on {first[1]} of {of}", *(f"{v} on {n}" for v, n in more)
    ])


def table(found):
    """Write the comparisons of `findings`, in Markdown."""
    return markdown(pd.DataFrame({
        "where": [
            ", ".join(filter(None, names))
            for names in zip(found["place"], found["protocol"])],
        "quantity": found["quantity"],
        "the claim is for": found["one"] + ": " + found["median_one"],
        "against": found["other"] + ": " + found["median_other"],
        "n": found["n"].astype(str),
        "wins:losses:ties": found["score"],
        "ratio or difference (95 %)": found["effect"],
        "p (Holm)": found["p_text"],
        "verdict": [
            f"{row.verdict}: {row.why}" if row.why else row.verdict
            for row in found.itertuples()
        ],
    }))
