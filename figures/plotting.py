"""Draw on axes: panels, median curves, legends; no files are read here."""
import math
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib import style as mpl_style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from . import arrivals, methods, stats
from .results import in_protocol_order

COLUMN, PAGE = 3.3, 6.8  # widths, inches
MOST_COLUMNS = 3
GREY = "#999999"
X_LABELS = {
    "time": "time (s)",
    "evaluations": "gradient evaluations + products",
}
FLOOR = 1e-3  # test losses nearer to the lowest are drawn here
ROUNDING = np.finfo(float).eps  # no F is known better than that
Y_LABELS = {
    "F": r"$(F(\theta) - F^*)\,/\,(F(\theta_0) - F^*)$",
    "test_loss": "test loss $-$ lowest (floor $10^{-3}$)",
}
FAINT = {"linewidth": 0.6, "alpha": 0.45}
CROWD = 10  # of more methods, only the best so far is drawn
SHADE = "#E4E4E4"


@dataclass(frozen=True)
class Drawing:
    """What a figure's function returns.

    ``figures`` and ``tables`` (Markdown) are by the end of their files'
    names, "" where there is one.  The caption says what is shown, with its
    seeds and its band, and what is lacking.
    """

    figures: dict
    caption: str
    tables: dict = field(default_factory=dict)
    warnings: tuple = ()


def paper_style():
    """Return a context in which matplotlib draws as in paper.mplstyle."""
    return mpl_style.context(Path(__file__).with_name("paper.mplstyle"))


