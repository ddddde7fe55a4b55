"""Figure 3: accuracy of networks against the time of a backward pass.

    python figures/fig3_deq.py RESULT [RESULT ...] [--authors CSV]

A point per method and number of backward steps, which is written beside it.
Test accuracy: mean and standard deviation over seeds.  Time of one backward
pass: median over the points of a run, then median and quartiles over seeds.
Right, in grey, the published points: CIFAR-10, 5 seeds, batches of 32 (Ramzi
et al., ICLR 2022, arXiv 2106.00553, figure 3).
"""
from pathlib import Path

import numpy as np
import pandas as pd

from common import (
    arguments, base_of, markdown, numeric, one_line_errors, read_table,
    save_text, short_names,
)
from drawing import (
    STYLES, add_legend, grid_for, paper_style, plain_numbers, remove_empty,
    save, stacked,
)
from networks import cost_table, load, runs_of, without_steps

AUTHORS = Path(__file__).with_name("authors_cifar10.csv")

# Methods that differ in the number of steps alone are one curve.
CURVES = {
    "HOAG": "HOAG", "HOAG-limited": "HOAG", "SHINE": "SHINE",
    "SHINE-refine": "SHINE", "Jacobian-Free": "Jacobian-Free",
    "Neumann": "Neumann",
}
# Label; marker, its size, and how much above its middle the number of steps
# is written (points).  What is drawn later covers what was there.
LOOKS = {
    "Neumann": ("Neumann", "D", 7, -0.3),
    "HOAG": ("HOAG (and limited)", "s", 7, -0.3),
    "Jacobian-Free": ("Jacobian-Free (and refined)", "^", 8, -1.3),
    "SHINE": ("SHINE (and refined)", "o", 7, -0.3),
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
Test accuracy: mean ± standard deviation over the seeds that did not diverge,
at the end.  The rest: medians over seeds (backward: and quartiles) of what an
outer step costs, itself the median over the points of a run.  Products: with
the transposed Jacobian, in both passes; evaluations: of g.  Cosine of q with
the exact one: median over the samples of a fixed batch, last measured.
Spectral radius: of df/dz, the largest of that batch.
"""


def points_of(frame):
    """Where the marks are, one row for each data set, curve and steps.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of `networks.load`.

    Returns
    -------
    pandas.DataFrame
        Columns ``dataset``, ``curve``, ``steps``, ``time`` (ms, median), its
        quartiles ``low`` and ``high``, ``accuracy`` (mean) and ``std``.
    """
    runs = runs_of(frame)
    # one forward solver for all: variants of it are other experiments
    plain = runs["method"].map(without_steps) == runs["method"].map(base_of)
    runs = runs[plain].assign(curve=runs["method"].map(base_of).map(CURVES))
    runs["test_accuracy"] = runs["test_accuracy"].replace(-np.inf, np.nan)
    groups = runs.groupby(["dataset", "curve", "backward_steps"])
    times, scores = groups["backward_time"], groups["test_accuracy"]
    return pd.DataFrame({
        "time": times.median(), "low": times.quantile(0.25),
        "high": times.quantile(0.75), "accuracy": scores.mean(),
        "std": scores.std(),
    }).reset_index(names=["dataset", "curve", "steps"])


def read_authors(path):
    """The published points; columns as of `points_of`, less ``dataset``."""
    raw = read_table(
        path, pd.read_csv, ["method", *NUMBERS],
        "give the CSV file of the published points",
    )
    raw["backward_steps"] = raw["backward_steps"].replace("full", np.inf)
    frame = numeric(path, raw, NUMBERS)
    return frame.assign(
        curve=raw["method"].map(SCHEMES), low=frame["time"],
        high=frame["time"],
    )


def draw_points(ax, points, colours):
    """One panel: a curve per method, along its number of steps.

    Parameters
    ----------
    ax : matplotlib Axes
    points : pandas.DataFrame
        Of `points_of`, of one data set, or of `read_authors`.
    colours : dict of curve and colour
    """
    for depth, (curve, look) in enumerate(LOOKS.items()):
        label, marker, size, above = look
        own = points[points["curve"] == curve].sort_values("steps")
        if own.empty:
            continue
        style = {"color": colours[curve], "linewidth": 0.6}
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
                "∞" if np.isinf(steps) else f"{steps:.0f}",
                (point["time"], point["accuracy"]), (0, above),
                textcoords="offset points", ha="center", va="center",
                fontsize=5.5, color=colours[curve], zorder=3.5 + depth,
            )
    ax.set_xscale("log")
    plain_numbers(ax.xaxis, (1, 2, 5))
    ax.margins(0.06, 0.1)
    ax.set_xlabel("backward pass (ms); number: its steps, ∞ full solve")


def draw(points, authors):
    """Ours, a panel per data set, and the published ones; one figure."""
    names = sorted(points["dataset"].unique())
    places = stacked(points.assign(protocol="fair"))
    figure, axes = grid_for(places, more_columns=1)
    titles = short_names(names)
    used = [axes[places["fair", name]] for name in names]
    colours = {curve: STYLES[curve][0] for curve in LOOKS}
    for name, ax in zip(names, used):
        draw_points(ax, points[points["dataset"] == name], colours)
        ax.set_title(f"{titles[name]}, here")
    right = axes[0, -1]
    draw_points(right, authors, dict.fromkeys(LOOKS, "#666666"))
    right.set_title("CIFAR-10, published")
    axes[0, 0].set_ylabel("test accuracy (%)")
    figure.set_figheight(1.4 * figure.get_figheight())
    remove_empty(axes)
    add_legend(figure, used)
    return figure


def main(words=None):
    """Command line; returns the figure, in a list."""
    parser = arguments(__doc__, "fig3_deq")
    parser.add_argument(
        "--authors", type=Path, default=AUTHORS, metavar="CSV",
        help="the published points",
    )
    options = parser.parse_args(words)
    with one_line_errors(), paper_style():
        frame = load(options)
        figure = draw(points_of(frame), read_authors(options.authors))
        save(figure, options.output_dir, options.name)
        files = ", ".join(path.name for path in options.results)
        sources = ", ".join(sorted(frame["fingerprint"].unique()))
        save_text(
            f"From {files}, package {sources}.\n\n{EXPLAINED}\n"
            f"{markdown(cost_table(frame))}",
            options.output_dir, options.name,
        )
        return [figure]


if __name__ == "__main__":
    main()
