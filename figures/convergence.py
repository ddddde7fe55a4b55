"""Figures 1, E.1 and quickstart, least squares: how F falls to F*.

Each figure has a second version, of the test loss.
"""
from dataclasses import dataclass, replace

from . import arrivals, authors, methods
from .plotting import (
    X_LABELS, Y_LABELS, Drawing, add_caption, add_legend, align, arranged,
    band_in_words, is_crowded, literal, make_grid, paper_style,
    plot_suboptimality, plot_test_loss, remove_empty,
)
from .results import ResultError

PLOTS = {"F": plot_suboptimality, "test_loss": plot_test_loss}


@dataclass(frozen=True)
class Convergence:
    """One such figure.

    It shows the methods ``shown`` (None: all) but those ``hidden``, and data
    sets of one ``formulation`` (None: of any).  There is a picture for each
    of ``axes``, keys of X_LABELS.  ``quantiles`` are those of the band,
    ``paper`` and ``n_seeds`` the data sets and seeds of the paper's figure,
    and ``remark`` ends the caption.
    """

    shown: frozenset | None = None
    hidden: frozenset = frozenset()
    quantiles: tuple = (0.1, 0.9)
    axes: tuple = tuple(X_LABELS)
    formulation: str | None = None
    paper: tuple = ()
    n_seeds: int = 10
    remark: str = ""
    losses: tuple = ("F", "test_loss")


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
QUICKSTART = Convergence(axes=("evaluations",), losses=("F",))


def select(runs, figure, loss):
    """Return the runs that a figure shows, with the columns of their loss.

    ``loss`` is a key of PLOTS.  Methods that are not shown count for the
    lowest test loss of a seed all the same.  Where nothing is left, that is
    a ResultError.
    """
    if figure.formulation:
        runs = runs[runs["formulation"] == figure.formulation]
    networks = [name for name, own in runs.groupby("dataset")
                if arrivals.is_network(own)]
    runs = runs[~runs["dataset"].isin(networks)]
    if runs.empty:
        kind = f" {figure.formulation}" if figure.formulation else ""
        raise ResultError(f"no bi-level problem{kind} in these files")
    if loss == "F":
        runs = with_suboptimality(runs)
    else:
        runs = arrivals.add_gap(runs, loss)
    shown = set(figure.shown or runs["base"]) - figure.hidden
    kept = runs[runs["base"].isin(shown)]
    if kept.empty:
        raise ResultError(
            "none of its methods in these files, which have "
            f"{', '.join(methods.in_order(runs))}: run more solvers"
        )
    return kept


def with_suboptimality(runs):
    """Add the suboptimality of F; keep the data sets that have any."""
    runs = arrivals.add_suboptimality(runs)
    able = runs["gap"].notna().groupby(runs["dataset"]).transform("any")
    if not able.any():
        raise ResultError(
            "F was not measured on any data set; run it with the objective's "
            "reference above 0"
        )
    return runs[able]


def plot_panels(axes, places, runs, x, figure, loss, overlay=None):
    """Draw a panel per protocol and data set, without a legend.

    ``axes`` and ``places`` are of `plotting`, ``runs`` of `select` for the
    same ``loss``.  The panels that were drawn are returned.
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
        PLOTS[loss](ax, own, x, looks, figure.quantiles, log_x=True)
        if overlay and overlay.fits(protocol, dataset):
            overlay.plot(ax, x, looks)
        ax.set_title(literal(f"{dataset}, {protocol}{suffix}"))
        ax.set_xlabel(X_LABELS[x])
        if not any(row == place[0] for row, _ in list(used)[:-1]):
            ax.set_ylabel(Y_LABELS[loss])
    for dataset in runs["dataset"].unique():
        align([used[place] for (_, own), place in places.items()
               if own == dataset and place in used])
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


def caption_of(runs, figure, loss):
    """Say what lines, bands and axes are, and what is lacking."""
    told = _lines_in_words(runs) if loss == "F" else (
        "The lowest test loss is that of any method of the protocol with the "
        "same seed.")
    return " ".join([
        told, band_in_words(runs, figure.quantiles) + lacking(runs, figure)])


def _lines_in_words(runs):
    told = "F is the validation loss at the exact root, F* " + (
        "the lowest F measured in the file."
        if (runs["estimated"] > 0).any() else "its minimum.")
    if is_crowded(runs):
        return f"{told} The best θ so far is shown."
    return (
        f"{told} Thick lines show the best θ so far, thin lines the current "
        "θ."
    )


def draw_versions(draw_one, losses=("F", "test_loss")):
    """Draw a figure by F and, by ``draw_one(loss)``, by the test loss too.

    The files' names of the second end in "test_loss".  Files without F have
    the second alone, with a warning, also where ``losses`` are F alone.
    """
    first = None
    try:
        first = draw_one("F")
    except ResultError as error:
        reason = str(error)
    if first is not None and "test_loss" not in losses:
        return first
    second = draw_one("test_loss")
    figures = {
        "_".join(filter(None, ["test_loss", end])): page
        for end, page in second.figures.items()
    }
    if first is None:
        return replace(
            second, figures=figures, warnings=(reason, *second.warnings))
    return replace(
        first, figures=first.figures | figures,
        warnings=(*first.warnings, *second.warnings),
    )


def draw(figure, inputs):
    """Draw such a figure from `results.Inputs`."""
    return draw_versions(
        lambda loss: _draw(figure, inputs, loss), figure.losses)


def _draw(figure, inputs, loss):
    runs = select(inputs.need_runs(), figure, loss)
    overlay, warnings = None, ()
    if loss == "test_loss" and figure in (FIG1, FIGE1):
        overlay, warnings = authors.find_overlay(runs, inputs)
    caption = caption_of(runs, figure, loss)
    places, order = arranged(runs), methods.in_order(runs)
    figures = {}
    for x in figure.axes:
        with paper_style():
            page, axes = make_grid(places)
            used = plot_panels(axes, places, runs, x, figure, loss, overlay)
            remove_empty(axes)
            add_caption(page, caption)
            add_legend(page, used, order)
        figures[x if len(figure.axes) > 1 else ""] = page
    return Drawing(figures, caption, warnings=tuple(warnings))
