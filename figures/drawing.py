"""From numbers to pictures: one look for every method, everywhere."""
import math
import zlib
from pathlib import Path

import numpy as np
from matplotlib import style as mpl_style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from common import (
    PROTOCOLS, X_LABELS, load, over_seeds, rank, short_names,
)

COLUMN, PAGE = 3.3, 6.8  # widths, inches
MOST_COLUMNS = 3
DASHED, DOTTED, MIXED = (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2))
LONG, TWO_DOTS = (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1))

# Colours that the usual colour-blindnesses keep apart (Okabe and Ito, Tol);
# relatives share a hue's neighbourhood and differ in their dashes.
STYLES = {
    "SHINE": ("#D55E00", "-"),
    "SHINE-OPA": ("#AA3377", "-"),
    "SHINE-refine": ("#E69F00", DASHED),
    "SHINE-fallback": ("#CC79A7", DASHED),
    "Jacobian-Free": ("#009E73", MIXED),
    "HOAG": ("#0072B2", "-"),
    "HOAG-limited": ("#56B4E9", DASHED),
    "Neumann": ("#000000", TWO_DOTS),
    "Phantom": ("#44AA99", DASHED),
    "Unrolled-network": ("#666666", MIXED),
    "torchdeq": ("#332288", "-"),
    "Grid-search": ("#7F5539", DOTTED),
    "Random-search": ("#999933", DOTTED),
}
# Variants that configs/ has: the colour of their method.
VARIANTS = {
    "SHINE (forward=adjoint_broyden)": ("#D55E00", LONG),
    "SHINE (forward=anderson)": ("#D55E00", DOTTED),
    "Jacobian-Free (forward=anderson)": ("#009E73", DOTTED),
    "HOAG (backward=gmres)": ("#0072B2", LONG),
    "HOAG (forward=anderson)": ("#0072B2", DOTTED),
    "torchdeq (backward=broyden)": ("#332288", LONG),
    "torchdeq (backward=anderson)": ("#332288", DOTTED),
}
SPARE_COLOURS = (
    "#332288", "#44AA99", "#CC79A7", "#882255", "#666666", "#117733",
)
SPARE_DASHES = (LONG, DASHED, MIXED, TWO_DOTS, DOTTED)
# Each once, neighbours in different colours.
SPARE = [(c, d) for d in SPARE_DASHES for c in SPARE_COLOURS]
SPARE = [style for style in SPARE if style not in {
    **STYLES, **VARIANTS}.values()]
_taken = {}  # by the methods of this figure: places in SPARE
GREY = "#999999"


def style_of(method):
    """Colour and dashes of a label, the same in any figure.

    Methods and variants not known here get spare ones by their name; where
    another one of the same figure has those, the next that are free.

    Returns
    -------
    dict
        ``color`` and ``linestyle``, for matplotlib.
    """
    known = STYLES | VARIANTS
    if method not in known and method not in _taken:
        place = zlib.crc32(method.encode()) % len(SPARE)
        while place in _taken.values() and len(_taken) < len(SPARE):
            place = (place + 1) % len(SPARE)
        _taken[method] = place
    colour, dashes = known.get(method) or SPARE[_taken[method]]
    return {"color": colour, "linestyle": dashes}


def paper_style():
    """One figure: in it, matplotlib draws and saves as in paper.mplstyle."""
    _taken.clear()
    return mpl_style.context(Path(__file__).with_name("paper.mplstyle"))


def draw_medians(ax, runs, x, y, quantiles, floor=-np.inf, log_x=False):
    """Every method of one panel: a median line and, of seeds, a band.

    Parameters
    ----------
    ax : matplotlib Axes
    runs : pandas.DataFrame
        Of one protocol and data set.
    x, y : str
        Columns.
    quantiles : (float, float)
    floor : float
        Below, y is drawn here.
    log_x : bool
        Leaves out the start, which is at 0.

    Returns
    -------
    float
        The lowest median.
    """
    lowest = np.inf
    for method in sorted(runs["method"].unique(), key=rank):
        own = runs[runs["method"] == method]
        curve = over_seeds(own, x, quantiles, y)
        if log_x:
            curve = curve[curve.index > 0]
        ys = curve[[y, "low", "high"]].clip(lower=floor)
        lowest = min(lowest, ys[y].min())
        # diverged: ends the line
        ys = ys.replace([np.inf, -np.inf], np.nan)
        line, = ax.plot(curve["x"], ys[y], label=method, **style_of(method))
        if own["seed"].nunique() > 1:
            ax.fill_between(
                curve["x"], ys["low"], ys["high"], color=line.get_color(),
                alpha=0.13, linewidth=0,
            )
    if not np.isfinite(lowest):
        # nothing to see, and matplotlib's logarithms of nothing are errors
        ax.text(
            0.5, 0.5, "no run has a finite value", ha="center",
            transform=ax.transAxes,
        )
    elif log_x:
        ax.set_xscale("log")
        plain_numbers(ax.xaxis)
    return lowest


def plain_numbers(axis, at=(1, 3)):
    """Ticks of a logarithmic axis at 1, 3, 10 …, without powers of ten."""
    axis.set_major_locator(LogLocator(subs=at))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def draw_curves(ax, runs, x, quantiles, options):
    """Suboptimality of every method of one panel, on a logarithmic axis.

    Parameters
    ----------
    ax, runs, quantiles
        As in `draw_medians`.
    x : {"time", "evaluations"}
    options : argparse.Namespace
        ``floor`` and ``x_scale``.
    """
    lowest = draw_medians(
        ax, runs, x, "gap", quantiles, options.floor, options.x_scale == "log"
    )
    if np.isfinite(lowest):
        ax.set_yscale("log")
    if lowest == options.floor:
        ax.set_ylim(bottom=options.floor / 1.5)


