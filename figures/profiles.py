"""Performance and data profiles: which method solves how much, how soon.

A problem is a bi-level data set with one seed.  A method solves it where its
run comes within a relative suboptimality, to stay; its cost are the
evaluations until then.
"""
from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import methods, stats
from .plotting import (
    Drawing, add_caption, add_legend, literal, make_grid, paper_style,
)
from .results import ResultError, in_protocol_order
from .tables import league
from .tables.markdown import markdown

TOLERANCES = tuple(league.SUBOPTIMALITIES)
SHOWN = "1e-2"  # the tolerance at which methods are chosen to be drawn
MOST = 12  # methods in a picture
FACTORS = 1, 20  # drawn, of the cheapest method's evaluations
TICKS = 1, 2, 5, 10
NEAR = 2  # the factor of the table

EXPLAINED = f"""\
Shares of the problems, which are data sets with a seed; data sets weigh the
same. "Within {NEAR} ×" is the share that a method solves with at most {NEAR}
times the evaluations of the cheapest method there, of all methods in the table
(Dolan and Moré 2002); "solved" is the share that it solves at all, in the
evaluations of its run. To solve is to come within the relative suboptimality,
to stay.
"""


@dataclass(frozen=True)
class Costs:
    """The costs of one protocol: evaluations to stay, ∞ where never.

    ``tables`` map a tolerance of TOLERANCES to a table with a row per
    problem, indexed by ``dataset`` and ``seed``, and a column per method.
    """

    protocol: str
    tables: dict

    @property
    def weights(self):
        """Weights of the problems: each data set weighs the same."""
        return stats.equal_weights(
            self.tables[SHOWN].index.get_level_values("dataset"))

    def in_words(self):
        """Return "hoag protocol, 20 problems (2 data sets)"."""
        index = self.tables[SHOWN].index
        n_datasets = index.get_level_values("dataset").nunique()
        return (
            f"{self.protocol} protocol, "
            f"{league.in_words(len(index), 'problem')} "
            f"({league.in_words(n_datasets, 'data set')})"
        )


# Costs

def costs_of(problems, protocol, order):
    """Collect the costs of the methods that were run on every data set.

    Parameters
    ----------
    problems : list of league.Problem
        Bi-level ones that have the protocol.
    protocol : str
    order : list of str
        Labels of methods, in the order of columns.

    Returns
    -------
    Costs or None
        None where no method was run on every data set.
    list of str
        Warnings about the methods and the problems that are left out.
    """
    numbers = pd.concat([
        problem.numbers.xs(protocol, level="protocol") for problem in problems
    ])
    tables = {
        title: numbers[f"evaluations to stay at {title}"].unstack("method")
        for title in TOLERANCES
    }
    run = tables[SHOWN].notna().groupby("dataset").any()
    everywhere = [name for name in order if name in run and run[name].all()]
    missing = {}
    for name in order:
        if name in run and name not in everywhere:
            places = ", ".join(run.index[~run[name]])
            missing.setdefault(places, []).append(name)
    warnings = [
        f"profiles, {protocol}: not run on {places}, so left out: "
        + ", ".join(names) for places, names in missing.items()
    ]
    if not everywhere:
        return None, warnings
    whole = tables[SHOWN][everywhere].notna().all(axis=1)
    if not whole.all():
        warnings.append(
            f"profiles, {protocol}: {(~whole).sum()} of {len(whole)} problems "
            "are left out: not every method has a number there")
    return Costs(protocol, {
        title: table.loc[whole, everywhere] for title, table in tables.items()
    }), warnings


def all_costs(runs):
    """Collect the costs of every protocol, a list, and warnings.

    Raises
    ------
    ResultError
        Where no method was run on every bi-level data set of a protocol.
    """
    problems, warnings = league.problems_of(runs)
    bilevel = [p for p in problems if p.family is league.BILEVEL]
    warnings += [f"{p.dataset}: left out: {p.unranked}"
                 for p in bilevel if p.unranked]
    bilevel = [p for p in bilevel if not p.unranked]
    protocols = {name for problem in bilevel for name in problem.protocols}
    order, found = methods.in_order(runs), []
    for protocol in in_protocol_order(protocols):
        costs, more = costs_of(
            [p for p in bilevel if protocol in p.protocols], protocol, order)
        warnings += more
        if costs is not None and len(costs.weights):
            found.append(costs)
    if not found:
        raise ResultError(
            "no method was run on every bi-level data set of these files; "
            "name fewer with --datasets"
        )
    return found, warnings


