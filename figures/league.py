"""The league: what each method reaches, how soon, and at what cost.

    python figures/league.py RESULT [RESULT ...]
    python figures/league.py RESULT [RESULT ...] --readme README.md

Prints tables, two per problem and protocol, and writes them as NAME.md and,
one number a row, NAME.csv.  With --readme, prints one short table per problem
and puts it between the two lines <!-- league:begin ... --> and
<!-- league:end --> of that file; the first of them keeps the command.
"""
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from common import (
    PROTOCOLS, ResultError, alive, arguments, base_of, markdown,
    one_line_errors, only, put, quantile, rank, read_runs, save_text,
    short_names, warn,
)

RUN = ["protocol", "method", "seed"]
LEAST_SEEDS = 3  # fewer have no quartiles to speak of
ERROR = 1e-6  # of the objective's value_function, relative
SUBOPTIMALITIES = {"1e-1": 1e-1, "1e-2": 1e-2, "1e-3": 1e-3, "1e-4": 1e-4}
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
how many runs diverged; "2 of 3": one left no result, as failed runs do.

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
    """One quantity.

    Parameters
    ----------
    title, unit : str
    of : callable, runs -> Series indexed by RUN
    better : {-1, 0, 1}
        Whether low or high numbers win, or neither.
    form : str
        Of a number, for `format`; none: three digits, or all before the
        point.
    endless : str
        What an infinite median is called.
    """

    title: str
    unit: str
    of: Callable
    better: int = 0
    form: str = ""
    endless: str = "–"

    @property
    def heading(self):
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def arrivals(runs, gap, x):
    """Where each run first comes within a gap; infinite where it never does.

    ``x`` is "time" or "evaluations".
    """
    there = runs[x].where(runs["gap"] <= gap, np.inf)
    return there.groupby([runs[key] for key in RUN]).min()


def lowest(runs, name):
    """The lowest number along each run."""
    return runs.groupby(RUN)[name].min()


def last(runs, name, dead):
    """The last number measured in each run; ``dead`` if it has diverged."""
    found = runs.sort_values("step").groupby(RUN)[name].last()
    return found.mask(highest(runs, "diverged") > 0, dead)


def highest(runs, name):
    """The highest number along each run; of counts and times, the last."""
    return runs.groupby(RUN)[name].max()


def along(runs, name):
    """The median of each run."""
    return runs.groupby(RUN)[name].median()


def per_pass(runs, name):
    """Milliseconds, from seconds since the start."""
    return 1e3 * highest(runs, name) / highest(runs, "n_outer")


def megabytes(runs):
    """The highest memory along each run."""
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
    Column("Jᵀ", "", partial(highest, name="n_jvp")),
    Column("memory", "MB", megabytes, -1),
)


# Two families of problems

def add_suboptimality(runs):
    """Add ``F`` and ``gap``, its suboptimality relative to the start's.

    Both are NaN where F was not measured.  Where the run has diverged F is
    NaN and the gap infinite, as it is where the start's F is unknown.  The
    gap is 0 where F is as low as the best but for its measuring error.
    """
    losses = alive(runs, "value_function")
    best = losses.groupby(runs["seed"]).transform("min")
    first = runs["value_function"].where(runs["step"] == 0)
    whole = first.groupby(runs["seed"]).transform("median") - best
    gap = ((losses - best) / whole.where(whole > 0)).fillna(np.inf)
    alike = (losses - best <= ERROR * best.abs()) & whole.notna()
    gap = gap.mask(alike, 0.0)
    measured = runs["value_function"].notna() | (runs["diverged"] > 0)
    unknown = sorted(set(runs["seed"][whole.isna()]))
    if unknown:
        warn(
            f"{runs['dataset'].iloc[0]}: F is not known at the start of seeds "
            f"{', '.join(f'{seed:.0f}' for seed in unknown)}: they count as "
            "never arriving"
        )
    return runs.assign(
        F=losses.replace(np.inf, np.nan), gap=gap.where(measured),
    )


ACCURACY = Column("accuracy", "%", partial(last, name="percent", dead=-np.inf),
                  1, ".1f", "diverged")


