"""Networks: test loss and test accuracy against time, every method.

Of methods with a number of backward steps only the usual one; figure 3 has
the others.  Right: forward solvers other than the usual one, and three
methods on that for comparison.
"""
from . import methods
from .networks import network_runs
from .plotting import (
    X_LABELS, Drawing, add_caption, add_legend, band_in_words, literal,
    make_grid, paper_style, plain_numbers, plot_medians, remove_empty,
)
from .results import ResultError

QUANTILES = (0.1, 0.9)
Y_LABELS = {"test_loss": "test loss", "test_accuracy": "test accuracy (%)"}
IN_BOTH = {"HOAG", "SHINE", "Jacobian-Free"}
# Without being asked.
OTHER_FORWARD = {"SHINE-OPA", "torchdeq", "Unrolled-network"}


def columns_of(frame):
    """Return what the columns of panels show: frames by title."""
    other = frame["variant"].str.contains("forward=", regex=False) | frame[
        "base"].isin(OTHER_FORWARD)
    columns = {"usual forward solver": frame[~other]}
    if other.any():
        columns["other forward solvers"] = frame[
            other | frame["method"].isin(IN_BOTH)
        ]
    return columns


def plot(frame, caption):
    """Draw two rows of panels per data set of `networks.network_runs`."""
    columns, looks = columns_of(frame), methods.looks(frame["method"])
    names = sorted(frame["dataset"].unique())
    rows = [(name, y) for name in names for y in Y_LABELS]
    places = {
        (*row, title): (i, j)
        for i, row in enumerate(rows) for j, title in enumerate(columns)
    }
    figure, axes = make_grid(places)
    used = []
    for (name, y, title), place in places.items():
        runs, ax = columns[title], axes[place]
        runs = runs[runs["dataset"] == name]
        if runs.empty:
            continue
        plot_medians(ax, runs, "time", y, looks, QUANTILES, log_x=True)
        ax.set_title(literal(f"{name}, {title}"))
        ax.set_xlabel(X_LABELS["time"])
        ax.sharey(axes[place[0], 0])
        ax.set_ylabel(Y_LABELS[y])
        if y == "test_loss":
            ax.set_yscale("log")
            plain_numbers(ax.yaxis, (1, 2, 3, 5))
        used.append(ax)
    remove_empty(axes)
    add_caption(figure, caption)
    add_legend(figure, used, methods.in_order(frame), most=4)
    return figure


def draw(inputs):
    """Draw the figure from `results.Inputs`."""
    frame = network_runs(inputs.need_runs())
    frame = frame[frame["method"] == frame["base"] + frame["variant"]]
    if frame.empty:
        raise ResultError(
            "no method at its usual number of backward steps in these files; "
            "run more solvers"
        )
    caption = band_in_words(frame, QUANTILES)
    with paper_style():
        return Drawing({"": plot(frame, caption)}, caption)