# Picture and table

def drawn(costs):
    """Choose the MOST methods that solve most at SHOWN, in their order."""
    table = costs.tables[SHOWN]
    solved = pd.Series(costs.weights @ np.isfinite(table), table.columns)
    kept = solved.sort_values(ascending=False, kind="stable").index[:MOST]
    return [name for name in table if name in kept]


def plot_profile(ax, costs, weights, looks):
    """Draw the share of problems within a cost, a step line per method.

    ``costs``, (problems, methods), are absolute or times the best.
    """
    finite = costs.to_numpy()[np.isfinite(costs)]
    at = np.unique(np.append(finite, ax.get_xlim()))
    shares = stats.data_profile(costs, weights, at)
    for name, share in zip(costs, shares.T):
        if name in looks:
            ax.plot(at, share, drawstyle="steps-post", label=literal(name),
                    **looks[name])


def plot(costs, caption):
    """Draw performance profiles above and data profiles below."""
    places = {(i, j): (i, j) for i in range(2) for j in range(len(TOLERANCES))}
    figure, axes = make_grid(places)
    names, budgets = drawn(costs), _budgets(costs)
    looks = methods.looks(names)
    for title, (above, below) in zip(TOLERANCES, axes.T):
        table = costs.tables[title]
        ratios = pd.DataFrame(stats.times_the_best(table), None, table.columns)
        above.set_title(f"to stay within {title}")
        for ax, own, limits, x in (
            (above, ratios, FACTORS, "times the fewest evaluations"),
            (below, table, budgets, "evaluations"),
        ):
            ax.set(xscale="log", xlim=limits, ylim=(-0.02, 1.02), xlabel=x)
            plot_profile(ax, own, costs.weights, looks)
        above.set_xticks(TICKS, map(str, TICKS))
        above.set_xticks([], minor=True)
    for ax in axes[:, 1:].flat:
        ax.tick_params(labelleft=False)
    for ax in axes[:, 0]:
        ax.set_ylabel("share of problems")
    add_caption(figure, caption)
    add_legend(figure, axes.flat, names)
    return figure


def _budgets(costs):
    """Return the limits of the axis of evaluations, of all tolerances.

    One problem in fifty may be solved sooner.
    """
    finite = np.concatenate([
        table.to_numpy()[np.isfinite(table)]
        for table in costs.tables.values()])
    if not finite.size:
        return 1, 10
    return 0.8 * np.quantile(finite, 0.02), 1.2 * finite.max()


def shares_table(costs):
    """Write the shares within NEAR × and solved, in Markdown."""
    columns, names = {}, list(costs.tables[SHOWN])
    for title, table in costs.tables.items():
        within, = stats.performance_profile(table, costs.weights, [NEAR])
        solved = costs.weights @ np.isfinite(table)
        columns[f"{title}: within {NEAR} ×"] = within
        columns[f"{title}: solved"] = solved
    frame = pd.DataFrame(columns, index=names).map("{:.0%}".format)
    frame.insert(0, "method", names)
    return markdown(frame)


def draw(inputs):
    """Draw a picture per protocol, and write one table of all.

    Raises
    ------
    ResultError
        Where no method was run on every bi-level data set.
    """
    found, warnings = all_costs(inputs.need_runs())
    figures, parts, captions = {}, [EXPLAINED], []
    for costs in found:
        captions.append(caption_of(costs))
        with paper_style():
            figures[costs.protocol] = plot(costs, captions[-1])
        names = sorted(costs.tables[SHOWN].index.unique("dataset"))
        parts.append(
            f"## {costs.in_words()}\n\nData sets: {', '.join(names)}.\n\n"
            + shares_table(costs))
    return Drawing(
        figures, "\n".join(captions), {"": "\n".join(parts)}, tuple(warnings))


def caption_of(costs):
    """Say what the picture of one protocol shows."""
    n_methods = costs.tables[SHOWN].shape[1]
    some = "" if n_methods <= MOST else (
        f" Drawn are the {MOST} of {n_methods} methods that solve most within "
        f"{SHOWN}.")
    return (
        f"Shares of problems solved: {costs.in_words()}, data sets weighing "
        "the same. Above: performance profiles, within a factor of the "
        "evaluations of the cheapest method. Below: data profiles, within a "
        f"budget of evaluations.{some}"
    )
