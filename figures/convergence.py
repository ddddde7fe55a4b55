"""Figures 1 and E.1, least squares, quickstart: suboptimality of losses."""
from dataclasses import dataclass

from . import arrivals, authors, methods
from .plotting import (
    X_LABELS, Y_LABELS, Drawing, add_caption, add_legend, band_in_words,
    literal, make_grid, paper_style, plot_suboptimality, remove_empty,
    stacked,
)
from .results import ResultError


@dataclass(frozen=True)
class Convergence:
    """One such figure.

    It shows the methods ``shown`` (None: all) but those ``hidden``, and data
    sets of one ``formulation`` (None: of any).  There is a picture for each
    of ``axes``, keys of X_LABELS; ``log_x`` leaves the start out.
    ``quantiles`` are those of the band, ``paper`` and ``n_seeds`` the data
    sets and seeds of the paper's figure, and ``remark`` ends the caption.
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


def select(runs, figure):
    """Return the runs that a figure shows, with their suboptimality.

    Methods that are not shown count for the best of a seed all the same.
    Where nothing is left, that is a ResultError.
    """
    if figure.formulation:
        runs = runs[runs["formulation"] == figure.formulation]
    if figure.loss == "test_loss":
        networks = [name for name, own in runs.groupby("dataset")
                    if arrivals.is_network(own)]
        runs = runs[~runs["dataset"].isin(networks)]
    if runs.empty:
        kind = figure.formulation or ""
        raise ResultError(f"no bi-level problem {kind} in these files")
    runs = arrivals.add_gap(runs, figure.loss)
    shown = set(figure.shown or runs["base"]) - figure.hidden
    kept = runs[runs["base"].isin(shown)]
    if kept.empty:
        raise ResultError(
            "none of its methods in these files, which have "
            f"{', '.join(methods.in_order(runs))}: run more solvers"
        )
    return kept


def plot_panels(axes, places, runs, x, figure, overlay=None):
    """Draw a panel per protocol and data set, without a legend.

    ``axes`` and ``places`` are of `plotting`, ``runs`` of `select`.  The
    panels that were drawn are returned.
    """
    looks = methods.looks(runs["method"])
    suffix = " protocol" if axes.shape[1] < 3 else ""
    used = {}
    for (protocol, dataset), place in places.items():
        own = runs[
            (runs["protocol"] == protocol) & (runs["dataset"] == dataset)
        ]
        if own.empty:
            continue
        ax = used[place] = axes[place]
        plot_suboptimality(ax, own, x, looks, figure.quantiles, figure.log_x)
        if overlay and overlay.fits(protocol, dataset):
            overlay.plot(ax, x, looks)
        ax.set_title(literal(f"{dataset}, {protocol}{suffix}"))
        ax.set_xlabel(X_LABELS[x])
        if not any(row == place[0] for row, _ in list(used)[:-1]):
            ax.set_ylabel(Y_LABELS[figure.loss])
    return list(used.values())


def lacking(runs, figure):
    """Say what the paper's figure shows and the runs do not."""
    if not figure.paper:
        return figure.remark
    absent = sorted(set(figure.paper) - set(runs["bare_dataset"]))
    if len(absent) == len(figure.paper):
        return (
            f" The paper's claim is about {' and '.join(absent)}, with "
            f"{figure.n_seeds} seeds: these runs cannot test it."
        )
    more = [f"also shows {' and '.join(absent)}"] if absent else []
    if arrivals.seeds_of(runs)[1] < figure.n_seeds:
        more.append(f"takes {figure.n_seeds} seeds")
    return f" The paper's figure {' and '.join(more)}." if more else ""


def draw(figure, inputs):
    """Draw such a figure from `results.Inputs`."""
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
            used = plot_panels(axes, places, runs, x, figure, overlay)
            remove_empty(axes)
            add_caption(page, caption)
            add_legend(page, used, order)
        figures[x if len(figure.axes) > 1 else ""] = page
    return Drawing(figures, caption, warnings=tuple(warnings))
