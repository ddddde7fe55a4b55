"""Figure 3: accuracy of networks against the time of a backward pass.

A point per method and number of backward steps, which is written beside it.
Time of one backward pass: median over the points of a run, then median and
quartiles over seeds.  Right, in grey, the published points: CIFAR-10, 5
seeds, batches of 32 (Ramzi et al., ICLR 2022, arXiv 2106.00553, figure 3).
"""
from pathlib import Path

import numpy as np
import pandas as pd

from . import stats
from .methods import BY_NAME
from .networks import (
    by_method, cost_table, network_runs, steps_in_words, summarise,
)
from .plotting import (
    Drawing, add_caption, add_legend, literal, make_grid, paper_style,
    plain_numbers, remove_empty, seeds_in_words, stacked,
)
from .results import ResultError, check_text, numeric, read_table
from .tables.claims import SCORES
from .tables.league import in_words
from .tables.markdown import markdown

PUBLISHED = Path(__file__).with_name("authors_cifar10.csv")

# Methods that differ in the number of steps alone are one curve.
CURVES = {
    "HOAG": "HOAG", "HOAG-limited": "HOAG", "SHINE": "SHINE",
    "SHINE-refine": "SHINE", "Jacobian-Free": "Jacobian-Free",
    "Neumann": "Neumann", "SHINE-OPA": "SHINE-OPA",
}
# Label; marker, its size, and how much above its middle the number of steps
# is written (points).  What is drawn later covers what was there.
LOOKS = {
    "Neumann": ("Neumann", "D", 7, -0.3),
    "HOAG": ("HOAG (and limited)", "s", 7, -0.3),
    "Jacobian-Free": ("Jacobian-Free (and refined)", "^", 8, -1.3),
    "SHINE": ("SHINE (and refined)", "o", 7, -0.3),
    "SHINE-OPA": ("SHINE-OPA (adjoint Broyden)", "v", 8, 0.9),
}
# Names in the authors' file, and here.
SCHEMES = {
    "original": "HOAG", "SHINE": "SHINE", "Jacobian-free": "Jacobian-Free",
}
NUMBERS = {
    "backward_steps": "steps", "top1_percent": "accuracy", "top1_std": "std",
    "backward_ms": "time",
}
EXPLAINED = """\
The test accuracy is the mean ± standard deviation at the end, over the seeds
that did not diverge.  All other numbers are medians over seeds (for backward:
with quartiles) of what one outer step costs, which is itself the median over
the points of a run.  Products are with the transposed Jacobian, in both
passes; evaluations are of g.  The cosine compares q with the exact q: it is
the median over the samples of a fixed batch, last measured.  The spectral
radius is that of df/dz, the largest in that batch.  The residual is the root
mean square of ‖g‖ / ‖z‖ over test samples, at the end.
"""
PAIRED = """\
Each method against the full solve (HOAG), paired by seed, at the end: the mean
of the differences with its 95 % interval by Student's t, which is wide where
there are three seeds.  A method whose interval of the accuracy lies above
−0.5 loses at most half a point; one whose interval has 0 inside is not told
from HOAG.
"""


def points_of(frame):
    """Compute the marks, a row for each data set, curve and steps.

    ``frame`` is of `networks.network_runs`.  Columns: ``dataset``,
    ``network``, ``curve``, ``steps``, ``time`` (ms, median), its quartiles
    ``low`` and ``high``, ``accuracy`` (mean) and ``std``, both of the runs
    that did not diverge, and the numbers of runs, ``seeds``, and of those
    that ``diverged``.
    """
    runs = summarise(frame)
    # one forward solver for all: variants of it are other experiments
    runs = runs[runs["variant"] == ""]
    runs = runs.assign(
        curve=runs["base"].map(CURVES),
        test_accuracy=runs["test_accuracy"].replace(-np.inf, np.nan),
        diverged=runs["diverged"] > 0,
    )
    groups = runs.groupby(["dataset", "network", "curve", "backward_steps"])
    times, scores = groups["backward_time"], groups["test_accuracy"]
    return pd.DataFrame({
        "time": times.median(), "low": times.quantile(0.25),
        "high": times.quantile(0.75), "accuracy": scores.mean(),
        "std": scores.std(), "seeds": groups.size(),
        "diverged": groups["diverged"].sum(),
    }).reset_index(names=["dataset", "network", "curve", "steps"])


def paired_table(frame):
    """Tabulate the last scores less HOAG's, of ``frame`` as `points_of` has.

    Returns
    -------
    pandas.DataFrame
        A row for each data set and method but HOAG; empty without HOAG, or
        with one seed alone.
    """
    runs, rows = summarise(frame), []
    scores = runs.set_index(["dataset", "method", "seed"])[
        ["test_accuracy", "test_loss"]]
    for own in by_method(runs[runs["method"] != "HOAG"]):
        first = own.iloc[0]
        if (first["dataset"], "HOAG") not in scores.index.droplevel("seed"):
            continue
        exact = scores.loc[first["dataset"], "HOAG"]
        pairs = scores.loc[first["dataset"], first["method"]].join(
            exact.add_suffix("_exact"), how="inner")
        if len(pairs) > 1:
            rows.append({
                "data set": first["dataset"],
                "method": first["base"] + first["variant"],
                "backward steps": steps_in_words(first["backward_steps"]),
                "n": str(len(pairs)),
            } | {
                title: SCORES.in_words(stats.mean_interval(stats.differences(
                    pairs[name], pairs[f"{name}_exact"])))
                for name, title in (("test_accuracy", "accuracy (points)"),
                                    ("test_loss", "test loss"))
            })
    return pd.DataFrame(rows)


