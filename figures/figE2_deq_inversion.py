"""Figure E.2: how well each method inverts J in equilibrium networks.

    python -m benchmark_shine.deq_inversion --output FILE.csv
    python figures/figE2_deq_inversion.py FILE.csv [FILE.csv ...]

A panel per network and state, a point per training batch: the cosine of the
method's q with the exact one, and the ratio of their lengths.  Where the
point is hollow, GMRES stopped short of its tolerance: no exact q is known.
"""
import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from common import (
    OUTPUT, markdown, numeric, one_line_errors, read_table, short_names,
    split_name, warn, without_seed,
)
from drawing import (
    COLUMN, GREY, PAGE, STYLES, add_legend, paper_style, remove_empty, save,
    save_text, style_of,
)

REMEDY = "write it with python -m benchmark_shine.deq_inversion --output FILE"
TEXTS = ("dataset", "state", "solver", "fingerprint")
NUMBERS = (
    "batch", "cosine", "ratio", "rel_error", "sample_cosine_q1",
    "sample_cosine_median", "sample_cosine_q3", "forward_residual",
    "spectral_radius_median", "spectral_radius", "reference_converged",
    "n_g", "n_jvp", "test_accuracy",
)
STATES = ("initial", "trained")
# Solver in a file -> label, colour and mark, in the order of tables.
METHODS = {
    "Jacobian-Free": ("Jacobian-free", STYLES["Jacobian-Free"][0], "s"),
    "SHINE": ("SHINE, Broyden", STYLES["SHINE"][0], "o"),
    "SHINE[forward=anderson]": ("SHINE, Anderson", "#332288", "v"),
    "SHINE[forward=adjoint_broyden]":
        ("SHINE, adjoint Broyden", STYLES["SHINE-refine"][0], "D"),
    "SHINE-OPA[side=untransposed]":
        ("SHINE-OPA, published", "#000000", "X"),
    "SHINE-OPA": ("SHINE-OPA, transposed", STYLES["SHINE-OPA"][0], "P"),
    "HOAG": ("original (Broyden)", STYLES["HOAG"][0], "*"),
}
# Ticks of the cosine, whose axis is logarithmic in 1 - cosine; what is
# nearer to 1 than the last is drawn there.
COSINES = (-1, 0, 0.5, 0.8, 0.9, 0.99, 0.999, 0.9999)
# Ticks of the ratio: the first of these with more than two in the panel.
RATIOS = (
    (0.01, 0.1, 1, 10, 100, 1000), (0.2, 0.5, 1, 2, 5, 10, 20),
    (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.6, 2, 3),
    (0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2),
)
EXPLAINED = """\
Medians over batches.  Cosine, ratio ‖exact‖ / ‖q‖ and relative error of the
batch as one vector; by sample: quartiles of the samples' cosines.  Residual:
of the forward pass, ‖g‖ / ‖z‖.  Exact: batches on which GMRES in float64
reached its tolerance, of all; elsewhere the numbers mean little.
"""


def look_of(solver):
    """Label, colour and mark; spare ones for a solver that is not ours."""
    spare = solver, style_of(solver)["color"], "h"
    return METHODS.get(solver, spare)


def rank(solver):
    """Sort key: the order of METHODS, then the alphabet."""
    names = list(METHODS)
    return (names.index(solver) if solver in names else len(names)), solver


def read(paths):
    """Measurements, one file below the other.

    Returns
    -------
    pandas.DataFrame
        Columns TEXTS and NUMBERS, and ``network``, what to call it: seeds of
        one network are put together.
    """
    frames = []
    for path in paths:
        raw = read_table(path, pd.read_csv, [*TEXTS, *NUMBERS], REMEDY)
        numbers = numeric(path, raw, {name: name for name in NUMBERS})
        frames.append(raw[list(TEXTS)].join(numbers))
    frame = pd.concat(frames, ignore_index=True)
    prints = sorted(frame["fingerprint"].unique())
    if len(prints) > 1:
        warn(
            f"{', '.join(map(str, paths))}: rows of {len(prints)} versions of "
            f"the package ({', '.join(prints)}); measure again to compare"
        )
    datasets = frame["dataset"].map(without_seed)
    return frame.assign(network=datasets.map(titles_of(datasets.unique())))


def titles_of(datasets):
    """What to call the network of each data set, a dict."""
    def network(name):
        return split_name(name)[1].get("network", "dense")

    titles = {}
    for name in datasets:
        alike = [n for n in datasets if network(n) == network(name)]
        titles[name] = f"{network(name)}, {short_names(alike)[name]}"
    return titles


