"""The README's own: what the runs say in sentences, and a small table."""
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
Runs are compared seed by seed; 1e-2 is relative to F(θ₀) − F*, with F the
validation loss at the exact root. A ratio is the median over seeds with its
95 % interval, ∞ where the other method does not arrive and 0 where the first
does not; 9:1 are the seeds for and against, a third number the ties. A
difference of accuracies is the mean, a ratio of times of a backward pass the
geometric mean. p is that of the sign test (of the latter two: the t-test)
after Holm's correction; shares of seeds have their exact 95 % interval. The
rules in full: `python -m figures claims FILES`.
"""
# Quantity -> what the ratio, or the difference, says.
PHRASES = {
    "evaluations to 1e-2":
        "{other} needs {effect} times the evaluations of {one} to come "
        "within 1e-2 of the optimum",
    STAY: "{effect} times to stay there",
    "lowest suboptimality":
        "the lowest suboptimality of {other} is {effect} times that of {one}",
    "last suboptimality": "the suboptimality at the end {effect} times",
    "backward":
        "a backward pass of {other} takes {effect} times as long as one of "
        "{one}",
    "accuracy": "{one} differs from {other} by {effect} points",
}


# Sentences

def says(places):
    """Write what the runs say about the paper's claims, in Markdown.

    There is an item for each claim that has a ``short`` form, and in it a
    sentence for each data set and protocol, of the counts alone where there
    are times too.

    Parameters
    ----------
    places : list of claims.Place

    Raises
    ------
    ResultError
        Where no claim can be judged on them.
    """
    lines = []
    for claim in filter(lambda claim: claim.short, claims.CLAIMS):
        found = claims.findings(claim, places)
        if found.empty:
            continue
        found = found[found["quantity"].isin(PHRASES)]
        lines.append(f"- *Claim: {claim.short}.*")
        keys = ["protocol", "place", "one", "other"]
        lines += [
            f"  - {sentence(rows)}"
            for _, rows in found.groupby(keys, sort=False)
        ]
    if not lines:
        raise ResultError(
            "no two methods that a claim compares in these files: run SHINE "
            "and HOAG on one data set"
        )
    return "\n".join(lines) + "\n\n" + EXPLAINED


def sentence(rows):
    """Return one sentence about two methods on one data set.

    ``rows`` are of `claims.findings`, the quantities of one claim.
    """
    first = rows.iloc[0]
    parts = [_clause(row) for row in rows.itertuples()]
    text = (
        f"{first['place']}, {first['protocol']}, "
        f"{in_words(first['n'], 'seed')}: {', and '.join(parts)}"
    )
    stays = rows[rows["quantity"] == STAY]
    return text + "".join(map(_there, stays.itertuples())) + "."


def _clause(row):
    """Return what one comparison says, with its evidence and verdict."""
    said = PHRASES[row.quantity].format(
        one=row.one, other=row.other,
        effect=row.effect.replace("(", "[").replace(")", "]"))
    p = f"p = {row.p_text}".replace("= <", "<")
    verdict = f"**{row.verdict}**, {row.why}" if row.why else (
        f"{p}, **{row.verdict}**")
    return f"{said} ({row.score.removesuffix(':0')}, {verdict})"


def _there(row):
    """Say in how many seeds each method is there at the end."""
    told = [
        f"{name} stays in {np.isfinite(x).sum()} of {len(x)} "
        f"({100 * low:.0f}–{100 * high:.0f} %)"
        for name, x in ((row.one, row.first), (row.other, row.second))
        for _, low, high in [stats.share(int(np.isfinite(x).sum()), len(x))]
    ]
    return "; " + ", ".join(told)


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