def read_published(path=PUBLISHED):
    """Read the published points; columns as of `points_of`."""
    raw = read_table(
        path, pd.read_csv, ["method", *NUMBERS],
        "give the CSV file of the published points",
    )
    check_text(path, raw, ["method"])
    raw["backward_steps"] = raw["backward_steps"].replace("full", np.inf)
    frame = numeric(path, raw, NUMBERS)
    return frame.assign(
        curve=raw["method"].map(SCHEMES), low=frame["time"],
        high=frame["time"],
    )


def plot_points(ax, points, colours):
    """Draw one panel: a curve per method, along its number of steps.

    Points without an accuracy have no mark: `lost_in_words` names them.
    """
    marked = points[points["accuracy"].notna()]
    for depth, curve in enumerate(LOOKS):
        own = marked[marked["curve"] == curve].sort_values("steps")
        if not own.empty:
            _plot_curve(ax, own, curve, colours[curve], depth)
    ax.set_xscale("log")
    plain_numbers(ax.xaxis, (1, 2, 5))
    ax.margins(0.06, 0.1)
    ax.set_xlabel("backward pass (ms)")


def _plot_curve(ax, own, curve, colour, depth):
    label, marker, size, above = LOOKS[curve]
    style = {"color": colour, "linewidth": 0.6}
    ax.errorbar(
        own["time"], own["accuracy"], yerr=own["std"],
        xerr=[own["time"] - own["low"], own["high"] - own["time"]],
        elinewidth=0.4, zorder=2, **style,
    )
    ax.plot(
        own["time"], own["accuracy"], linestyle="none", marker=marker,
        markersize=size, markerfacecolor="white", markeredgewidth=0.6,
        zorder=3 + depth, label=label, **style,
    )
    for _, point in own.iterrows():
        steps = point["steps"]
        ax.annotate(
            _steps(steps),
            (point["time"], point["accuracy"]), (0, above),
            textcoords="offset points", ha="center", va="center",
            fontsize=5.5, color=colour, zorder=3.5 + depth,
        )


def _steps(n):
    return "∞" if np.isinf(n) else f"{n:.0f}"


def caption_of(frame):
    """Say what marks and bars are, and of what network the paper's are."""
    return (
        f"Marks: mean accuracy and median time of {seeds_in_words(frame)}; "
        "bars: standard deviation and quartiles; numbers: steps of the "
        "backward pass, ∞ the full solve. Published: MDEQ LARGE on CIFAR-10 "
        "at 32 × 32, 5 seeds."
    )


def lost_in_words(points):
    """Say which marks leave runs out that diverged, and what has no mark.

    ``points`` are of `points_of`; the sentences go behind the caption.
    """
    def listed(own):
        return "; ".join(
            f"{row.curve} at {_steps(row.steps)} on {row.dataset} "
            f"({row.seeds - row.diverged} of "
            f"{in_words(row.seeds, 'seed')}; {row.diverged} diverged)"
            for row in own.itertuples())

    some = points[points["diverged"].between(1, points["seeds"] - 1)]
    every = points[points["diverged"] == points["seeds"]]
    return "".join(
        f" {words}: {listed(own)}." for words, own in (
            ("These marks leave out runs that diverged", some),
            ("These marks are not drawn, since every run diverged", every))
        if len(own))


def plot(points, published, caption):
    """Draw ours, a panel per data set, and the published ones.

    The title of ours tells the data set and the network.
    """
    names = sorted(points["dataset"].unique())
    places = stacked(points.assign(protocol="fair"))
    figure, axes = make_grid(places, more_columns=1)
    used = [axes[places["fair", name]] for name in names]
    colours = {curve: BY_NAME[curve].colour for curve in LOOKS}
    for name, ax in zip(names, used):
        own = points[points["dataset"] == name]
        plot_points(ax, own, colours)
        network, = own["network"].unique()
        ax.set_title(literal(", ".join(filter(None, (name, network, "here")))))
    right = axes[0, -1]
    plot_points(right, published, dict.fromkeys(LOOKS, "#666666"))
    right.set_title("CIFAR-10, published")
    axes[0, 0].set_ylabel("test accuracy (%)")
    figure.set_figheight(1.4 * figure.get_figheight())
    remove_empty(axes)
    add_caption(figure, caption)
    add_legend(figure, used)
    return figure


def draw(inputs):
    """Draw figure 3 and its table."""
    frame = network_runs(inputs.need_runs())
    points = points_of(frame)
    if points.empty:
        raise ResultError(
            f"none of {', '.join(CURVES)} as they are in these files; run "
            "more solvers"
        )
    published = read_published(*inputs.csv.get("points", [])[:1])
    caption = caption_of(frame) + lost_in_words(points)
    with paper_style():
        figure = plot(points, published, caption)
    pairs = paired_table(frame)
    paired = "" if pairs.empty else f"\n{PAIRED}\n{markdown(pairs)}"
    return Drawing({"": figure}, caption, {
        "": f"From {', '.join(path.name for path in inputs.files)}, package "
            f"{', '.join(sorted(frame['fingerprint'].unique()))}.\n\n"
            f"{EXPLAINED}\n{markdown(cost_table(frame))}{paired}",
    })