def best_accuracy(runs):
    """The highest of the methods' median accuracies at the end, percent."""
    methods = ACCURACY.of(runs).groupby(["protocol", "method"])
    return methods.agg(quantile, q=0.5).max()


def add_shortfall(runs):
    """Add ``percent`` and ``gap``, the points missing to the best median."""
    runs = runs.assign(percent=100 * runs["test_accuracy"])
    # rounded: 97.5 is within 5 points of 92.5, whatever their last bits
    gap = (best_accuracy(runs) - runs["percent"]).round(6)
    return runs.assign(gap=gap.mask(runs["diverged"] > 0, np.inf))


def _stride(runs, name):
    """In words: after which outer steps a number was measured."""
    steps = runs.dropna(subset=name).sort_values("step")
    stride = steps.groupby(RUN)["step"].diff().median()
    if stride == 1:
        return "at every outer step"
    return f"every {stride:.0f} outer steps: arrivals are rounded up to that"


def note_of_losses(runs):
    """What the relative numbers of a bi-level problem are relative to."""
    best = runs.groupby("seed")["F"].min()
    first = runs[runs["step"] == 0].groupby("seed")["F"].median()
    return (
        f"F falls from {quantile(first, 0.5):.6g} to {quantile(best, 0.5):.6g}"
        f" (medians of {len(best)} seeds; by {(first - best).min():.3g} at "
        f"least) and was measured {_stride(runs, 'F')}."
    )


def note_of_accuracy(runs):
    """What the bar of a network is."""
    return (
        f"The best accuracy is {best_accuracy(runs):.1f} %; it was measured "
        f"{_stride(runs, 'test_accuracy')}."
    )


@dataclass(frozen=True)
class Family:
    """A kind of problem and its tables.

    Parameters
    ----------
    add_gap : callable, runs -> runs
        Of one data set; adds ``gap`` and what else the columns need.
    note : callable, runs -> str
    tables : tuple of tuple of Column
        The first begins with the times, which rank the methods.
    brief : dict of str to tuple of str
        Headings of the short table, and the titles that share a cell.
    explained : str
        Of the short table.
    """

    add_gap: Callable
    note: Callable
    tables: tuple
    brief: dict
    explained: str

    @property
    def columns(self):
        """Every column by its title."""
        return {c.title: c for table in self.tables for c in table}


BILEVEL = Family(
    add_suboptimality, note_of_losses,
    tables=(
        _to(SUBOPTIMALITIES, "time", "s") + (
            Column("lowest suboptimality", "", partial(lowest, name="gap"),
                   -1, ".1e", "diverged"),
            Column("last suboptimality", "",
                   partial(last, name="gap", dead=np.inf), -1, ".1e",
                   "diverged"),
            Column("lowest F", "", partial(lowest, name="F"), 0, ".6g"),
            Column("last test loss", "",
                   partial(last, name="test_loss", dead=np.inf), 0, ".6g",
                   "diverged"),
        ),
        _to(SUBOPTIMALITIES, "evaluations") + QUALITY + COUNTS,
    ),
    brief={
        f"to {title}": (f"time to {title}", f"evaluations to {title}")
        for title in ("1e-1", "1e-2", "1e-3")
    },
    explained="""\
Medians over seeds of the time and the evaluations (of g, plus products with
Jᵀ) until (F(θ) − best) / (F(θ₀) − best) is down to 1e-1, 1e-2, 1e-3.  F is the
validation loss at the exact inner solution, best the lowest that any method
reached; "–": half of the seeds or more never get there.  Bold: a winner whose
quartiles over the seeds overlap with no other method's.
""",
)
NETWORK = Family(
    add_shortfall, note_of_accuracy,
    tables=(
        _to(POINTS, "time", "s") + (
            ACCURACY,
            Column("test loss", "",
                   partial(last, name="test_loss", dead=np.inf), -1, ".3g",
                   "diverged"),
            Column("backward", "ms",
                   partial(per_pass, name="backward_time"), -1),
            Column("forward", "ms", partial(per_pass, name="forward_time")),
        ),
        _to(POINTS, "evaluations") + QUALITY + COUNTS,
    ),
    brief={
        "accuracy": ("accuracy",),
        "to best − 2": ("time to best − 2", "evaluations to best − 2"),
        "cosine of q": ("cosine of q",),
        "backward": ("backward",),
        "Jᵀ": ("Jᵀ",),
    },
    explained="""\
Medians over seeds: test accuracy at the end; time and evaluations until it is
first within 2 points of the best; cosine of q with a tight solve, the median
sample's along the run; time of one backward pass; products with Jᵀ in the run.
""",
)