def _y_label(loss, floor):
    name = {"test_loss": "test loss", "value": "validation loss"}[loss]
    power = math.log10(floor)
    shown = f"10^{{{power:.0f}}}" if power == round(power) else f"{floor:g}"
    return f"{name} $-$ best (floor ${shown}$)"


def _panels(frame):
    datasets = sorted(frame["dataset"].unique())
    return datasets, [p for p in PROTOCOLS if p in set(frame["protocol"])]


def stacked(frame):
    """Places of panels: a block of rows per protocol, the fair one first.

    Returns
    -------
    dict of (protocol, data set) to (row, column)
    """
    datasets, protocols = _panels(frame)
    per_block = math.ceil(len(datasets) / MOST_COLUMNS)
    n_columns = math.ceil(len(datasets) / per_block)
    return {
        (protocol, dataset):
            (block * per_block + i // n_columns, i % n_columns)
        for block, protocol in enumerate(protocols)
        for i, dataset in enumerate(datasets)
    }


def side_by_side(frame):
    """Places of panels, as `stacked`: a row per data set."""
    datasets, protocols = _panels(frame)
    return {
        (protocol, dataset): (i, j)
        for i, dataset in enumerate(datasets)
        for j, protocol in enumerate(protocols)
    }


def grid_for(places, more_columns=0):
    """An empty figure, as wide as a column or as the page of text.

    Parameters
    ----------
    places : dict
        Of `stacked` or `side_by_side`.
    more_columns : int
        At the right, for something else.

    Returns
    -------
    Figure, array of Axes
    """
    n_rows, n_columns = np.max(list(places.values()), axis=0) + 1
    n_columns += more_columns
    width = COLUMN if n_columns == 1 else PAGE
    figure = Figure(figsize=(width, 1.8 * n_rows))
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def draw_panels(axes, places, frame, x, quantiles, options,
                loss="test_loss", overlay=None):
    """A panel per protocol and data set, without a legend.

    Parameters
    ----------
    axes : array of Axes
        Of `grid_for`.
    places : dict
        Of `stacked` or `side_by_side`.
    frame : pandas.DataFrame
        Of `common.load`.
    x, quantiles, options
        As in `draw_curves`.
    loss : {"test_loss", "value"}
        What ``frame`` has the suboptimality of.
    overlay : callable, (ax, protocol, data set, x), or None
        Draws more into a panel.

    Returns
    -------
    list of Axes
        The panels that were drawn.
    """
    titles = short_names(sorted(frame["dataset"].unique()))
    suffix = " protocol" if axes.shape[1] < 3 else ""
    used = {}
    for (protocol, dataset), place in places.items():
        runs = frame[
            (frame["protocol"] == protocol) & (frame["dataset"] == dataset)
        ]
        if runs.empty:
            continue
        ax = used[place] = axes[place]
        draw_curves(ax, runs, x, quantiles, options)
        if overlay:
            overlay(ax, protocol, dataset, x)
        ax.set_title(f"{titles[dataset]}, {protocol}{suffix}")
        ax.set_xlabel(X_LABELS[x])
        if not any(row == place[0] for row, _ in list(used)[:-1]):
            ax.set_ylabel(_y_label(loss, options.floor))
    return list(used.values())


def remove_empty(axes):
    """Take the axes that have nothing in them out of their figure."""
    for ax in axes.flat:
        if not ax.has_data():
            ax.remove()


def add_legend(figure, axes, loc="outside lower center", most=5):
    """One legend below all panels, each label once; the figure makes room.

    Parameters
    ----------
    figure : Figure
    axes : list of Axes
        Whose labels it has.
    loc : str
        Of matplotlib.
    most : int
        Columns, fewer where they would be wider than the figure.
    """
    handles = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    labels = sorted(handles, key=rank)
    renderer = FigureCanvasAgg(figure).get_renderer()
    tallest = max([
        old.get_window_extent(renderer).height for old in figure.legends
    ], default=0)
    for n_columns in range(min(len(labels), most), 0, -1):
        legend = figure.legend(
            [handles[label] for label in labels], labels, loc=loc,
            ncols=n_columns,
        )
        extent = legend.get_window_extent(renderer)
        if extent.width < figure.bbox.width or n_columns == 1:
            break
        legend.remove()
    more = max(extent.height - tallest, 0) / figure.dpi
    figure.set_figheight(figure.get_figheight() + more)
    return legend


def save(figure, folder, name):
    """Write NAME.pdf and NAME.png, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.get_layout_engine().execute(figure)  # once, for both files
    figure.set_layout_engine("none")
    for kind, metadata in ("pdf", {"CreationDate": None}), ("png", None):
        path = folder / f"{name}.{kind}"
        figure.savefig(path, metadata=metadata)
        print(path)


def convergence(options, keep, quantiles=(0.1, 0.9), formulation=None,
                make_overlay=lambda options, frame: None):
    """Suboptimality on the test set, drawn twice.

    Parameters
    ----------
    options : argparse.Namespace
    keep, formulation
        As in `common.load`.
    quantiles : (float, float)
    make_overlay : callable, (options, frame) -> overlay or None
        See `draw_panels`.

    Returns
    -------
    list of Figure
        Against time, against evaluations.
    """
    frame = load(options, keep=keep, formulation=formulation)
    overlay, places = make_overlay(options, frame), stacked(frame)
    figures = []
    for x in X_LABELS:
        with paper_style():
            figure, axes = grid_for(places)
            used = draw_panels(
                axes, places, frame, x, quantiles, options, overlay=overlay
            )
            remove_empty(axes)
            add_legend(figure, used)
            save(figure, options.output_dir, f"{options.name}_{x}")
        figures.append(figure)
    return figures
