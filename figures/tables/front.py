"""The README's first table: what the runs say of the paper's claims."""
import pandas as pd

from ..results import ResultError
from . import claims
from .league import in_words
from .markdown import markdown

STAY = "evaluations to stay at 1e-2"
EXPLAINED = """\
Runs are compared seed by seed. 1e-2 is relative to F(θ₀) − F*, with F the
validation loss at the exact root. A number is the median over the seeds of the
other method's evaluations (or suboptimality) divided by the claimant's, with
its 95 % interval: ∞ where the other does not arrive, 0 where the claimant does
not. 9:1 are the seeds for and against, a third number the ties. Networks: the
geometric mean of the ratio of times, and the mean difference in points. A
verdict is that of the sign test (networks: the t-test) after Holm's
correction. The third protocol and each p: [claims.md](results/claims.md).
"""
# The quantities of the two columns.
SOONER = "evaluations to 1e-2", "lowest suboptimality", "backward", "accuracy"
TO_THE_END = STAY, "last suboptimality"


def says(places):
    """Write what the runs say about the paper's claims, in Markdown.

    There is a row for each claim that has a ``short`` form, for each two
    methods, data set and protocol but hoag; of the counts alone where there
    are times too.

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
        found = found[found["quantity"].isin(SOONER + TO_THE_END)
                      & (found["protocol"] != "hoag")]
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