# The league

@dataclass(frozen=True)
class Problem:
    """One data set of the league, methods in the order of their tables.

    Parameters
    ----------
    dataset : str
    family : Family
    note : str
    league : pandas.DataFrame
        Of `league_of`.
    """

    dataset: str
    family: Family
    note: str
    league: pd.DataFrame


def mark_winners(rows, better):
    """Which rows' quartiles lie beyond those of every other.

    Parameters
    ----------
    rows : pandas.DataFrame
        One quantity of every method; columns ``q1``, ``q3``, ``counted``
        and ``of``, the seeds that have a number and all there are.
    better : {-1, 0, 1}
        As in `Column`.

    Returns
    -------
    list of bool
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
    """Medians and quartiles over seeds of one data set.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of one data set, with what the columns need.
    columns : list of Column

    Returns
    -------
    pandas.DataFrame
        A row per protocol, method and quantity; columns ``dataset``,
        ``protocol``, ``method``, ``seeds`` (runs), ``of`` (seeds that any
        method has), ``diverged`` (runs), ``quantity``, ``unit``, ``counted``
        (runs with a number), ``q1``, ``median``, ``q3``, ``winner``.
    """
    numbers = pd.DataFrame({c.title: c.of(runs) for c in columns})
    diverged = highest(runs, "diverged") > 0
    rows = []
    for (protocol, method), own in numbers.groupby(RUN[:2]):
        shared = {
            "dataset": runs["dataset"].iloc[0], "protocol": protocol,
            "method": method, "seeds": len(own),
            "of": runs["seed"].nunique(),
            "diverged": int(diverged[own.index].sum()),
        }
        for column in columns:
            found = own[column.title]
            rows.append(shared | {
                "quantity": column.title, "unit": column.unit,
                "counted": int(found.notna().sum()),
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
        medians = groups[key].set_index("quantity")["median"]
        return (
            PROTOCOLS.index(key[0]), *medians[times[::-1]], rank(key[1])
        )

    return pd.concat([groups[key] for key in sorted(groups, key=place)])


def problem_of(runs):
    """The league of one data set, None where nothing tells methods apart."""
    dataset = runs["dataset"].iloc[0]
    if runs["value_function"].notna().any():
        family = BILEVEL
    elif runs["test_accuracy"].notna().any():
        family = NETWORK
    else:
        warn(
            f"{dataset}: no exact loss was measured: left out; run it with "
            "the objective's reference above 0"
        )
        return None
    runs = family.add_gap(runs)
    league = league_of(runs, list(family.columns.values()))
    times = [t for t in family.columns if t.startswith("time to")]
    return Problem(dataset, family, family.note(runs), in_order(league, times))


def read_problems(options):
    """The league of every data set in the result files.

    Raises
    ------
    ResultError
        Also where no data set, or no method asked for, is left.
    """
    runs = read_runs(options)
    chosen = set(options.methods or map(base_of, runs["method"]))
    shown = set(only(options, runs, chosen.__contains__)["method"])
    found = [problem_of(own) for _, own in runs.groupby("dataset")]
    problems = [
        replace(p, league=p.league[p.league["method"].isin(shown)])
        for p in found if p is not None
    ]
    problems = [p for p in problems if len(p.league)]
    if not problems:
        raise ResultError(
            f"{', '.join(map(str, options.results))}: no problem is left to "
            "compare methods on"
        )
    return problems


# Text

def number(x, form):
    """A number in text: three digits, or all before the point."""
    if np.isinf(x):
        return "∞"
    if x == 0:
        return "0"
    return format(x, form or (".0f" if abs(x) >= 100 else ".3g"))


def cell(column, row, quartiles=True):
    """Median and quartiles of a row of the league, bold if it has won."""
    if np.isnan(row["median"]):
        return "–"
    if np.isinf(row["median"]):
        return column.endless
    low, text, high = (
        number(row[name], column.form) for name in ("q1", "median", "q3")
    )
    if quartiles and not low == text == high:
        text = f"{text} ({low}–{high})"
    return f"**{text}**" if row["winner"] else text


def seeds(row):
    """How many runs there are, and what became of them."""
    text = f"{row['seeds']:.0f}"
    if row["seeds"] < row["of"]:
        text += f" of {row['of']:.0f}"
    if row["diverged"]:
        text += f", {row['diverged']:.0f} diverged"
    return text


def table(problem, protocol, columns):
    """One table of the full league, in Markdown."""
    own = problem.league[problem.league["protocol"] == protocol]
    rows = []
    for method in own["method"].unique():
        found = own[own["method"] == method].set_index("quantity")
        rows.append({"method": method, "seeds": seeds(found.iloc[0])} | {
            column.heading: cell(column, found.loc[column.title])
            for column in columns
        })
    return markdown(pd.DataFrame(rows))


def protocols(problem):
    """The protocols that a problem has methods of, the fair one first."""
    there = set(problem.league["protocol"])
    return [protocol for protocol in PROTOCOLS if protocol in there]


def full(problems, titles):
    """Every table of every problem, in Markdown."""
    parts = []
    for problem in problems:
        parts += [f"## {titles[problem.dataset]}", problem.note]
        for protocol in protocols(problem):
            parts.append(f"### {titles[problem.dataset]}, {protocol} protocol")
            parts += [
                table(problem, protocol, columns).rstrip()
                for columns in problem.family.tables
            ]
    return "\n\n".join(parts) + "\n"


def brief(problem, title):
    """One short table: the protocols side by side, medians alone."""
    columns = problem.family.columns
    several, rows = len(protocols(problem)) > 1, {}
    for (protocol, method), own in problem.league.groupby(
        ["protocol", "method"], sort=False
    ):
        found = own.set_index("quantity")
        row = rows.setdefault(method, {"method": method})
        for heading, names in problem.family.brief.items():
            texts = []
            for name in names:
                text = cell(columns[name], found.loc[name], quartiles=False)
                unit = columns[name].unit if text != "–" else ""
                texts.append(f"{text} {unit}".strip())
            if set(texts) == {"–"}:
                texts = ["–"]
            prefix = f"{protocol}: " if several else ""
            row[prefix + heading] = " / ".join(texts)
    frame = pd.DataFrame(rows.values()).fillna("")
    n = problem.league["of"].iloc[0]
    return (
        f"**{title}**, {n} seed{'s' if n > 1 else ''}.  {problem.note}\n"
        f"{problem.family.explained}\n{markdown(frame)}"
    )


# Command line

def main(words=None):
    """Command line; returns the problems."""
    words = sys.argv[1:] if words is None else [*map(str, words)]
    command = shlex.join(["python", "figures/league.py", *words])
    parser = arguments(__doc__, "league")
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME",
        help="show only these, e.g. SHINE; every method counts all the same "
             "for what is best and who wins",
    )
    parser.add_argument(
        "--readme", type=Path, metavar="FILE",
        help="put short tables between the marks of this Markdown file",
    )
    options = parser.parse_args(words)
    with one_line_errors():
        problems = read_problems(options)
        titles = short_names([problem.dataset for problem in problems])
        if options.readme:
            text = "\n".join(
                brief(problem, titles[problem.dataset]) for problem in problems
            )
            print(text, end="")
            put(options.readme, "league", text, command)
            return problems
        text = f"# The league\n\nMade by `{command}`.\n\n" + full(
            problems, titles
        )
        print(text, end="")
        save_text(text + "\n" + EXPLAINED, options.output_dir, options.name)
        path = options.output_dir / f"{options.name}.csv"
        league = pd.concat(problem.league for problem in problems)
        league.to_csv(path, index=False, float_format="%.10g")
        print(path)
    return problems


if __name__ == "__main__":
    main()
