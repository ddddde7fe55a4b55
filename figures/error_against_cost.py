"""Error against cost: every method's q and hypergradient at a fixed theta.

Each curve is of one method on one task; its points are inner tolerances.  The
cost of a point is that of one outer step, forward and backward.  A case is a
task, a seed, a theta of the path and a way to start: medians are over cases.
"""
import math
from itertools import cycle, product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .methods import ORDER, looks
from .plotting import (
    COLUMN, MOST_COLUMNS, PAGE, X_LABELS, Drawing, add_caption, add_legend,
    literal, paper_style, plain_numbers,
)
from .results import (
    ResultError, bare_name, read_measurement, versions_of,
)
from .stats import TIE, wins_losses_ties
from .tables.league import in_words, number
from .tables.markdown import markdown

TEXTS = ("task", "start", "method", "fingerprint")
NUMBERS = (
    "seed", "tol", "step", "n_g", "n_vjp", "q_error", "gradient_error",
    "z_error",
)
STARTS = "warm", "cold"
CASE = ["task", "seed", "step"]
EXACT, PLAIN = "HOAG", "SHINE"
# Who is drawn in colour; the others are thin grey lines.
SHOWN = (
    "SHINE", "SHINE-OPA", "SHINE-at-root", "SHINE-guarded", "Jacobian-Free",
    "HOAG", "Recycled-PCG", "SHINE-PCG",
)
# The methods of the third sentence.
CORRECTED = "Recycled-PCG", "SHINE-PCG", "SHINE-guarded"
GRADIENT = 1e-2  # the error of the hypergradient of that sentence
NAMES = {"q_error": "q", "gradient_error": "the hypergradient"}
HIGHEST = 3.0  # higher errors are drawn here
Y_LABELS = {
    "q_error": "relative error of $q$",
    "gradient_error": "relative error of $dF/d\\theta$",
}
MARKS = "osDv^PX<>dh*"
OTHERS = {"color": "#B5B5B5", "linewidth": 0.6, "zorder": 1}
FAMILY = "quadratic"  # its tasks have a figure of their own


# Measurements

def read_errors(paths):
    """Read measurements, one file below the other.

    Columns: TEXTS, NUMBERS, and ``cost``, evaluations and products.  A row
    that two files have is of the first.
    """
    key = [*CASE, "start", "method", "tol"]
    frame = pd.concat([
        read_measurement(
            path, TEXTS, NUMBERS,
            "give the CSV file of experiments.error_against_cost",
            key, {"start": STARTS},
        ) for path in paths
    ]).drop_duplicates(key, ignore_index=True)
    return frame.assign(cost=frame["n_g"] + frame["n_vjp"])


def rank(method):
    """Return a sort key: the order of legends, a solver's settings after it.
    """
    name = bare_name(method)
    return ORDER.get(name, len(ORDER)), method


def label_of(method):
    """Return what to call "HOAG[backward_steps=1]": HOAG (backward steps 1).
    """
    name, bracket, settings = method.partition("[")
    if not bracket:
        return name
    words = settings[:-1].replace("=", " ").replace("_", " ")
    return f"{name} ({words.replace(',', ', ')})"


def curve(own, column):
    """Compute one method's curve: a row per tolerance, by rising cost.

    Columns: ``cost`` and ``error``, medians over cases; ``low`` and ``high``,
    quartiles of the error.
    """
    groups = own.dropna(subset=[column]).groupby("tol")
    found = pd.DataFrame({
        "cost": groups["cost"].median(), "error": groups[column].median(),
        "low": groups[column].quantile(0.25, interpolation="nearest"),
        "high": groups[column].quantile(0.75, interpolation="nearest"),
    })
    return found.sort_index(ascending=False)


def at_equal_cost(frame, column, tol):
    """Return each method's lowest error within the cost of EXACT.

    That is the cost of EXACT at the tolerance ``tol`` in the same case; of a
    method's own tolerances the best one counts, and infinity where even the
    loosest costs more.

    Returns
    -------
    Series
        By case and method.
    """
    exact = frame[(frame["method"] == EXACT) & (frame["tol"] == tol)]
    budget = exact.set_index(CASE)["cost"].rename("budget")
    joined = frame.join(budget, on=CASE)
    return _least(
        frame, joined[joined["cost"] <= joined["budget"]], column)


def cost_to_reach(frame, column, error):
    """Return each method's lowest cost with an error of at most ``error``.

    Returns
    -------
    Series
        By case and method; infinity where no tolerance is enough.
    """
    return _least(frame, frame[frame[column] <= error], "cost")


