"""The league: what each method reaches, how soon, and at what cost."""
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from .. import arrivals, stats
from ..arrivals import (
    add_shortfall, add_suboptimality, along, best_accuracy, highest,
    is_network, last, lowest, occasions, per_pass, stride, unmeasured, ways,
)
from ..methods import rank
from ..results import RUN, ResultError, in_protocol_order
from ..stats import quantile
from .markdown import markdown

ERROR = "error of F"  # in units of the suboptimality, of a run
LEAST_SEEDS = 3  # fewer have no quartiles to speak of
SUBOPTIMALITIES = {"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}
# Codes of the column ``unmeasured``.
REASONS = {
    1: "the run had diverged", 2: "no root was found",
    3: "J is nearly singular",
}
POINTS = {"best − 5": 5.0, "best − 2": 2.0, "best − 1": 1.0}

EXPLAINED = """\
## What the columns mean

*Relative suboptimality* is (F(θ) − F*) / (F(θ₀) − F*): 1 at the start, 0 at
the optimum.  F(θ) is the validation loss at the exact root of the inner
problem for θ, computed outside the clock.  F* is the minimum of F; it is
stored with the data and does not depend on which files are read.  A
difference within the recorded error of F counts as 0.  A file of an older
package does not tell F*; the lowest F that was measured in that file, with
the same data and seed, takes its place, and the note of the problem says so.

*Evaluations to 1e-2* are the evaluations of g plus the products with J and Jᵀ,
in forward and backward passes, that a run had made when it first came within
1e-2.  *Evaluations to stay at 1e-2* are those from which on the run remained
within 1e-2 up to its end.  *Time* is in seconds.  "611 (9 of 10)" means that
9 of 10 runs got there, and that 611 is the median over all runs.  A run that
never gets there, or that diverges, counts as infinitely late; "–" stands for
an infinite median.  A search reports the best of the values that it has
tried, judged by its own inexact loss.

*Last* suboptimality is that at the end of a run, *lowest* is the lowest along
the run.  *Wrong signs* is the share of the entries of dF/dθ, along a run,
whose sign differs from that of the exact dF/dθ at the same θ.  *Error of
dF/dθ* is relative to the exact one, *cosine of q* compares q with the exact q;
both are medians along the run.  *g* and *Jᵀ* are the counts of the whole run.
*Memory* is the highest along the run.

These cells are medians over seeds with the quartiles, 11 (9.8–13), or the
median alone where all three read the same.  "diverged" stands for an infinite
median.  The column *seeds* tells how many runs diverged; "2 of 3" means that
one run left no result.  Methods are sorted by the evaluations to stay at 1e-4,
then at 1e-3, and so on.

*Networks* have noisy losses and no known optimum.  There, *best* is the
highest of the methods' median test accuracies in these files, and "time to
best − 2" is the time until the accuracy, measured about once an epoch, is
first within 2 points of it.  *Cosine of q* is that of the median sample of a
fixed batch.  *Backward* and *forward* are milliseconds per pass, the median
over the points of a run: a phase of unrolled training does not count.

**Bold** marks a winner: the best of a column by the average of its ranks over
the seeds, if its sign test against each other method of the same protocol
that has the number, paired by seed, decides for it at 5 % after Holm's
correction.  With fewer than six seeds no such test can decide.  Times of
several files or machines are of several occasions: nobody wins in them.
"""


# Quantities: a number per run, of the runs of one data set

@dataclass(frozen=True)
class Column:
    """One quantity: a number per run, ``of`` the runs of one data set.

    Where ``better`` is -1 low numbers win, where it is 1 high ones, where 0
    nobody.  ``error`` is the title of another number per run, within which
    two runs are the same; none: "".  ``form`` is for `format`; none: three
    digits, or all before the point.
    """

    title: str
    unit: str
    of: Callable
    better: int = 0
    form: str = ""
    error: str = ""

    @property
    def is_time(self):
        """Whether it depends on the machine."""
        return self.unit in ("s", "ms")

    @property
    def is_arrival(self):
        """Whether it says when a run got somewhere."""
        return " to " in self.title

    @property
    def heading(self):
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _megabytes(runs):
    return highest(runs, "peak_memory") / 1e6


def _wrong_signs(runs):
    return 1 - runs.groupby(RUN)["hypergrad_sign"].mean()


def _to(gaps, x, unit=""):
    return tuple(
        Column(f"{x} to {title}", unit,
               partial(arrivals.first, gap=gap, x=x), -1)
        for title, gap in gaps.items()
    )


def _to_stay(gaps, x, unit=""):
    return tuple(
        Column(f"{x} to stay at {title}", unit,
               partial(arrivals.stay, gap=gap, x=x), -1)
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
    one data set.  ``order`` are the titles that methods are sorted by, the
    first one first, and ``goals`` those that decide who won.  ``brief`` maps
    headings of the short table to the titles that share a cell, and
    ``explained`` explains it.
    """

    add_gap: Callable
    note: Callable
    tables: tuple
    order: tuple
    goals: tuple
    brief: dict
    explained: str

    @property
    def columns(self):
        """Every column by its title."""
        return {c.title: c for table in self.tables for c in table}


def note_of_losses(runs):
    """Say what the relative numbers of a bi-level problem are relative to."""
    seeds, why = ways(runs), why_unranked(runs)
    parts = [
        f"{why[0].upper()}{why[1:]}." if why else
        f"F falls from {quantile(seeds['start'], 0.5):.6g} at θ₀ to "
        f"{quantile(seeds['optimum'], 0.5):.6g} at the optimum (medians of "
        f"{in_words(len(seeds), 'seed')}).",
        f"F was measured {_stride_in_words(runs, 'F')}.",
    ]
    if (runs["estimated"] > 0).any():
        parts.append(
            "F* is the lowest F that was measured in the same file: these "
            "files do not tell the optimum."
        )
    if not why:
        parts += _seeds_without_gap(seeds)
    lacking, due = unmeasured(runs)
    if lacking.size:
        parts.append(
            f"F could not be measured in {lacking.size} of {due} rows"
            f"{reasons_of(lacking)}."
        )
    return " ".join(parts)


def _seeds_without_gap(seeds):
    """Yield sentences about the seeds with which nobody can arrive."""
    way = seeds["start"] - seeds["optimum"]
    unknown, none = seeds.index[way.isna()], seeds.index[
        way <= seeds["error"]]
    if unknown.size:
        yield (
            f"F(θ₀) is not known of {_these_seeds(unknown)}: arrivals are "
            "not counted there."
        )
    if none.size:
        yield (
            f"With {_these_seeds(none)} the start is an optimum already: "
            "arrivals are not counted there."
        )


def reasons_of(codes):
    """Say how often F was not measured for each reason, if it is known."""
    told = ", ".join(
        f"{reason}: {n}" for code, reason in REASONS.items()
        if (n := (codes == code).sum())
    )
    return f" ({told})" if told else ""


def why_unranked(runs):
    """Say why no run of a bi-level problem can arrive; "" where some can."""
    seeds = ways(runs)
    way = seeds["start"] - seeds["optimum"]
    if seeds["optimum"].isna().all():
        return "F is not known of any run"
    if seeds["start"].isna().all():
        return "F(θ₀) is not known"
    return "" if (way > seeds["error"]).any() else (
        "the start θ₀ is an optimum already, as far as F was measured")


def in_words(n, noun, nouns=""):
    """Return "1 seed" or "3 seeds"; ``nouns`` is another plural."""
    return f"{n} {noun if n == 1 else nouns or noun + 's'}"


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
    best = best_accuracy(runs)
    told = "Most runs of every method have diverged; accuracy" if (
        np.isnan(best)) else f"The best accuracy is {best:.1f} %; it"
    return (
        f"{told} was measured {_stride_in_words(runs, 'test_accuracy')}.")


BILEVEL = Family(
    add_suboptimality, note_of_losses,
    tables=(
        _to(SUBOPTIMALITIES, "evaluations")
        + _to_stay(SUBOPTIMALITIES, "evaluations"),
        _to(SUBOPTIMALITIES, "time", "s")
        + _to_stay(SUBOPTIMALITIES, "time", "s"),
        (
            Column("last suboptimality", "",
                   partial(last, name="gap", dead=np.inf), -1, ".1e", ERROR),
            Column("lowest suboptimality", "", partial(lowest, name="gap"),
                   -1, ".1e", ERROR),
            Column("wrong signs", "", _wrong_signs, -1, ".0%"),
            *QUALITY[::-1],
            Column("lowest F", "", partial(lowest, name="F"), 0, ".6g"),
            Column("last test loss", "", TEST_LOSS, 0, ".6g"),
            *COUNTS,
        ),
    ),
    order=tuple(
        f"{x} {title}" for x in ("evaluations to stay at", "evaluations to")
        for title in reversed(SUBOPTIMALITIES)
    ),
    goals=("evaluations to stay at 1e-2", "time to stay at 1e-2"),
    brief={
        "first to 1e-2": ("evaluations to 1e-2",),
        "to stay": ("evaluations to stay at 1e-2",),
        "last": ("last suboptimality",),
        "wrong signs": ("wrong signs",),
    },
    explained="""\
The table shows the evaluations (of g, plus products with J and Jᵀ) until the
relative suboptimality of the validation loss at the exact root is first within
1e-2, and until it is within 1e-2 to stay.  Then come the suboptimality at the
end, and the share of wrong signs of the hypergradient.  Numbers are medians
over seeds; "(9 of 10)" counts the runs that got there.  Bold marks a winner,
who is better than every other method by a paired test.
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
    order=tuple(f"time to {title}" for title in reversed(POINTS)),
    goals=("accuracy", "time to best − 2", "evaluations to best − 2"),
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
    """One data set: its league, of `league_of`, methods in order.

    ``numbers`` has what the league summarises: a row per run, indexed by
    RUN, and a column per title.  ``unranked`` says why no method can be said
    to arrive; "" where some can.  ``timed_apart`` are the protocols whose
    methods were timed on several occasions.
    """

    dataset: str
    family: Family
    note: str
    league: pd.DataFrame
    numbers: pd.DataFrame
    unranked: str = ""
    timed_apart: frozenset = frozenset()

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


def league_of(runs, numbers, columns):
    """Compute medians and quartiles over the seeds of one data set.

    There is a row per protocol, method and quantity, with ``dataset``,
    ``base``, ``seeds`` (runs), ``of`` (seeds that any method has),
    ``diverged`` (runs), ``unit``, ``counted`` (runs with a number),
    ``arrived`` (runs with a finite one), ``q1``, ``median``, ``q3``,
    ``winner``.
    """
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
                "arrived": int(np.isfinite(found).sum()),
                "q1": quantile(found, 0.25), "median": quantile(found, 0.5),
                "q3": quantile(found, 0.75),
            })
    return pd.DataFrame(rows)


