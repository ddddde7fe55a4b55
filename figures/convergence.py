"""Figures 1 and E.1, least squares, quickstart: suboptimality of losses."""
from dataclasses import dataclass

from . import authors, methods, stats
from .plotting import (
    X_LABELS, Drawing, add_caption, add_legend, band_in_words, literal,
    make_grid, paper_style, plot_suboptimality, remove_empty, stacked,
    suboptimality_label,
)
from .results import ResultError


@dataclass(frozen=True)
class Convergence:
    """One such figure.

    Parameters
    ----------
    shown : frozenset of str or None
        Methods; None: all but those of ``hidden``.
    hidden : frozenset of str
    quantiles : (float, float)
        Of the band.
    loss : {"test_loss", "value"}
    axes : tuple of str
        Of X_LABELS: a figure each.
    formulation : str or None
        Only data sets of this formulation.
    paper : tuple of str
        Data sets in the paper's figure.
    n_seeds : int
        Seeds in the paper's figure.
    remark : str
        Of the caption, at its end.
    log_x : bool
        Whether time is on a logarithmic axis unless told otherwise.
    """

    shown: frozenset | None = None
    hidden: frozenset = frozenset()
    quantiles: tuple = (0.1, 0.9)
    loss: str = "test_loss"
    axes: tuple = tuple(X_LABELS)
    formulation: str | None = None
    paper: tuple = ()
    n_seeds: int = 10
    remark: str = ""
    log_x: bool = False


FIG1 = Convergence(
    shown=frozenset(
        {"SHINE", "HOAG", "SHINE-refine", "Jacobian-Free", "Grid-search"}
    ), paper=("20news", "real-sim"),
)
FIGE1 = Convergence(
    hidden=frozenset({"SHINE-OPA"}), paper=("20news", "real-sim"),
)
NLS = Convergence(
    quantiles=(0.25, 0.75), formulation="nls",
    remark=" The paper has no such figure: its authors' code has, of 20news.",
)
QUICKSTART = Convergence(loss="value", axes=("time",), log_x=True)


@dataclass(frozen=True)
class View:
    """What a reader may choose.

    Parameters
    ----------
    floor : float
        Lower suboptimalities are drawn here; the y axis says so.
    log_x : bool or None
        A logarithmic x axis; None: as the figure is made.
    """

    floor: float = 1e-3
    log_x: bool | None = None


def select(runs, figure):
    """Return the runs that a figure shows, with their suboptimality.

    Methods that are not shown count for the best of a seed all the same.

    Raises
    ------
    ResultError
        Where nothing is left.
    """
    if figure.formulation:
        runs = runs[runs["formulation"] == figure.formulation]
    linear = ~runs["dataset"].isin(networks_of(runs))
    runs = runs[linear] if figure.loss == "test_loss" else runs
    if runs.empty:
        raise ResultError(
            "no bi-level problem"
            + (f" of formulation {figure.formulation}"
               if figure.formulation else "") + " in these files"
        )
    runs = stats.add_gap(runs, figure.loss)
    kept = keep(runs, figure)
    if kept.empty:
        raise ResultError(
            "none of its methods in these files, which have "
            f"{', '.join(methods.in_order(runs))}: run more solvers"
        )
    return kept


def keep(runs, figure):
    """Return the runs of the methods that a figure shows."""
    if figure.shown is None:
        return runs[~runs["base"].isin(figure.hidden)]
    return runs[runs["base"].isin(figure.shown)]


def networks_of(runs):
    """Return the data sets that train a network."""
    return [
        name for name, own in runs.groupby("dataset") if stats.is_network(own)
    ]


def plot_panels(axes, places, runs, x, figure, view, overlay=None):
    """Draw a panel per protocol and data set, without a legend.

    Parameters
    ----------
    axes : array of matplotlib.axes.Axes
        Of `plotting.make_grid`.
    places : dict
        Of `plotting.stacked` or `plotting.side_by_side`.
    runs : pandas.DataFrame
        Of `select`.
    x : str
        Of X_LABELS.
    figure : Convergence
    view : View
    overlay : authors.Overlay or None

    Returns
    -------
    list of matplotlib.axes.Axes
        The panels that were drawn.
    """
    looks = methods.looks(runs["method"])
    suffix = " protocol" if axes.shape[1] < 3 else ""
    log_x = figure.log_x if view.log_x is None else view.log_x
    used = {}
    for (protocol, dataset), place in places.items():
        own = runs[
            (runs["protocol"] == protocol) & (runs["dataset"] == dataset)
        ]
        if own.empty:
            continue
        ax = used[place] = axes[place]
        plot_suboptimality(
            ax, own, x, looks, figure.quantiles, view.floor, log_x
        )
        if overlay and overlay.fits(protocol, dataset):
            overlay.plot(ax, x, looks, view.floor, log_x)
        ax.set_title(literal(f"{dataset}, {protocol}{suffix}"))
        ax.set_xlabel(X_LABELS[x])
        if not any(row == place[0] for row, _ in list(used)[:-1]):
            ax.set_ylabel(suboptimality_label(figure.loss, view.floor))
    return list(used.values())


def lacking(runs, figure):
    """Say what the paper's figure shows and the runs do not.

    Returns
    -------
    str
        A sentence after a space, or nothing.
    """
    if not figure.paper:
        return figure.remark
    absent = sorted(set(figure.paper) - set(runs["bare_dataset"]))
    if len(absent) == len(figure.paper):
        return (
            f" The paper's claim is about {' and '.join(absent)}, with "
            f"{figure.n_seeds} seeds: these runs cannot test it."
        )
    more = [f"also shows {' and '.join(absent)}"] if absent else []
    if stats.seeds_of(runs)[1] < figure.n_seeds:
        more.append(f"takes {figure.n_seeds} seeds")
    return f" The paper's figure {' and '.join(more)}." if more else ""


def draw(figure, inputs, view=View()):
    """Draw such a figure from result files.

    Parameters
    ----------
    figure : Convergence
    inputs : results.Inputs
    view : View

    Returns
    -------
    plotting.Drawing

    Raises
    ------
    ResultError
        Where the files lack what it shows.
    """
    runs = select(inputs.need_runs(), figure)
    overlay, warnings = None, ()
    if figure in (FIG1, FIGE1):
        overlay, warnings = authors.find_overlay(runs, inputs)
    caption = band_in_words(runs, figure.quantiles) + lacking(runs, figure)
    places, order = stacked(runs), methods.in_order(runs)
    figures = {}
    for x in figure.axes:
        with paper_style():
            page, axes = make_grid(places)
            used = plot_panels(axes, places, runs, x, figure, view, overlay)
            remove_empty(axes)
            add_caption(page, caption)
            add_legend(page, used, order)
        figures[x if len(figure.axes) > 1 else ""] = page
    return Drawing(figures, caption, warnings=tuple(warnings))
