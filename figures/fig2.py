"""Figure 2: SHINE with OPA; convergence, and quality of the inverse.

Right: how well the L-BFGS matrix B inverts three directions v, a = B v
against b = J⁻¹ v, one point per try.
"""
import pandas as pd

from . import methods
from .convergence import (
    Convergence, caption_of, draw_versions, plot_panels, select,
)
from .plotting import (
    X_LABELS, Drawing, add_caption, add_legend, make_grid, paper_style,
    remove_empty, side_by_side,
)
from .results import ResultError, check_text, numeric, read_table
from .tables.markdown import markdown

CURVES = Convergence(
    shown=frozenset({"SHINE", "SHINE-OPA", "HOAG"}), quantiles=(0.25, 0.75),
    paper=("20news",),
)
MARKS = {
    "random": ("#56B4E9", "^"),
    "prescribed": (methods.BY_NAME["SHINE-OPA"].colour, "o"),
    "krylov": ("#000000", "+"),
}
QUANTITIES = {"ratio": r"$\|a\|\,/\,\|b\|$", "cosine": r"$\cos(a, b)$"}
RATIOS, COSINES = (0.985, 1.1), (0.994, 1.0005)  # limits of the axes

# Five numbers each, of 100 tries of the authors' code.
AUTHORS = {
    ("prescribed", "ratio"): (0.992153, 0.999989, 1.000495, 1.005906, 1.04706),
    ("prescribed", "cosine"): (0.995745, 0.999726, 0.999958, 0.999995, 1.0),
    ("krylov", "ratio"): (1.0, 1.0, 1.0, 1.0, 1.0),
    ("krylov", "cosine"): (1.0, 1.0, 1.0, 1.0, 1.0),
    ("random", "ratio"): (1.008675, 1.023979, 1.034876, 1.051248, 1.111671),
    ("random", "cosine"): (0.991283, 0.997713, 0.998619, 0.999233, 0.999872),
}


def read_inversion(path):
    """Read columns ``direction``, ``try``, ``ratio``, ``cosine``.

    There is a row per point.  The tries of a file without their column are
    counted in each direction.
    """
    raw = read_table(
        path, pd.read_csv, ["direction", *QUANTITIES],
        "give the CSV file of the measurement for figure 2",
    )
    check_text(path, raw, ["direction"])
    if "try" not in raw:
        raw["try"] = raw.groupby("direction").cumcount()
    numbers = numeric(path, raw, {name: name for name in ("try", *QUANTITIES)})
    return raw[["direction"]].join(numbers)


def find_inversion(inputs):
    """Read the one such file among the inputs; None without one."""
    files = inputs.csv.get("inversion", ())
    if len(files) > 1:
        raise ResultError(f"{files[1]}: a second file for figure 2; give one")
    return read_inversion(files[0]) if files else None


def plot_inversion(ax, points):
    """Scatter the tries; the legend counts the points outside the axes."""
    inside = points["ratio"].between(*RATIOS) & points["cosine"].between(
        *COSINES)
    for direction, (colour, mark) in MARKS.items():
        own = points["direction"] == direction
        ax.scatter(
            points["cosine"][own], points["ratio"][own], s=7, marker=mark,
            color=colour, linewidths=0.6, alpha=0.8,
            label=f"{direction} ({(own & ~inside).sum()} of {own.sum()} "
                  "outside)",
        )
    ax.set(xlim=COSINES, ylim=RATIOS, xlabel=QUANTITIES["cosine"],
           ylabel=QUANTITIES["ratio"], title="inversion quality")


def inversion_table(points):
    """Tabulate five numbers per direction and quantity, with the authors'."""
    def row(numbers):
        return " / ".join(f"{number:.6f}" for number in numbers)

    rows = []
    for (direction, quantity), theirs in AUTHORS.items():
        own = points.loc[points["direction"] == direction, quantity]
        ours = row(own.quantile([0, 0.25, 0.5, 0.75, 1])) if len(own) else "-"
        rows.append({
            "direction": direction, "quantity": quantity,
            "tries": str(len(own)),
            "ours: min / q1 / median / q3 / max": ours,
            "authors": row(theirs),
        })
    return markdown(pd.DataFrame(rows))


def plot(runs, points, x, loss, caption):
    """Draw curves left and, if there are points, a scatter plot right."""
    places = side_by_side(runs)
    figure, axes = make_grid(places, more_columns=points is not None)
    left = plot_panels(axes, places, runs, x, CURVES, loss)
    if points is not None:
        plot_inversion(axes[0, -1], points)
    remove_empty(axes)
    add_caption(figure, caption)
    add_legend(
        figure, left, methods.in_order(runs), "outside lower left", 1
    )
    if points is not None:
        add_legend(figure, [axes[0, -1]], (), "outside lower right", 1)
    return figure


def draw(inputs):
    """Draw figure 2; its right panel needs a CSV file of the measurement."""
    points = find_inversion(inputs)
    return draw_versions(lambda loss: _draw(inputs, points, loss))


def _draw(inputs, points, loss):
    runs = select(inputs.need_runs(), CURVES, loss)
    caption, tables = caption_of(runs, CURVES, loss), {}
    if points is None:
        caption += " The right panel needs a CSV file of the inversion."
    else:
        tables["inversion"] = inversion_table(points)
    with paper_style():
        figures = {x: plot(runs, points, x, loss, caption) for x in X_LABELS}
    return Drawing(figures, caption, tables)