def _least(frame, some, column):
    keys = [*CASE, "method"]
    everyone = frame.groupby(keys).size().index
    return some.groupby(keys)[column].min().reindex(
        everyone, fill_value=math.inf)


def budgets(frame):
    """Return the loosest tolerance of the file, and that in the middle."""
    tolerances = sorted(frame["tol"].unique(), reverse=True)
    return [*dict.fromkeys(tolerances[i] for i in (0, len(tolerances) // 2))]


# Pictures

def plot_task(ax, rows, column, styles):
    """Draw the curves of one task; higher errors than HIGHEST lie there."""
    for method in sorted(rows["method"].unique(), key=rank):
        found = curve(rows[rows["method"] == method], column)
        if found.empty:
            continue
        ys = found[["error", "low", "high"]].clip(upper=HIGHEST)
        if method not in styles:
            ax.plot(found["cost"], ys["error"], label="others", **OTHERS)
            continue
        line, = ax.plot(
            found["cost"], ys["error"], label=literal(label_of(method)),
            **styles[method],
        )
        ax.fill_between(found["cost"], ys["low"], ys["high"], linewidth=0,
                        color=line.get_color(), alpha=0.1)
    ax.set(xscale="log", yscale="log")
    plain_numbers(ax.xaxis, (1, 2, 5))


def plot(frame, column, caption):
    """Draw a panel per task, in the order of the file."""
    tasks = list(dict.fromkeys(frame["task"]))
    n_columns = min(len(tasks), MOST_COLUMNS)
    n_rows = math.ceil(len(tasks) / n_columns)
    figure = Figure(figsize=(
        PAGE if n_columns > 1 else COLUMN, 2.0 * n_rows))
    axes = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    styles = styles_of(frame)
    order = [
        label_of(method) for method in sorted(styles, key=rank)] + ["others"]
    for ax, task in zip(axes, tasks):
        plot_task(ax, frame[frame["task"] == task], column, styles)
        ax.set(title=literal(task), xlabel=X_LABELS["evaluations"])
    for row in range(n_rows):
        axes[row * n_columns].set_ylabel(Y_LABELS[column])
    for ax in axes[len(tasks):]:
        ax.axis("off")
    add_caption(figure, caption)
    if len(tasks) == len(axes):
        add_legend(figure, axes, order, most=5)
    else:
        _put_legend(axes[-1], axes[:len(tasks)], order)
    return figure


def _put_legend(place, axes, order):
    """Put the legend of some axes into an empty place of the grid."""
    handles = {}
    for ax in axes:
        handles |= dict(zip(*ax.get_legend_handles_labels()[::-1]))
    labels = [name for name in map(literal, order) if name in handles]
    place.legend([handles[name] for name in labels], labels, loc="center")


def styles_of(frame):
    """Choose the looks of those methods that are drawn in colour."""
    shown = [
        method for method in frame["method"].unique()
        if method in SHOWN or "polish" in method
    ]
    marks = zip(sorted(shown, key=rank), cycle(MARKS))
    chosen = looks(shown)
    return {method: chosen[method] | {"marker": m} for method, m in marks}


def caption_of(frame, start):
    """Say what the curves are, and over what the medians are taken."""
    tolerances = sorted(frame["tol"].unique())
    begins = {
        "warm": "after all steps of the path before it, as in a run",
        "cold": "from the first z of the task, with nothing remembered",
    }[start]
    return (
        "One outer step at a fixed θ, with all of its evaluations of g and "
        f"products, {begins}. A curve's points are inner tolerances, from "
        f"{tolerances[-1]:g} to {tolerances[0]:g}; medians of "
        f"{_drawn(frame)}, bands are quartiles; errors above {HIGHEST:g} are "
        "drawn there."
    )


def chosen(frame):
    """Return the tasks of the main picture: of the quadratic family one."""
    is_quadratic = frame["task"].str.startswith(FAMILY)
    last = frame.loc[is_quadratic, "task"].iloc[-1:]
    return frame[~is_quadratic | frame["task"].isin(last)]


def pictures(frame):
    """Draw all pictures for which there are rows, by the ends of names."""
    warm, cold = (frame[frame["start"] == start] for start in STARTS)
    wanted = {
        "": (chosen(warm), "q_error", "warm"),
        "gradient": (chosen(warm), "gradient_error", "warm"),
        "quadratic": (
            warm[warm["task"].str.startswith(FAMILY)], "q_error", "warm"),
        "cold": (chosen(cold), "q_error", "cold"),
    }
    return {
        end: plot(rows, column, caption_of(rows, start))
        for end, (rows, column, start) in wanted.items() if len(rows)
    }


# Words

def page(frame):
    """Write what the measurement says: sentences and tables, Markdown."""
    parts = []
    for start in STARTS:
        own = frame[frame["start"] == start]
        if own.empty:
            continue
        if EXACT not in set(own["method"]):
            raise ResultError(
                f"{EXACT} is not among the methods, and costs are compared "
                "with its; measure it too"
            )
        parts += [f"## {start.capitalize()} start\n", *sentences(own)]
        parts += ["", *tables(own), ""]
    return "# Error against cost at a fixed θ\n\n" + "\n".join(parts)


def tables(frame):
    """Tabulate errors at equal cost, by tolerance, and costs to an error."""
    for (column, name), tol in product(NAMES.items(), budgets(frame)):
        yield (
            f"Error of {name} within the cost of {EXACT} at tolerance "
            f"{tol:g} (median over cases; ∞: even the loosest tolerance "
            "costs more in most cases):\n"
        )
        yield _by_task(at_equal_cost(frame, column, tol), ".0e")
    yield "Error of q by tolerance (median over all cases):\n"
    yield _by_tolerance(frame)
    yield (
        f"Cost of a hypergradient within {100 * GRADIENT:g} % (median over "
        "cases; ∞: no tolerance is enough in most cases):\n"
    )
    yield _by_task(cost_to_reach(frame, "gradient_error", GRADIENT), ".0f")
    polished = polish(frame)
    if len(polished):
        yield (
            "With the corrected step (polish) against without, at the cost "
            "of each polished point: geometric mean of the ratios of the "
            "errors of q and of the hypergradient, and points with a lower "
            "and with a higher error:\n"
        )
        yield markdown(polished)


def _by_task(values, form):
    """Tabulate medians, a row per method and a column per task."""
    medians = values.groupby(["method", "task"]).median().unstack("task")
    lowest, rows = _is_lowest(medians), []
    for method in sorted(medians.index, key=rank):
        row = {"method": label_of(method)}
        for task, value in medians.loc[method].items():
            bold = "**" if lowest.loc[method, task] else ""
            row[task] = f"{bold}{number(value, form)}{bold}"
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def _is_lowest(medians):
    """Say of each method, a row, and task where its median is the lowest.

    Methods nearer to the lowest than TIE are as low, and infinity is not.
    """
    return medians.le((1 + TIE) * medians.min()) & medians.lt(math.inf)


def _by_tolerance(frame):
    medians = frame.groupby(["method", "tol"])["q_error"].median().unstack()
    rows = [
        {"method": label_of(method)} | {
            f"{tol:g}": number(value, ".0e")
            for tol, value in medians.loc[method][::-1].items()
        } for method in sorted(medians.index, key=rank)
    ]
    return markdown(pd.DataFrame(rows))


def polish(frame):
    """Compare each method that has the setting polish with itself without.

    A polished point is compared with the lowest error that the method
    without reaches, at any tolerance, for at most the same cost.
    """
    rows = []
    for method in sorted(frame["method"].unique(), key=rank):
        plain = without_polish(method)
        if plain == method or plain not in set(frame["method"]):
            continue
        row = {"method": plain}
        for column, name in (("q_error", "q"), ("gradient_error", "dF/dθ")):
            ratios = _ratios(frame, method, plain, column)
            lower, higher, _ = wins_losses_ties(-np.log(ratios))
            row |= {
                f"{name}: ratio":
                    number(np.exp(np.log(ratios).mean()), ".2g"),
                f"{name}: lower, higher": f"{lower}, {higher}",
            }
        rows.append(row)
    return pd.DataFrame(rows)


def without_polish(method):
    """Return the label of a method without its setting polish."""
    name, bracket, inside = method.partition("[")
    left = [
        part for part in inside.rstrip("]").split(",")
        if not part.startswith("polish=")
    ]
    return method if not bracket else (
        f"{name}[{','.join(left)}]" if any(left) else name)


def _ratios(frame, method, plain, column):
    """Return polished over plain errors, of points that both can pay for."""
    with_, without = (
        frame[frame["method"] == name][[*CASE, "cost", column]]
        for name in (method, plain)
    )
    pairs = with_.reset_index().merge(without, on=CASE)
    pairs = pairs[pairs["cost_y"] <= pairs["cost_x"]]
    least = pairs.groupby("index").agg(
        {f"{column}_x": "first", f"{column}_y": "min"})
    ratios = least[f"{column}_x"] / least[f"{column}_y"]
    return ratios[np.isfinite(ratios) & (ratios > 0)]


def sentences(frame):
    """Say in three sentences what the measurement of one start says."""
    n = (f"{in_words(frame.groupby(CASE).ngroups, 'case')}: "
         f"{in_words(frame['task'].nunique(), 'task')}, {_drawn(frame)}")
    lowest = "; ".join(_who_is_lowest(frame, tol) for tol in budgets(frame))
    return [
        f"1. Of the tasks, the lowest median error of q is, {lowest} ({n}; "
        "bold in the tables).",
        f"2. {_what_floors(frame)}.", f"3. {_what_corrections_cost(frame)}.",
    ]


def _drawn(frame):
    """Say how many seeds and theta there are."""
    counts = frame.groupby("task")["seed"].nunique()
    low, high = counts.min(), counts.max()
    seeds = f"{low}" if low == high else f"{low} to {high}"
    return (f"{seeds} seed{'s' if high > 1 else ''} × "
            f"{frame['step'].nunique()} θ")


def _who_is_lowest(frame, tol):
    medians = at_equal_cost(frame, "q_error", tol).groupby(
        ["method", "task"]).median().unstack("task")
    tasks = _is_lowest(medians).sum(axis="columns")
    best = tasks[tasks > 0]
    said = ", ".join(
        f"{label_of(method)} on {best[method]}"
        for method in sorted(best.index, key=lambda m: (-best[m], rank(m)))
    )
    return (f"within the cost of {EXACT} at tolerance {tol:g}, that of "
            f"{said or 'no method'}")


def _what_floors(frame):
    ends = frame["tol"].max(), frame["tol"].min()

    def between(method, column):
        own = frame[frame["method"] == method]
        return " to ".join(
            number(own.loc[own["tol"] == tol, column].median(), ".1g")
            for tol in ends
        )

    said = [
        f"that of {label_of(method)}'s q from {between(method, 'q_error')}"
        for method in (PLAIN, "SHINE-OPA", EXACT, "Jacobian-Free")
        if method in set(frame["method"])
    ]
    return (
        f"From tolerance {ends[0]:g} to {ends[1]:g} the median error of "
        f"{EXACT}'s root goes from {between(EXACT, 'z_error')}, "
        + ", ".join(said)
    )


def times_exact(costs, method):
    """Write the geometric mean of a method's costs over those of EXACT.

    ``costs`` are of `cost_to_reach`, a column per method.  The mean is over
    the cases in which both get there; "–" where there is none.
    """
    ratios = costs[method] / costs[EXACT]
    both = np.isfinite(costs[method]) & np.isfinite(costs[EXACT])
    return number(np.exp(np.log(ratios[both]).mean()), ".2f")


def _what_corrections_cost(frame):
    costs = cost_to_reach(frame, "gradient_error", GRADIENT).unstack("method")
    said = []
    for method in CORRECTED:
        if method not in costs:
            continue
        reached = np.isfinite(costs[method]).sum()
        said.append(
            f"{method} takes {times_exact(costs, method)} times the "
            f"evaluations and products of {EXACT} and gets there in {reached}"
        )
    there = np.isfinite(costs[EXACT]).sum()
    plain = np.isfinite(costs[PLAIN]).sum() if PLAIN in costs else 0
    return (
        f"To a hypergradient within {100 * GRADIENT:g} % "
        + ", ".join(said or [f"only {EXACT} was measured"])
        + f" of {in_words(len(costs), 'case')}; {EXACT} does in {there}, "
        f"{PLAIN} in {plain} (geometric means over the cases in which both do)"
    )


def draw(inputs):
    """Draw all pictures and write the page, from CSV files."""
    files = inputs.csv.get("errors")
    if not files:
        raise ResultError(
            "no CSV file of experiments.error_against_cost among the files"
        )
    frame = read_errors(files)
    with paper_style():
        figures = pictures(frame)
    first = next(start for start in STARTS if start in set(frame["start"]))
    prints = sorted(frame["fingerprint"].unique())
    return Drawing(
        figures, caption_of(frame, first),
        {"": f"{page(frame)}\nFrom {', '.join(p.name for p in files)}, "
             f"package {', '.join(prints)}.\n"},
        versions_of(files),
    )
