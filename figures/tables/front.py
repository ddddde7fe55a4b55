"""The README's own tables: what the runs say, and what methods reach."""
import numpy as np
import pandas as pd

from .. import stats
from ..results import ResultError
from . import claims
from .league import BILEVEL, in_words, number
from .markdown import markdown

METHODS = (
    "HOAG", "HOAG-limited", "Recycled-PCG", "SHINE", "SHINE-OPA",
    "SHINE-refine", "SHINE-guarded", "Jacobian-Free",
)
STAY = "evaluations to stay at 1e-2"
EXPLAINED = """\
Runs are compared seed by seed. 1e-2 is relative to F(θ₀) − F*, with F the
validation loss at the exact root. A number is the median over the seeds of the
other method's evaluations (or suboptimality) divided by the claimant's, with
its 95 % interval: ∞ where the other does not arrive, 0 where the claimant does
not. 9:1 are the seeds for and against, a third number the ties. Networks: the
geometric mean of the ratio of times, and the mean difference in points. A
verdict is that of the sign test (networks: the t-test) after Holm's
correction. The rules in full, with each p: `python -m figures claims FILES`.
"""
# The quantities of the two columns.
SOONER = "evaluations to 1e-2", "lowest suboptimality", "backward", "accuracy"
TO_THE_END = STAY, "last suboptimality"


# What the runs say

def says(places):
    """Write what the runs say about the paper's claims, in Markdown.

    There is a row for each claim that has a ``short`` form, for each two
    methods, data set and protocol; of the counts alone where there are times
    too.

    Parameters
    ----------
    places : list of claims.Place

    Raises
    ------
    ResultError
        Where no claim can be judged on them.
    """
    rows = []
    for claim in filter(lambda claim: claim.short, claims.CLAIMS):
        found = claims.findings(claim, places)
        if found.empty:
            continue
        found = found[found["quantity"].isin(SOONER + TO_THE_END)]
        keys = ["one", "other", "place", "protocol"]
        rows += [
            _row(claim, own) for _, own in found.groupby(keys, sort=False)
        ]
    if not rows:
        raise ResultError(
            "no two methods that a claim compares in these files: run SHINE "
            "and HOAG on one data set"
        )
    return markdown(pd.DataFrame(rows)) + "\n" + EXPLAINED


def _row(claim, found):
    """Return one row; ``found`` are the quantities of one comparison."""
    first = found.iloc[0]
    return {
        "claim": claim.short.format(one=first["one"], other=first["other"]),
        "runs": f"{first['place']}, {first['protocol']}, "
        f"{in_words(first['n'], 'seed')}",
        "first, or lowest": _cell(found, SOONER),
        "to stay, or at the end": _cell(found, TO_THE_END),
    }


def _cell(found, quantities):
    """Return effect, score and verdict of the one of the quantities."""
    rows = found[found["quantity"].isin(quantities)]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    if row["why"]:
        return f"**{row['verdict']}**: {row['why']}"
    effect = row["effect"].replace("(", "[").replace(")", "]")
    score = row["score"].removesuffix(":0")
    return f"{effect}, {score}, **{row['verdict']}**"


# The table

def table(problems):
    """Write a row per method of METHODS, in Markdown.

    Bi-level problems have a column per protocol: the median over seeds of
    the evaluations from which on a run is within a relative suboptimality of
    1e-2 up to its end, and how many runs are.  Networks have the
    interquartile mean of the accuracy at the end with its 95 % interval, and
    the median time of a backward pass.

    Parameters
    ----------
    problems : list of league.Problem

    Raises
    ------
    ResultError
        Where they have none of these methods.
    """
    columns = {}
    for problem in problems:
        for protocol in problem.protocols:
            own = problem.numbers.xs(
                (problem.dataset, protocol), level=("dataset", "protocol"))
            name = f"{problem.dataset}, {protocol}: "
            if problem.family is BILEVEL:
                columns[name + STAY] = _by_method(own[STAY], _arrived)
            else:
                columns[name + "accuracy"] = _by_method(
                    own["accuracy"], _accuracy)
                columns[name + "backward"] = _by_method(
                    own["backward"], _milliseconds)
    frame = pd.DataFrame(columns, index=METHODS).dropna(how="all")
    if frame.empty:
        raise ResultError(
            f"none of the methods {', '.join(METHODS)} in these files"
        )
    frame = frame.fillna("–")
    frame.insert(0, "method", [f"`{name}`" for name in frame.index])
    return markdown(frame)


def _by_method(numbers, write):
    groups = numbers.dropna().groupby("method")
    return pd.Series({name: write(x.to_numpy()) for name, x in groups})


def _arrived(x):
    arrived, middle = np.isfinite(x).sum(), stats.quantile(x, 0.5)
    text = "never" if not arrived else "–" if np.isinf(middle) else (
        f"{middle:.0f}")
    return f"{text} ({arrived} of {len(x)})"


def _accuracy(x):
    middle, low, high = stats.interquartile_mean([x])
    if diverged := np.isinf(x).sum():
        return f"{diverged} of {len(x)} diverged"
    interval = "" if np.isnan(low) else f" ({low:.1f}–{high:.1f})"
    return f"{middle:.1f} %{interval}"


def _milliseconds(x):
    return f"{number(stats.quantile(x, 0.5), '')} ms"