def panels_of(frame):
    """(network, state) -> its rows, in the order of panels and tables."""
    return dict(iter(frame.groupby(["network", "state"])))


def draw_panel(ax, rows, lowest):
    """One network in one state; the axis begins at cosines of ``lowest``."""
    closest = 1 - COSINES[-1]
    ax.set(xscale="log", yscale="log",
           xlim=(1.25 * (1 - lowest), closest / 1.6))
    for solver in sorted(rows["solver"].unique(), key=rank):
        label, colour, mark = look_of(solver)
        own = rows[rows["solver"] == solver]
        look = {"marker": mark, "edgecolors": colour, "linewidths": 0.7}
        ax.scatter([], [], s=18, facecolors=colour, label=label, **look)
        for exact, face in (True, colour), (False, "none"):
            some = own[(own["reference_converged"] > 0) == exact]
            ax.scatter(
                (1 - some["cosine"]).clip(lower=closest), some["ratio"],
                s=12, facecolors=face, alpha=0.8, **look,
            )
    ax.axhline(1, color=GREY, linewidth=0.6, zorder=0.5)
    labels = [f"{c:g}" for c in COSINES[:-1]] + [f"≥ {COSINES[-1]}"]
    ax.set_xticks([1 - c for c in COSINES], labels)
    low, high = ax.get_ylim()
    shown = [
        [tick for tick in ticks if low <= tick <= high] for ticks in RATIOS
    ]
    ticks = next((t for t in shown if len(t) > 2), shown[-1])
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for axis in ax.xaxis, ax.yaxis:
        axis.set_minor_locator(NullLocator())


def draw(frame):
    """A row of panels per network, its states side by side."""
    networks = sorted(frame["network"].unique())
    states = [s for s in STATES if s in set(frame["state"])]
    figure = Figure(figsize=(
        PAGE if len(states) > 1 else COLUMN, 2.1 * len(networks)
    ))
    axes = figure.subplots(len(networks), len(states), squeeze=False)
    lowest, used = (-1 if frame["cosine"].min() < 0 else 0), []
    for (network, state), rows in panels_of(frame).items():
        ax = axes[networks.index(network), states.index(state)]
        draw_panel(ax, rows, lowest)
        ax.set_title(f"{network}, {state}")
        ax.set(xlabel="cosine of $q$ with the exact one",
               ylabel=r"$\|q_{\mathrm{exact}}\|\,/\,\|q\|$")
        used.append(ax)
    remove_empty(axes)
    add_legend(figure, used, most=4)
    return figure


def tables(frame):
    """A line per network and state, and a line per method; Markdown."""
    networks, methods = [], []
    for (network, state), rows in panels_of(frame).items():
        place = {"network": network, "state": state}
        networks.append(place | {
            "test accuracy": f"{100 * rows['test_accuracy'].median():.1f} %",
            "spectral radius, median sample":
                f"{rows['spectral_radius_median'].median():.2f}",
            "largest": f"{rows['spectral_radius'].max():.2f}",
        })
        for solver in sorted(rows["solver"].unique(), key=rank):
            own = rows[rows["solver"] == solver]
            middle = own[list(NUMBERS)].median()
            converged = own["reference_converged"].sum()
            methods.append(place | {
                "method": look_of(solver)[0],
                "cosine": f"{middle['cosine']:.3f}",
                "by sample": " / ".join(
                    f"{middle[f'sample_cosine_{name}']:.3f}"
                    for name in ("q1", "median", "q3")
                ),
                "ratio": f"{middle['ratio']:.2f}",
                "relative error": f"{middle['rel_error']:.3f}",
                "residual": f"{middle['forward_residual']:.0e}",
                "evaluations of g": f"{middle['n_g']:.0f}",
                "products": f"{middle['n_jvp']:.0f}",
                "exact": f"{converged:.0f} of {len(own)}",
            })
    return "\n".join(
        markdown(pd.DataFrame(lines)) for lines in (networks, methods)
    )


def main(arguments=None):
    """Command line; returns the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--output-dir", type=Path, default=OUTPUT)
    parser.add_argument("--name", default="figE2_deq_inversion",
                        help="of the files written")
    options = parser.parse_args(arguments)
    with one_line_errors(), paper_style():
        frame = read(options.results)
        figure = draw(frame)
        save(figure, options.output_dir, options.name)
        files = ", ".join(path.name for path in options.results)
        sources = ", ".join(sorted(frame["fingerprint"].unique()))
        save_text(
            f"From {files}, package {sources}.\n\n{EXPLAINED}\n"
            f"{tables(frame)}", options.output_dir, options.name,
        )
    return figure


if __name__ == "__main__":
    main()