def literal(text):
    """Return a name that matplotlib draws as it is.

    A dollar sign would begin a formula, and a legend leaves out a label
    that begins with an underscore.
    """
    text = str(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


# Curves

def plot_medians(ax, runs, x, y, looks, quantiles=(0.1, 0.9),
                 floor=-np.inf, log_x=False):
    """Draw a median line, and a band over seeds, for every method.

    ``x`` and ``y`` are columns of ``runs``, which are of one protocol and
    data set; ``looks`` are of `methods.looks`.  Lower values of y are drawn
    at the floor.  ``log_x`` leaves the start out, which is at 0.  The
    lowest median drawn is returned, infinity where nothing is finite.
    """
    least = np.inf
    for method, curve in _curves(runs, x, y, quantiles, floor, log_x):
        least = min(least, curve["y"].min())
        # a run that diverged ends the line
        curve = curve.replace([np.inf, -np.inf], np.nan)
        line, = ax.plot(
            curve["x"], curve["y"], label=literal(method), **looks[method]
        )
        if runs.loc[runs["method"] == method, "seed"].nunique() > 1:
            ax.fill_between(
                curve["x"], curve["low"], curve["high"],
                color=line.get_color(), alpha=0.13, linewidth=0,
            )
    if not np.isfinite(least):
        # matplotlib's logarithms of nothing are errors
        ax.text(
            0.5, 0.5, "no run has a finite value", ha="center",
            transform=ax.transAxes,
        )
    elif log_x:
        ax.set_xscale("log")
        plain_numbers(ax.xaxis)
    return least


def _curves(runs, x, y, quantiles, floor, log_x):
    """Yield each method and its `stats.median_curve`, none below the floor."""
    measured = runs.dropna(subset=[y])
    for method in methods.in_order(measured):
        own = measured[measured["method"] == method]
        curve = stats.median_curve(own, x, y, quantiles)
        if log_x:
            curve = curve[curve["x"] > 0]
        ys = curve[["y", "low", "high"]].clip(lower=floor)
        yield method, ys.assign(x=curve["x"])


def plot_suboptimality(ax, runs, x, looks, quantiles=(0.1, 0.9),
                       log_x=False):
    """Draw the relative suboptimality of F on logarithmic axes.

    The columns are those of `arrivals.add_suboptimality`.  Thick lines are
    medians of the best so far, thin ones of the current theta; below the
    error of F, which is shaded, nothing is told apart.  An error of 0 is
    that of rounding: a logarithmic axis has no place for a gap of 0.
    """
    floor = max(runs["floor"].median(), ROUNDING)
    least = plot_medians(
        ax, runs, x, "best_gap", looks, quantiles, floor, log_x)
    if not np.isfinite(least):
        return
    if not is_crowded(runs):
        for method, curve in _curves(runs, x, "gap", quantiles, floor, log_x):
            ys = curve["y"].replace(np.inf, np.nan)
            ax.plot(curve["x"], ys, color=looks[method]["color"], **FAINT)
    ax.set_yscale("log")
    if ax.get_ylim()[0] < 10 * floor:
        ax.set_ylim(bottom=floor / 4)
    _shade_below(ax, floor)


def is_crowded(runs):
    """Say whether there are too many methods for more than a line each."""
    return runs["method"].nunique() > CROWD


def _shade_below(ax, floor):
    """Shade what lies below the error of F, if the axes reach down there."""
    ax.autoscale(False)
    ax.axhspan(floor / 1e6, floor, color=SHADE, linewidth=0, zorder=0)
    ax.text(
        0.02, floor / 2, "below the error of $F$", fontsize=6, va="center",
        color="#555555", transform=ax.get_yaxis_transform(), clip_on=True,
    )


def align(panels):
    """Give some panels the same limits, which hold all that each shows."""
    for name in "xlim", "ylim":
        limits = np.array([getattr(ax, f"get_{name}")() for ax in panels])
        for ax in panels:
            ax.set(**{name: (limits[:, 0].min(), limits[:, 1].max())})


def plot_test_loss(ax, runs, x, looks, quantiles=(0.1, 0.9), log_x=False):
    """Draw the test loss above the lowest of the seed, down to FLOOR."""
    least = plot_medians(ax, runs, x, "gap", looks, quantiles, FLOOR, log_x)
    if np.isfinite(least):
        ax.set_yscale("log")
    if least == FLOOR:
        ax.set_ylim(bottom=FLOOR / 1.5)


def plain_numbers(axis, at=(1, 3)):
    """Put ticks of a logarithmic axis at 1, 3, 10 …, without powers."""
    axis.set_major_locator(LogLocator(subs=at))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


# Panels

def arranged(runs):
    """Map (protocol, data set) to a place, the protocols side by side.

    Several data sets have a block of rows per protocol in place of that.
    """
    return (stacked if runs["dataset"].nunique() > 1 else side_by_side)(runs)


def stacked(runs):
    """Map (protocol, data set) to a place, a block of rows per protocol."""
    datasets, protocols = _panels(runs)
    per_block = math.ceil(len(datasets) / MOST_COLUMNS)
    n_columns = math.ceil(len(datasets) / per_block)
    return {
        (protocol, dataset):
            (block * per_block + i // n_columns, i % n_columns)
        for block, protocol in enumerate(protocols)
        for i, dataset in enumerate(datasets)
    }


def side_by_side(runs):
    """Map (protocol, data set) to a place, a column per protocol."""
    datasets, protocols = _panels(runs)
    return {
        (protocol, dataset): (i, j)
        for i, dataset in enumerate(datasets)
        for j, protocol in enumerate(protocols)
    }


def _panels(runs):
    protocols = in_protocol_order(runs["protocol"].unique())
    return sorted(runs["dataset"].unique()), protocols


def make_grid(places, more_columns=0):
    """Make an empty figure, as wide as a column or as a page of text.

    ``places`` are of `stacked` or `side_by_side`; ``more_columns`` at the
    right are for something else.  The figure and its axes are returned.
    """
    n_rows, n_columns = np.max(list(places.values()), axis=0) + 1
    n_columns += more_columns
    width = COLUMN if n_columns == 1 else PAGE
    figure = Figure(figsize=(width, 1.8 * n_rows))
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def remove_empty(axes):
    """Take the axes that have nothing in them out of their figure."""
    for ax in axes.flat:
        if not ax.has_data() and not ax.texts:
            ax.remove()


def add_legend(figure, axes, order=(), loc="outside lower center", most=5):
    """Put one legend below all panels; the figure grows by its height.

    Each label of ``axes`` is taken once, those of ``order`` first.  There
    are at most ``most`` columns, fewer where they would be too wide.  The
    legend is returned, None where ``axes`` have no label.
    """
    handles = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    first = [name for name in map(literal, order) if name in handles]
    labels = first + [name for name in handles if name not in first]
    if not labels:
        return None
    renderer = FigureCanvasAgg(figure).get_renderer()
    tallest = max([
        old.get_window_extent(renderer).height for old in figure.legends
    ], default=0)
    size = 6.2 if len(labels) > 12 else None
    for n_columns in range(min(len(labels), most), 0, -1):
        legend = figure.legend(
            [handles[label] for label in labels], labels, loc=loc,
            ncols=n_columns, fontsize=size,
        )
        extent = legend.get_window_extent(renderer)
        if extent.width < figure.bbox.width or n_columns == 1:
            break
        legend.remove()
    _grow(figure, max(extent.height - tallest, 0) / figure.dpi)
    return legend


def _grow(figure, inches):
    figure.set_figheight(figure.get_figheight() + inches)


def add_caption(figure, caption):
    """Write a caption in small letters above the panels.

    Every picture states its seeds and its band, wherever it is copied to.
    """
    width = 70 if figure.get_figwidth() < PAGE else 145
    lines = textwrap.wrap(literal(caption), width)
    figure.suptitle("\n".join(lines), fontsize=6.5, color="#444444")
    _grow(figure, 0.12 * len(lines))


def seeds_in_words(runs):
    """Return "3 seeds", or "1 to 3 seeds" where methods differ."""
    low, high = arrivals.seeds_of(runs)
    counts = f"{low}" if low == high else f"{low} to {high}"
    return f"{counts} seed{'s' if high > 1 else ''}"


def band_in_words(runs, quantiles):
    """Return what lines and bands of median curves are, as a sentence."""
    if arrivals.seeds_of(runs)[1] == 1:
        return "One seed: the lines are single runs."
    percent = f"{100 * (quantiles[1] - quantiles[0]):.0f}"
    return (
        f"Lines are medians of {seeds_in_words(runs)}; bands hold the middle "
        f"{percent} % of them."
    )


def save(figure, folder, name, kinds=("pdf", "png")):
    """Write NAME.pdf, NAME.png or both, by ``kinds``; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in kinds]
    with paper_style():  # fonts are looked up as late as here
        figure.get_layout_engine().execute(figure)  # once, for all files
        figure.set_layout_engine("none")
        for path in paths:
            figure.savefig(path, metadata=(
                {"CreationDate": None} if path.suffix == ".pdf" else None))
    return paths