def find_timed_apart(runs):
    """Return the protocols whose methods were not timed on one occasion."""
    return frozenset(
        protocol for protocol, own in runs.groupby("protocol")
        if len({frozenset(occasions(rows))
                for _, rows in own.groupby("method")}) > 1)


def add_winners(league, numbers, columns, apart=frozenset()):
    """Add ``winner``: whether a method beats all others of its protocol.

    Nobody wins in times where the protocol is among those timed ``apart``.
    """
    keys = ["protocol", "quantity", "method"]
    won = set()
    for protocol, own in numbers.groupby("protocol"):
        for column in columns:
            if column.is_time and protocol in apart:
                continue
            # a method that lacks the quantity, as a search lacks q, is not
            # one to beat
            table = own[column.title].unstack("method").dropna(
                axis=1, how="all")
            errors = own[column.error].unstack("method") if (
                column.error) else None
            name = stats.winner(table, column.better, errors)
            won.add((protocol, column.title, name))
    return league.assign(winner=[
        key in won for key in league[keys].itertuples(index=False, name=None)
    ])


def in_order(league, titles):
    """Sort the methods of each protocol by the medians of some quantities.

    ``titles`` are those of the quantities, the first one first.
    """
    groups = dict(iter(league.groupby(["protocol", "method"])))

    def place(key):
        medians = groups[key].set_index("quantity")["median"].fillna(np.inf)
        base = groups[key]["base"].iloc[0]
        return (*medians[list(titles)], rank(base, key[1]))

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
    runs, columns = family.add_gap(runs), list(family.columns.values())
    numbers = pd.DataFrame({c.title: c.of(runs) for c in columns})
    if family is BILEVEL:
        numbers[ERROR] = highest(runs, "floor")
    apart = find_timed_apart(runs)
    league = add_winners(
        league_of(runs, numbers, columns), numbers, columns, apart)
    return Problem(
        dataset, family, family.note(runs), in_order(league, family.order),
        numbers, why_unranked(runs) if family is BILEVEL else "", apart,
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
    """Format a number: three digits, or all before the point; NaN is "–"."""
    if np.isnan(x):
        return "–"
    if np.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x == 0:
        return "0"
    return format(x, form or (".0f" if abs(x) >= 100 else ".3g"))


def cell(column, row, brief=False):
    """Format one cell of the league, bold if it won.

    An arrival tells how many runs there are that arrived, other quantities
    tell the quartiles.  A ``brief`` cell has units and no quartiles.
    """
    middle = row["median"]
    if np.isnan(middle):
        return "–"
    low, text, high = (
        number(row[name], column.form) for name in ("q1", "median", "q3")
    )
    if np.isinf(middle):
        text = "diverged" if row["diverged"] and not column.is_arrival else (
            "–")
    elif not (brief or column.is_arrival or low == text == high):
        text = f"{text} ({low}–{high})"
    text = f"**{text}**" if row["winner"] else text
    if brief and column.unit and np.isfinite(middle):
        text = f"{text} {column.unit}"
    if column.is_arrival:
        text = f"{text} ({row['arrived']:.0f} of {row['counted']:.0f})"
    return text


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
    found = own.set_index("quantity")
    return {
        heading: " / ".join(
            cell(family.columns[name], found.loc[name], brief=True)
            for name in names
        ) for heading, names in family.brief.items()
    }


# Who won

def who_won(problems):
    """Say who was first, a sentence per data set and protocol.

    In bi-level problems it is who is first within a relative suboptimality
    of 1e-2 to stay, in networks who has the best accuracy and who is first
    within 2 points of the best.
    """
    return [
        f"{problem.dataset}, {protocol} protocol, "
        f"{in_words(problem.n_seeds, 'seed')}: "
        f"{problem.unranked or _winners(problem, protocol)}."
        for problem in problems for protocol in problem.protocols
    ]


def _winners(problem, protocol):
    return "; ".join(
        _first(problem, protocol, title) for title in problem.family.goals)


def _first(problem, protocol, title):
    column = problem.family.columns[title]
    rows = problem.rows(protocol, title)
    whole = rows[rows["counted"] >= rows["of"]]  # others met fewer seeds
    value = (rows if whole.empty else whole)["median"] * -column.better
    finite = value[np.isfinite(value)]
    if finite.empty:
        return f"no method has a finite median of {title}"
    best = rows.loc[finite.idxmin()]
    winner = rows[rows["winner"]]
    if column.is_time and protocol in problem.timed_apart:
        more = "of times that were measured on several occasions"
    elif len(winner) and best["method"] not in set(winner["method"]):
        lowest, best = best["method"], winner.iloc[0]
        more = f"decided seed by seed, though {lowest} has the better median"
    else:
        more = _decided(problem, protocol, column, best["method"])
    told = f"{number(best['median'], column.form)} {column.unit}".strip()
    if column.is_arrival:
        told += f", {best['arrived']:.0f} of {best['counted']:.0f} runs"
    place = "has the highest" if column.better > 0 else "is first in"
    return f"{best['method']} {place} {title} ({told}), {more}"


def _decided(problem, protocol, column, best):
    """Say whether a method beats every other one, see `stats.winner`."""
    own = problem.numbers.xs(protocol, level="protocol")
    costs = -column.better * own[column.title].unstack("method")
    others = costs.columns.drop(best)
    if others.empty:
        return "alone"
    if 2 * 0.5 ** len(costs) * len(others) > stats.LEVEL:
        return "undecided with so few seeds"
    p_values = stats.holm([min(1, 2 * stats.sign_test(
        stats.differences(costs[name], costs[best]), 0, "greater"))
        for name in others])
    close = set(others[p_values > stats.LEVEL])
    if not close:
        return "decided"
    names = [name for name in problem.rows(protocol, column.title)["method"]
             if name in close]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"undecided against {', '.join(names[:3])}{more}"
