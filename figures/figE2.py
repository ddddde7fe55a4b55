"""Figure E.2: how well each method inverts J in equilibrium networks.

A panel per network and state, a point per training batch: the cosine of the
method's q with the exact one, and the ratio of their lengths.  Where the
point is hollow, GMRES stopped short of its tolerance: no exact q is known.
"""
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .methods import BY_NAME, Thing, distinct_labels, label, looks
from .plotting import (
    COLUMN, GREY, PAGE, Drawing, add_caption, add_legend, literal,
    paper_style, remove_empty,
)
from .results import (
    ResultError, bare_name, read_measurement, settings_in_name, versions_of,
)
from .tables.markdown import markdown

TEXTS = ("dataset", "state", "solver", "fingerprint")
NUMBERS = (
    "batch", "cosine", "ratio", "rel_error", "sample_cosine_q1",
    "sample_cosine_median", "sample_cosine_q3", "forward_residual",
    "spectral_radius_median", "spectral_radius", "reference_converged",
    "n_g", "n_vjp", "test_accuracy",
)
KEY = "dataset", "state", "solver", "batch"
STATES = ("initial", "trained")
# Solver in a file -> label, colour and mark, in the order of tables.
METHODS = {
    "Jacobian-Free": ("Jacobian-free", BY_NAME["Jacobian-Free"].colour, "s"),
    "SHINE": ("SHINE, Broyden", BY_NAME["SHINE"].colour, "o"),
    "SHINE[forward=anderson]": ("SHINE, Anderson", "#332288", "v"),
    "SHINE[forward=adjoint_broyden]":
        ("SHINE, adjoint Broyden", BY_NAME["SHINE-refine"].colour, "D"),
    "SHINE-OPA[side=untransposed]":
        ("SHINE-OPA, published", "#000000", "X"),
    "SHINE-OPA":
        ("SHINE-OPA, transposed", BY_NAME["SHINE-OPA"].colour, "P"),
    "HOAG": ("original (Broyden)", BY_NAME["HOAG"].colour, "*"),
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
All numbers are medians over batches.  The cosine, the ratio ‖exact‖ / ‖q‖ and
the relative error take the batch as one vector; "by sample" has the quartiles
of the samples' cosines.  The residual is ‖g‖ / ‖z‖ of the forward pass.
"Exact" counts the batches on which GMRES in float64 reached its tolerance; on
the others the numbers mean little.
"""


def look_of(solver):
    """Return label, colour and mark; spare ones for an unknown solver."""
    spare = solver, looks([solver])[solver]["color"], "h"
    return METHODS.get(solver, spare)


def rank(solver):
    """Return a sort key: the order of METHODS, then the alphabet."""
    names = list(METHODS)
    return (names.index(solver) if solver in names else len(names)), solver


def read_alignment(paths):
    """Read measurements, one file below the other.

    Columns: TEXTS, NUMBERS and ``network``, what to call it: seeds of one
    network are put together.  A row that two files have is of the first.
    """
    frame = pd.concat([
        read_measurement(
            path, TEXTS, NUMBERS,
            "give the CSV file of the measurement for figure E.2",
            KEY, {"state": STATES},
        ) for path in paths
    ]).drop_duplicates(list(KEY), ignore_index=True)
    return frame.assign(
        network=frame["dataset"].map(titles_of(frame["dataset"].unique()))
    )


def titles_of(datasets):
    """Return what to call the network of each data set, a dict."""
    things = []
    for name in datasets:
        settings = settings_in_name(name)
        settings.pop("seed", None)
        network = settings.pop("network", "dense")
        things.append(Thing(f"{network}, {bare_name(name)}", settings))
    return {
        name: label(thing.name, words) for name, thing, words in
        zip(datasets, things, distinct_labels(things))
    }


def panels_of(frame):
    """Return (network, state) -> its rows, in the order of panels."""
    return dict(iter(frame.groupby(["network", "state"])))


def plot_panel(ax, rows, lowest):
    """Draw one network in one state.

    ``lowest`` is the cosine that the axis begins with, -1 or 0.
    """
    closest = 1 - COSINES[-1]
    ax.set(xscale="log", yscale="log",
           xlim=(1.25 * (1 - lowest), closest / 1.6))
    for solver in sorted(rows["solver"].unique(), key=rank):
        name, colour, mark = look_of(solver)
        own = rows[rows["solver"] == solver]
        look = {"marker": mark, "edgecolors": colour, "linewidths": 0.7}
        ax.scatter(
            [], [], s=18, facecolors=colour, label=literal(name), **look
        )
        for exact, face in (True, colour), (False, "none"):
            some = own[(own["reference_converged"] > 0) == exact]
            ax.scatter(
                (1 - some["cosine"]).clip(lower=closest), some["ratio"],
                s=12, facecolors=face, alpha=0.8, **look,
            )
    ax.axhline(1, color=GREY, linewidth=0.6, zorder=0.5)
    cosines = [c for c in COSINES if c >= lowest]
    labels = [f"{c:g}" for c in cosines[:-1]] + [f"≥ {cosines[-1]}"]
    ax.set_xticks([1 - c for c in cosines], labels)
    _set_ratio_ticks(ax)


def _set_ratio_ticks(ax):
    low, high = ax.get_ylim()
    shown = [
        [tick for tick in ticks if low <= tick <= high] for ticks in RATIOS
    ]
    ticks = next((t for t in shown if len(t) > 2), shown[-1])
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for axis in ax.xaxis, ax.yaxis:
        axis.set_minor_locator(NullLocator())


def plot(frame, caption):
    """Draw a row of panels per network, its states side by side."""
    networks = sorted(frame["network"].unique())
    states = [s for s in STATES if s in set(frame["state"])]
    figure = Figure(figsize=(
        PAGE if len(states) > 1 else COLUMN, 2.1 * len(networks)
    ))
    axes = figure.subplots(len(networks), len(states), squeeze=False)
    lowest, used = (-1 if frame["cosine"].min() < 0 else 0), []
    for (network, state), rows in panels_of(frame).items():
        ax = axes[networks.index(network), states.index(state)]
        plot_panel(ax, rows, lowest)
        ax.set_title(literal(f"{network}, {state}"))
        ax.set(xlabel="cosine of $q$ with the exact one",
               ylabel=r"$\|q_{\mathrm{exact}}\|\,/\,\|q\|$")
        used.append(ax)
    remove_empty(axes)
    add_caption(figure, caption)
    add_legend(figure, used, most=4)
    return figure


def tables(frame):
    """Tabulate the networks and their states, and the methods; Markdown."""
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
            methods.append(place | _row_of(solver, own))
    return "\n".join(
        markdown(pd.DataFrame(lines)) for lines in (networks, methods)
    )


def _row_of(solver, own):
    middle = own[list(NUMBERS)].median()
    converged = own["reference_converged"].sum()
    return {
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
        "products": f"{middle['n_vjp']:.0f}",
        "exact": f"{converged:.0f} of {len(own)}",
    }


def caption_of(frame):
    """Say what the points are, and what the paper's figure has more."""
    counts = frame.groupby(["network", "state"])["dataset"].nunique()
    n = f"{counts.min()}" if counts.nunique() == 1 else (
        f"{counts.min()} to {counts.max()}")
    large = frame["network"].str.startswith("large").any()
    return (
        f"A point per training batch, of {n} seed"
        f"{'s' if counts.max() > 1 else ''} of each network; hollow: no "
        "exact q is known."
        + ("" if large else " The paper's MDEQ (LARGE) on CIFAR-10 is not "
           "among these networks.")
    )


def draw(inputs):
    """Draw figure E.2 from CSV files of its measurement."""
    files = inputs.csv.get("alignment")
    if not files:
        raise ResultError(
            "no CSV file of the measurement for figure E.2 among the files"
        )
    frame = read_alignment(files)
    caption = caption_of(frame)
    with paper_style():
        figure = plot(frame, caption)
    return Drawing({"": figure}, caption, {
        "": f"From {', '.join(path.name for path in files)}, package "
            f"{', '.join(sorted(frame['fingerprint'].unique()))}.\n\n"
            f"{EXPLAINED}\n{tables(frame)}",
    }, versions_of(files))
