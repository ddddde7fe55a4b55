"""The league: what each method reaches, how soon, and at what cost."""
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from ..arrivals import (
    ERROR, add_shortfall, add_suboptimality, along, arrivals, best_accuracy,
    highest, is_network, last, lowest, per_pass, start_and_best, stride,
    unmeasured,
)
from ..methods import rank
from ..results import ResultError, in_protocol_order
from ..stats import quantile
from .markdown import markdown

LEAST_SEEDS = 3  # fewer have no quartiles to speak of
SUBOPTIMALITIES = {"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}
# Codes of the column ``unmeasured``.
REASONS = {
    1: "the run had diverged", 2: "no root was found",
    3: "J is nearly singular",
}
POINTS = {"best − 5": 5.0, "best − 2": 2.0, "best − 1": 1.0}

EXPLAINED = f"""\
## What the columns mean

A cell is the median over seeds with the quartiles, 11 (9.8–13), or the median
alone where they read the same.  **Bold** is the winner of a column: its
quartiles overlap with those of no other method.  No winner has fewer than
{LEAST_SEEDS} seeds, or lacks one that another method has.  Who comes closest
comes first, then who is there sooner.

*Relative suboptimality* is (F(θ) − best) / (F(θ₀) − best), 1 at the start of
every problem.  F(θ) is the outer (validation) loss at the exact inner solution
for θ, by a tight solve outside the clock: no method gains by an inexact inner
solution of its own.  *best* is the lowest F that any method, in any protocol,
reached with that seed in these files, so another method in the files can
change the numbers of all.  What differs from it by no more than the error of
such a solve, {ERROR:g} F, is as good.  *Time* and *evaluations* to 1e-2 are
what was spent when F was first measured to be that close; it is measured at
some outer steps only, see each problem, and an arrival is rounded up to the
next of them.  *Lowest* is along the run, *last* at its end.

*Networks* have noisy losses and no known optimum.  There, *best* is the
highest of the methods' median accuracies on test data at the end, one bar for
all seeds, and time and evaluations to "best − 2" are those until the accuracy,
measured about once an epoch, is first within 2 points of it.

A run that never arrives, or diverges before it does, is infinitely late: "–"
where the median is infinite, "∞" for a quartile.  What stands for the end of a
diverged run is infinitely bad, "diverged" where the median is.  The seeds say
how many runs diverged; "2 of 3": one left no result, as failed runs do.  A
seed with which no method comes below F(θ₀) has no relative suboptimality, and
nobody arrives with it.

*Evaluations* are evaluations of g plus products with Jᵀ, in forward and
backward passes.  *g* and *Jᵀ* are those of the whole run, as long as the
method makes it (searches: 10 values of θ); *memory* is the highest along it.
*Cosine of q* and *error of dF/dθ*, relative, are against tight solves at the
method's own (θ, z), medians along the run; in networks the cosine is the
median sample's of a fixed batch.  *Backward* and *forward* are milliseconds
per pass, the mean of the run.  "–" here: not measured, or there is none.
"""


# Quantities: a number per run, of the runs of one data set

@dataclass(frozen=True)
class Column:
    """One quantity: a number per run, ``of`` the runs of one data set.

    Where ``better`` is -1 low numbers win, where it is 1 high ones, where 0
    nobody.  ``form`` is for `format`; none: three digits, or all before the
    point.
    """

    title: str
    unit: str
    of: Callable
    better: int = 0
    form: str = ""

    @property
    def heading(self):
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _megabytes(runs):
    return highest(runs, "peak_memory") / 1e6


def _to(gaps, x, unit=""):
    return tuple(
        Column(f"{x} to {title}", unit, partial(arrivals, gap=gap, x=x), -1)
        for title, gap in gaps.items()
    )


QUALITY = (
    Column("cosine of q", "", partial(along, name="cosine"), 1, ".4f"),
    Column("error of dF/dθ", "", partial(along, name="hypergrad_rel_error"),
           -1, ".2g"),
)
COUNTS = (
    Column("g", "", partial(highest, name="n_g")),
    Column("Jᵀ", "", partial(highest, name="n_vjp")),
    Column("memory", "MB", _megabytes, -1),
)
ACCURACY = Column(
    "accuracy", "%", partial(last, name="percent", dead=-np.inf), 1, ".1f",
)
TEST_LOSS = partial(last, name="test_loss", dead=np.inf)


# Two families of problems

@dataclass(frozen=True)
class Family:
    """A kind of problem and its tables.

    ``add_gap`` adds ``gap``, and what else the columns need, to the runs of
    one data set.  The first table begins with the times, which rank the
    methods; ``goal`` is the distance to the best that decides who is first.
    ``brief`` maps headings of the short table to the titles that share a
    cell, and ``explained`` explains it.
    """

    add_gap: Callable
    note: Callable
    tables: tuple
    goal: str
    brief: dict
    explained: str

    @property
    def columns(self):
        """Every column by its title."""
        return {c.title: c for table in self.tables for c in table}


def note_of_losses(runs):
    """Say what the relative numbers of a bi-level problem are relative to."""
    start, best = start_and_best(runs)
    fall, n = start - best, in_words(len(best), "seed")
    measured = f"was measured {_stride_in_words(runs, 'F')}."
    unranked = why_unranked(runs)
    if best.isna().all():
        parts = ["F is not known of any run."]
    elif unranked:
        parts = [
            f"{unranked[0].upper()}{unranked[1:]}; F falls nowhere below "
            f"{quantile(best, 0.5):.6g} (median of {n}). F {measured}"
        ]
    else:
        parts = [
            f"F falls from {quantile(start, 0.5):.6g} to "
            f"{quantile(best, 0.5):.6g} (medians of {n}; by {fall.min():.3g} "
            f"at least) and {measured}"
        ]
        if (flat := best.index[fall <= ERROR * best.abs()]).size:
            parts.append(
                f"With {_these_seeds(flat)} no method improves on the start: "
                "nobody arrives there."
            )
    unknown = start.index[start.isna() & best.notna()]
    if unknown.size:
        parts.append(
            f"F(θ₀) is not known of {_these_seeds(unknown)}: arrivals are "
            "not counted there."
        )
    why, due = unmeasured(runs)
    if why.size:
        parts.append(
            f"F could not be measured in {why.size} of {due} rows"
            f"{reasons_of(why)}: the lowest F, and the best, are of the "
            "others."
        )
    return " ".join(parts)


def reasons_of(codes):
    """Say how often F was not measured for each reason, if it is known."""
    told = ", ".join(
        f"{reason}: {n}" for code, reason in REASONS.items()
        if (n := (codes == code).sum())
    )
    return f" ({told})" if told else ""


def why_unranked(runs):
    """Say why no run of a bi-level problem can arrive; "" where some can."""
    start, best = start_and_best(runs)
    if start.isna().all():
        return "F(θ₀) is not known"
    if (start - best > ERROR * best.abs()).any():
        return ""
    known = ", as far as F was measured" if unmeasured(runs)[0].size else ""
    return f"no method improves on the start{known}"


def in_words(n, noun):
    """Return "1 seed" or "3 seeds"."""
    return f"{n} {noun}{'s' if n != 1 else ''}"


def _these_seeds(seeds):
    numbers = ", ".join(f"{seed:.0f}" for seed in seeds)
    return f"seed{'s' if len(seeds) > 1 else ''} {numbers}"


def _stride_in_words(runs, name):
    steps = stride(runs, name)
    if np.isnan(steps):
        return "once in each run at most"
    if steps == 1:
        return "at every outer step"
    return f"every {steps:.0f} outer steps: arrivals are rounded up to that"


def note_of_accuracy(runs):
    """Say what the bar of a network is."""
    return (
        f"The best accuracy is {best_accuracy(runs):.1f} %; it was measured "
        f"{_stride_in_words(runs, 'test_accuracy')}."
    )


BILEVEL = Family(
    add_suboptimality, note_of_losses,
    tables=(
        _to(SUBOPTIMALITIES, "time", "s") + (
            Column("lowest suboptimality", "", partial(lowest, name="gap"),
                   -1, ".1e"),
            Column("last suboptimality", "",
                   partial(last, name="gap", dead=np.inf), -1, ".1e"),
            Column("lowest F", "", partial(lowest, name="F"), 0, ".6g"),
            Column("last test loss", "", TEST_LOSS, 0, ".6g"),
        ),
        _to(SUBOPTIMALITIES, "evaluations") + QUALITY + COUNTS,
    ),
    goal="1e-2",
    brief={
        f"to {title}": (f"time to {title}", f"evaluations to {title}")
        for title in ("1e-1", "1e-2", "1e-3")
    },
    explained="""\
The table shows medians over seeds of the time and of the evaluations (of g,
plus products with Jᵀ) until (F(θ) − best) / (F(θ₀) − best) falls to 1e-1, 1e-2
and 1e-3.  F is the validation loss at the exact inner solution, and best is
the lowest F that any method reached.  "–" means that half of the seeds or more
never get there.  Bold marks a winner: its quartiles over the seeds overlap
with those of no other method.
""",
)
NETWORK = Family(
    add_shortfall, note_of_accuracy,
    tables=(
        _to(POINTS, "time", "s") + (
            ACCURACY,
            Column("test loss", "", TEST_LOSS, -1, ".3g"),
            Column("backward", "ms",
                   partial(per_pass, name="backward_time"), -1),
            Column("forward", "ms", partial(per_pass, name="forward_time")),
        ),
        _to(POINTS, "evaluations") + QUALITY + COUNTS,
    ),
    goal="best − 2",
    brief={
        "accuracy": ("accuracy",),
        "to best − 2": ("time to best − 2", "evaluations to best − 2"),
        "cosine of q": ("cosine of q",),
        "backward": ("backward",),
        "Jᵀ": ("Jᵀ",),
    },
    explained="""\
The table shows medians over seeds: the test accuracy at the end; the time and
the evaluations until the accuracy is first within 2 points of the best; the
cosine of q with the q of a tight solve (the median sample's, along the run);
the time of one backward pass; and the products with Jᵀ in the whole run.
""",
)


# The league

@dataclass(frozen=True)
class Problem:
    """One data set: its numbers, of `league_of`, methods in order.

    ``unranked`` says why no method can be said to arrive; "" where some can.
    """

    dataset: str
    family: Family
    note: str
    league: pd.DataFrame
    unranked: str = ""

    @property
    def n_seeds(self):
        """Return the number of seeds that any method has."""
        return int(self.league["of"].iloc[0])

    @property
    def protocols(self):
        """Return the protocols that it has methods of, the fair one first."""
        return in_protocol_order(self.league["protocol"].unique())

    def rows(self, protocol, title):
        """Return the rows of one quantity, in the order of tables."""
        own = self.league
        return own[(own["protocol"] == protocol) & (own["quantity"] == title)]


def mark_winners(rows, better):
    """Say whose quartiles lie beyond those of every other method.

    ``rows`` are one quantity of every method, as of `league_of`; ``better``
    is that of `Column`.
    """
    near, far = rows["q1"].to_numpy(), rows["q3"].to_numpy()
    if better > 0:
        near, far = -far, -near
    able = rows["counted"] >= np.maximum(rows["of"], LEAST_SEEDS)
    able &= better != 0
    others = [np.delete(near, i) for i in range(len(near))]
    return [
        bool(can and (other > end).any() and not (other <= end).any())
        for can, end, other in zip(able, far, others)
    ]


def league_of(runs, columns):
    """Compute medians and quartiles over the seeds of one data set.

    There is a row per protocol, method and quantity, with ``dataset``,
    ``base``, ``seeds`` (runs), ``of`` (seeds that any method has),
    ``diverged`` (runs), ``unit``, ``counted`` (runs with a number), ``q1``,
    ``median``, ``q3``, ``winner``.
    """
    numbers = pd.DataFrame({c.title: c.of(runs) for c in columns})
    diverged = highest(runs, "diverged") > 0
    bases = runs.groupby("method")["base"].first()
    n_seeds, rows = runs["seed"].nunique(), []
    for (dataset, protocol, method), own in numbers.groupby(
        ["dataset", "protocol", "method"]
    ):
        shared = {
            "dataset": dataset, "protocol": protocol, "method": method,
            "base": bases[method], "seeds": len(own), "of": n_seeds,
            "diverged": int(diverged[own.index].sum()),
        }
        for column in columns:
            found = own[column.title].to_numpy()
            rows.append(shared | {
                "quantity": column.title, "unit": column.unit,
                "counted": int((~np.isnan(found)).sum()),
                "q1": quantile(found, 0.25), "median": quantile(found, 0.5),
                "q3": quantile(found, 0.75),
            })
    league = pd.DataFrame(rows).assign(winner=False)
    better = {c.title: c.better for c in columns}
    for (_, title), own in league.groupby(["protocol", "quantity"]):
        league.loc[own.index, "winner"] = mark_winners(own, better[title])
    return league


def in_order(league, times):
    """Sort methods by who comes closest, then who is there sooner.

    ``times`` are the titles of the times to arrive, the nearest last.
    """
    groups = dict(iter(league.groupby(["protocol", "method"])))

    def place(key):
        medians = groups[key].set_index("quantity")["median"].fillna(np.inf)
        base = groups[key]["base"].iloc[0]
        return (*medians[times[::-1]], rank(base, key[1]))

    order = in_protocol_order(league["protocol"].unique())
    keys = sorted(groups, key=lambda key: (order.index(key[0]), place(key)))
    return pd.concat([groups[key] for key in keys], ignore_index=True)


def problem_of(runs):
    """Compute the league of one data set.

    A ResultError says where nothing tells methods apart.
    """
    dataset = runs["dataset"].iloc[0]
    if is_network(runs):
        family = NETWORK
    elif runs["value_function"].notna().any():
        family = BILEVEL
    else:
        why, _ = unmeasured(runs)
        raise ResultError(f"{dataset}: left out: " + (
            f"F could not be measured in any of {why.size} rows"
            f"{reasons_of(why)}" if why.size else
            "F was not measured; run it with the objective's reference above "
            "0"
        ))
    runs = family.add_gap(runs)
    league = league_of(runs, list(family.columns.values()))
    times = [t for t in family.columns if t.startswith("time to")]
    return Problem(
        dataset, family, family.note(runs), in_order(league, times),
        why_unranked(runs) if family is BILEVEL else "",
    )


def problems_of(runs, only=()):
    """Compute the league of every data set, and list those left out.

    ``only`` these methods are shown, if any are given.  Every method counts
    all the same for what is best and who wins.  Where no data set, or no
    method asked for, is left, that is a ResultError.
    """
    problems, warnings = [], []
    for _, own in runs.groupby("dataset"):
        try:
            problems.append(problem_of(own))
        except ResultError as error:
            warnings.append(str(error))
    if not problems:
        raise ResultError("no problem is left: " + "; ".join(warnings))
    if only:
        problems = [_only(problem, only) for problem in problems]
        problems = [problem for problem in problems if len(problem.league)]
    if not problems:
        raise ResultError(
            f"none of the methods {', '.join(only)} in these files, which "
            f"have {', '.join(sorted(runs['base'].unique()))}"
        )
    return problems, warnings


def _only(problem, methods):
    shown = problem.league["base"].isin(methods)
    return replace(problem, league=problem.league[shown])


# Text

def number(x, form):
    """Format a number: three digits, or all before the point."""
    if np.isinf(x):
        return "∞"
    if x == 0:
        return "0"
    return format(x, form or (".0f" if abs(x) >= 100 else ".3g"))


def cell(column, row, quartiles=True):
    """Format median and quartiles of a row of the league, bold if it won."""
    if np.isnan(row["median"]):
        return "–"
    if np.isinf(row["median"]):
        arrival = " to " in column.title
        return "–" if arrival or not row["diverged"] else "diverged"
    low, text, high = (
        number(row[name], column.form) for name in ("q1", "median", "q3")
    )
    if quartiles and not low == text == high:
        text = f"{text} ({low}–{high})"
    return f"**{text}**" if row["winner"] else text


def seeds(row):
    """Say how many runs there are, and what became of them."""
    text = f"{row['seeds']:.0f}"
    if row["seeds"] < row["of"]:
        text += f" of {row['of']:.0f}"
    if row["diverged"]:
        text += f", {row['diverged']:.0f} diverged"
    return text


def table(problem, protocol, columns):
    """Write one table of the full league, in Markdown."""
    own = problem.league[problem.league["protocol"] == protocol]
    rows = []
    for method, found in own.groupby("method", sort=False):
        found = found.set_index("quantity")
        rows.append({"method": method, "seeds": seeds(found.iloc[0])} | {
            column.heading: cell(column, found.loc[column.title])
            for column in columns
        })
    return markdown(pd.DataFrame(rows))


def full(problems):
    """Write every table of every problem, in Markdown."""
    parts = []
    for problem in problems:
        parts += [f"## {problem.dataset}", problem.note]
        for protocol in problem.protocols:
            parts.append(f"### {problem.dataset}, {protocol} protocol")
            parts += [
                table(problem, protocol, columns).rstrip()
                for columns in problem.family.tables
            ]
    return "\n\n".join(parts) + "\n"


def csv(problems):
    """Write every number of every problem as CSV."""
    return "".join(
        problem.league.to_csv(
            index=False, header=not i, float_format="%.10g")
        for i, problem in enumerate(problems)
    )


def brief(problem):
    """Write one short table: the protocols side by side, medians alone."""
    rows, several = {}, len(problem.protocols) > 1
    for (protocol, method), own in problem.league.groupby(
        ["protocol", "method"], sort=False
    ):
        row = rows.setdefault(method, {"method": method})
        prefix = f"{protocol}: " if several else ""
        for heading, text in _brief_row(problem.family, own).items():
            row[prefix + heading] = text
    frame = pd.DataFrame(rows.values()).fillna("")
    return (
        f"**{problem.dataset}**, {in_words(problem.n_seeds, 'seed')}.  "
        f"{problem.note}\n{problem.family.explained}\n{markdown(frame)}"
    )


def _brief_row(family, own):
    found, row = own.set_index("quantity"), {}
    for heading, names in family.brief.items():
        texts = []
        for name in names:
            column = family.columns[name]
            text = cell(column, found.loc[name], quartiles=False)
            unit = column.unit if text != "–" else ""
            texts.append(f"{text} {unit}".strip())
        row[heading] = "–" if set(texts) == {"–"} else " / ".join(texts)
    return row


# Who won

def who_won(problems):
    """Say who was first, a sentence per data set and protocol.

    In bi-level problems it is who first comes down to a relative
    suboptimality of 1e-2, in networks who has the best accuracy and who
    first comes within 2 points of the best.
    """
    return [
        f"{problem.dataset}, {protocol} protocol, "
        f"{in_words(problem.n_seeds, 'seed')}: "
        f"{problem.unranked or _winners(problem, protocol)}."
        for problem in problems for protocol in problem.protocols
    ]


def _winners(problem, protocol):
    goal = problem.family.goal
    titles = [f"time to {goal}", f"evaluations to {goal}"]
    if problem.family is NETWORK:
        titles.insert(0, "accuracy")
    return "; ".join(_first(problem, protocol, title) for title in titles)


def _first(problem, protocol, title):
    column = problem.family.columns[title]
    rows = problem.rows(protocol, title)
    whole = rows[rows["counted"] >= rows["of"]]  # others met fewer seeds
    value = (rows if whole.empty else whole)["median"] * -column.better
    finite = value[np.isfinite(value)]
    if finite.empty:
        return f"no method has a finite {title}"
    best = rows.loc[finite.idxmin()]
    told = f"{number(best['median'], column.form)} {column.unit}".strip()
    place = "has the highest" if column.better > 0 else "is first in"
    return (
        f"{best['method']} {place} {title} ({told}), "
        + _decided(rows, best, column)
    )


def _decided(rows, best, column):
    """Say whether the quartiles of the first overlap with another's."""
    if best["winner"]:
        return "decided"
    if len(rows) == 1:
        return "alone"
    if best["counted"] < max(best["of"], LEAST_SEEDS):
        return "undecided with so few seeds"
    near, far = ("q1", "q3") if column.better < 0 else ("q3", "q1")
    close = rows[
        ((rows[near] - best[far]) * column.better >= 0)
        & (rows["method"] != best["method"])
    ]
    names = close["method"].tolist()
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"undecided against {', '.join(names[:3])}{more}"
