"""Figure 2: SHINE with OPA; convergence, and quality of the inverse.

    python -m benchmark_shine.inversion --output inversion.csv
    python figures/fig2_opa.py RESULT [RESULT ...] --inversion inversion.csv

Left: median and middle half of seeds.  Right: how well the L-BFGS matrix
inverts three directions, a = B v against b = J⁻¹ v, one point per try.
"""
import pandas as pd

from common import (
    X_LABELS, command_line, load, markdown, numeric, one_line_errors,
    read_table, save_text,
)
from drawing import (
    STYLES, add_legend, draw_panels, grid_for, paper_style, remove_empty,
    save, side_by_side,
)

SHOWN = {"SHINE", "SHINE-OPA", "HOAG"}
MARKS = {
    "random": ("#56B4E9", "^"), "prescribed": (STYLES["SHINE-OPA"][0], "o"),
    "krylov": ("#000000", "+"),
}
QUANTITIES = {"ratio": r"$\|a\|\,/\,\|b\|$", "cosine": r"$\cos(a, b)$"}

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
    """Columns ``direction``, ``ratio``, ``cosine``, one row per point."""
    raw = read_table(
        path, pd.read_csv, ["direction", *QUANTITIES],
        "write it with python -m benchmark_shine.inversion --output FILE",
    )
    numbers = numeric(path, raw, {name: name for name in QUANTITIES})
    return raw[["direction"]].join(numbers)


def draw_inversion(ax, points, ratios, cosines):
    """Scatter; the legend says how many points lie outside the axes."""
    inside = points["ratio"].between(*ratios) & points["cosine"].between(
        *cosines)
    for direction, (colour, mark) in MARKS.items():
        own = points["direction"] == direction
        ax.scatter(
            points["cosine"][own], points["ratio"][own], s=7, marker=mark,
            color=colour, linewidths=0.6, alpha=0.8,
            label=f"{direction} ({(own & ~inside).sum()} of {own.sum()} "
                  "outside)",
        )
    ax.set(xlim=cosines, ylim=ratios, xlabel=QUANTITIES["cosine"],
           ylabel=QUANTITIES["ratio"], title="inversion quality")


def inversion_table(points):
    """Five numbers per direction and quantity, beside the authors'."""
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


def draw(frame, points, x, options):
    """Curves left, scatter right; one figure."""
    places = side_by_side(frame)
    figure, axes = grid_for(places, more_columns=1)
    left = draw_panels(axes, places, frame, x, (0.25, 0.75), options)
    right = axes[0, -1]
    draw_inversion(right, points, options.ratio, options.cosine)
    remove_empty(axes)
    add_legend(figure, left, "outside lower left", 1)
    add_legend(figure, [right], "outside lower right", 1)
    return figure


def main(arguments=None):
    """Command line; returns the figures."""
    parser = command_line(__doc__, "fig2_opa")
    parser.add_argument("--inversion", metavar="CSV", required=True)
    for name, usual in ("ratio", (0.985, 1.1)), ("cosine", (0.994, 1.0005)):
        parser.add_argument(
            f"--{name}", type=float, nargs=2, default=usual,
            metavar=("LOW", "HIGH"), help=f"axis; default {usual}",
        )
    options = parser.parse_args(arguments)
    figures = []
    with one_line_errors(), paper_style():
        frame = load(options, keep=SHOWN.__contains__)
        points = read_inversion(options.inversion)
        for x in X_LABELS:
            figures.append(draw(frame, points, x, options))
            save(figures[-1], options.output_dir, f"{options.name}_{x}")
        table = inversion_table(points)
        print(table, end="")
        save_text(table, options.output_dir, f"{options.name}_inversion")
    return figures


if __name__ == "__main__":
    main()
