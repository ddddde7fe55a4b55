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
from .league import BILEVEL, SUBOPTIMALITIES, number
from .markdown import markdown

FAIR, EXACT = "fair", "HOAG"
STAY = "evaluations to stay at {}"
GOALS = "1e-1", "1e-2", "1e-4"
# The README's.
BRIEF = (
    "HOAG", "Recycled-PCG", "SHINE", "SHINE-OPA", "SHINE-guarded",
    "SHINE-at-root", "Jacobian-Free", "qNBO", "NBO", "LancBiO",
)
# Papers that compare with SHINE, or that share its idea, and came later.
RIVALS = "qNBO", "NBO", "LancBiO", "SubBiO", "F2SA"
AGAINST = "SHINE", "SHINE-OPA", "Recycled-PCG"

EXPLAINED = """\
A cell is the median over seeds of the evaluations of g plus the products with
J and Jᵀ from which on a run is within that part of F* up to its end, relative
to F(θ₀) − F*. A number in brackets says how many runs get there, where not all
do; "–" is an infinite median; an empty cell was not run. Bold is the lowest
median of a column. *HOAG / own* is the median over the tasks of HOAG's median
divided by the method's: above 1, the method needs fewer. Methods are sorted by
the mean of their ranks, those that do not run on every task behind the others.
"""
HEAD = """\
## {one} against SHINE, SHINE-OPA and Recycled-PCG

The claim tested is that {one} is sooner. A ratio above 1 is in its favour; the
rules are those of the [paper's claims](claims.md).
"""


def fair(problems):
    """Keep the bi-level problems with runs under the fair protocol.

    Those of which nobody can be said to arrive are left out.
    """
    found = [
        problem for problem in problems
        if problem.family is BILEVEL and FAIR in problem.protocols
        and not problem.unranked
    ]
    if not found:
        raise ResultError(
            "no bi-level problem under the fair protocol in these files, or "
            "none with a way to its optimum"
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


def table(problems, goals, only=None):
    """Write a row per method and a column per task, in Markdown.

    Parameters
    ----------
    problems : list of league.Problem
    goals : sequence of str
        Keys of SUBOPTIMALITIES: a cell has a number for each.  The last one
        orders the methods, and is that of the ratio to HOAG.
    only : collection of str, or None
        Methods that are shown; None: all.
    """
    titles = [STAY.format(goal) for goal in goals]
    found = [medians(problems, title) for title in titles]
    last = found[-1]
    shown = [name for name in in_order(last) if not only or name in only]
    rows = []
    for name in shown:
        row = {"method": f"`{name}`"}
        for problem in problems:
            row[problem.dataset] = " / ".join(filter(None, (
                _cell(problem, title, name, middles[problem.dataset])
                for title, middles in zip(titles, found)
            )))
        ratios = (last.loc[EXACT] / last.loc[name]).dropna() if (
            EXACT in last.index) else pd.Series()
        row["HOAG / own"] = "–" if ratios.empty else number(
            ratios.median(), ".2f")
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def _cell(problem, title, name, middles):
    """Write a median and how many runs arrived; "" where there is none."""
    if np.isnan(middle := middles.get(name, np.nan)):
        return ""
    numbers = _numbers(problem, title).xs(name, level="method")
    arrived = np.isfinite(numbers).sum()
    if np.isinf(middle):
        text = "–"
    else:
        text = number(middle, ".0f")
        text = f"**{text}**" if middle == middles.min() else text
    return f"{text} ({arrived})" if 0 < arrived < len(numbers) else text


def in_order(found):
    """Sort methods: first those with all tasks, by the mean of their ranks."""
    means, lacking = found.rank().mean(axis=1), found.isna().any(axis=1)
    return sorted(found.index, key=lambda name: (
        lacking[name], means[name], rank(base_of(name), name)))


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


def full(problems, places, command):
    """Write the page: a table per goal, and the rivals' duels."""
    parts = ["# The race", f"Made by `{command}`.", EXPLAINED.strip()]
    for goal in GOALS:
        parts += [
            f"## Evaluations to stay at {goal}",
            table(problems, [goal]).rstrip(),
        ]
    places = [place for place in places if place.protocol == FAIR]
    for rival in RIVALS:
        found = claims.findings(claim_of(rival), places)
        if found.empty:
            continue
        parts += [
            HEAD.format(one=rival).rstrip(),
            "\n".join(f"- {line}" for line in claims.summary(found)),
            claims.table(found).rstrip(),
        ]
    return "\n\n".join(parts) + "\n"


def short(problems):
    """Write the README's table, with what its cells are."""
    counts = {
        int(_numbers(problem, STAY.format("1e-2")).groupby("method").size()
            .max()) for problem in problems
    }
    seeds = " or ".join(map(str, sorted(counts)))
    seeds += " seed" if counts == {1} else " seeds"
    return table(problems, ["1e-1", "1e-2"], BRIEF) + f"""
Evaluations and products until a run stays within 1e-1 / 1e-2 of F*, medians
over {seeds}; in brackets how many runs do, where not all; bold is the
fewest of all methods. *HOAG / own* is the median of the ratios at 1e-2, 0 if
the method mostly never stays. Rivals and SHINE: [race.md](results/race.md).
"""
