"""Who wins where: every method on every bi-level task, and the rivals.

The methods that were published after SHINE are compared with it, and with its
strongest relatives, pair by pair, by the rules of `figures.tables.claims`.
"""
import numpy as np
import pandas as pd

from .. import stats
from ..methods import base_of, rank
from ..results import ResultError
from . import claims
from .league import BILEVEL, SUBOPTIMALITIES, in_words, number
from .markdown import markdown

FAIR, EXACT = "fair", "HOAG"
STAY = "evaluations to stay at {}"
GOAL = "1e-2"
# Papers that compare with SHINE, or that share its idea, and came later.
RIVALS = "qNBO", "NBO", "LancBiO", "SubBiO", "F2SA"
AGAINST = "SHINE", "SHINE-OPA", "Recycled-PCG"

EXPLAINED = """\
A cell is the median over seeds of the evaluations of g plus the products with
J and Jᵀ from which on a run is within {goal} of F* up to its end, relative to
F(θ₀) − F*. "{star}" has fewer runs there than seeds: "(3 of 5)" counts them,
"–" is an infinite median, an empty cell was not run. Bold is the lowest median
of a column. *HOAG / own* is the median over the tasks of HOAG's median divided
by the method's: above 1, the method needs fewer. Methods are sorted by the
mean of their ranks over the tasks that they have.
"""
HEAD = """\
## {one} against SHINE, SHINE-OPA and Recycled-PCG

The claim tested is that {one} is sooner. A ratio above 1 is in its favour; the
rules are those of the [paper's claims](claims.md).
"""


def fair(problems):
    """Keep the bi-level problems with runs under the fair protocol."""
    found = [
        problem for problem in problems
        if problem.family is BILEVEL and FAIR in problem.protocols
    ]
    if not found:
        raise ResultError(
            "no bi-level problem under the fair protocol in these files"
        )
    return found


def medians(problems, title):
    """Return the medians over seeds, a row a method and a column a task.

    A median is infinite where fewer than half of the runs arrived, and NaN
    where the method was not run.
    """
    return pd.DataFrame({
        problem.dataset: _numbers(problem, title).groupby("method").agg(
            lambda x: stats.quantile(x.to_numpy(), 0.5))
        for problem in problems
    })


def _numbers(problem, title):
    own = problem.numbers.xs(
        (problem.dataset, FAIR), level=("dataset", "protocol"))
    return own[title].dropna()


def table(problems, goal=GOAL):
    """Write a row per method and a column per task, in Markdown."""
    title = STAY.format(goal)
    found = medians(problems, title)
    order = in_order(found)
    rows = {name: {"method": f"`{name}`"} for name in order}
    for problem in problems:
        lowest = found[problem.dataset].min()
        groups = dict(iter(_numbers(problem, title).groupby("method")))
        for name in order:
            middle = found.loc[name, problem.dataset]
            rows[name][problem.dataset] = "" if name not in groups else (
                _cell(groups[name], middle, middle == lowest))
    ratios = found.loc[EXACT] / found if EXACT in found.index else found * 0
    for name in order:
        of_tasks = ratios.loc[name].dropna()
        rows[name]["HOAG / own"] = "–" if of_tasks.empty else number(
            of_tasks.median(), ".2f")
    return markdown(pd.DataFrame(rows.values()))


def _cell(numbers, middle, best):
    arrived = np.isfinite(numbers).sum()
    text = "–" if np.isinf(middle) else number(middle, ".0f")
    text = f"**{text}**" if best and np.isfinite(middle) else text
    few = arrived < len(numbers)
    return f"{text} ({arrived} of {len(numbers)})" if few else text


def in_order(found):
    """Sort methods by the mean of their ranks over the tasks they have."""
    means = found.rank(method="average").mean(axis=1)
    return sorted(
        found.index, key=lambda name: (means[name], rank(base_of(name), name))
    )


def claim_of(rival):
    """Return the claim that a rival is sooner than those it is set against.

    Each gap is a family of its own in Holm's correction.
    """
    return claims.Claim(
        f"{rival} reaches a given suboptimality sooner", "", "",
        ("bilevel",),
        tuple((STAY.format(gap),) for gap in SUBOPTIMALITIES),
        tuple((rival, other) for other in AGAINST),
    )


def full(problems, places):
    """Write the page: the tables of two gaps, and the rivals' duels."""
    parts = ["# The race"]
    for goal in GOAL, "1e-4":
        parts += [
            f"## Evaluations to stay at {goal}", table(problems, goal).rstrip()
        ]
    parts.append(EXPLAINED.format(goal="that part", star="n (k of m)").strip())
    places = [place for place in places if place.protocol == FAIR]
    for rival in RIVALS:
        found = claims.findings(claim_of(rival), places)
        if found.empty:
            continue
        parts += [
            HEAD.format(one=rival).rstrip(),
            "\n".join(f"- {line}" for line in claims.summary(found)),
            claims._table(found).rstrip(),
        ]
    return "\n\n".join(parts) + "\n"


def short(problems):
    """Write the README's table, with what its cells are."""
    n = sorted({
        int(_numbers(p, STAY.format(GOAL)).groupby("method").size().max())
        for p in problems
    })
    seeds = in_words(n[0], "seed") if len(n) == 1 else (
        f"{n[0]} to {n[-1]} seeds")
    return table(problems) + (
        f"\nMedians over {seeds} of the evaluations and products until a run "
        f"stays\nwithin {GOAL} of F*; how many runs do, where not all.  Bold: "
        "the fewest.\n*HOAG / own*: the median over tasks of the ratio.\n"
    )
