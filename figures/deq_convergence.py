"""Networks: test loss and test accuracy against time, every method.

    python figures/deq_convergence.py RESULT [RESULT ...]

Median and middle 80 % of seeds; figures/league.py has the numbers.  Of
methods with a number of backward steps only the usual one; figure 3 has the
others.  Right: forward solvers other than the usual one, and three methods on
that for comparison.
"""
from common import (
    X_LABELS, ResultError, arguments, base_of, one_line_errors, short_names,
)
from drawing import (
    add_legend, draw_medians, grid_for, paper_style, plain_numbers,
    remove_empty, save,
)
from networks import load, without_steps

Y_LABELS = {"test_loss": "test loss", "test_accuracy": "test accuracy (%)"}
IN_BOTH = {"HOAG", "SHINE", "Jacobian-Free"}
# Without being asked.
OTHER_FORWARD = {"SHINE-OPA", "torchdeq", "Unrolled-network"}


def columns_of(frame):
    """What the columns of panels show: frames by title."""
    methods = frame["method"]
    other = methods.str.contains("forward=") | methods.map(base_of).isin(
        OTHER_FORWARD
    )
    columns = {"usual forward solver": frame[~other]}
    if other.any():
        columns["other forward solvers"] = frame[
            other | methods.isin(IN_BOTH)
        ]
    return columns


def draw(frame):
    """Two rows of panels per data set; one figure."""
    titles = short_names(sorted(frame["dataset"].unique()))
    columns = columns_of(frame)
    rows = [(name, y) for name in titles for y in Y_LABELS]
    places = {
        (*row, title): (i, j)
        for i, row in enumerate(rows) for j, title in enumerate(columns)
    }
    figure, axes = grid_for(places)
    used = []
    for (name, y, title), place in places.items():
        runs, ax = columns[title], axes[place]
        runs = runs[runs["dataset"] == name]
        if runs.empty:
            continue
        draw_medians(ax, runs, "time", y, (0.1, 0.9), log_x=True)
        ax.set_title(f"{titles[name]}, {title}")
        ax.set_xlabel(X_LABELS["time"])
        ax.sharey(axes[place[0], 0])
        ax.set_ylabel(Y_LABELS[y])
        if y == "test_loss":
            ax.set_yscale("log")
            plain_numbers(ax.yaxis, (1, 2, 3, 5))
        used.append(ax)
    remove_empty(axes)
    add_legend(figure, used, most=4)
    return figure


def main(words=None):
    """Command line; returns the figure, in a list."""
    parser = arguments(__doc__, "deq_convergence")
    options = parser.parse_args(words)
    with one_line_errors(), paper_style():
        frame = load(options)
        usual = frame["method"].map(without_steps) == frame["method"]
        if not usual.any():
            raise ResultError(
                f"{options.results[0]}: no method at its usual number of "
                "backward steps; run more solvers"
            )
        figure = draw(frame[usual])
        save(figure, options.output_dir, options.name)
        return [figure]


if __name__ == "__main__":
    main()
