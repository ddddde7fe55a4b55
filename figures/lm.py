"""Language: held-out bits per character of every method along its run.

Left against outer steps, right against time.  The horizontal line is what a
model that counts pairs of tokens needs for the same text; the title has what
one needs that counts tokens, which is far above.  Where every method ends
below that line, the axis ends there.
"""
import numpy as np
import pandas as pd

from . import methods
from .networks import (
    by_method, mean_and_std, network_runs, steps_in_words, summarise,
)
from .plotting import (
    GREY, X_LABELS, Drawing, add_caption, add_legend, band_in_words, literal,
    make_grid, paper_style, plot_medians,
)
from .results import ResultError
from .tables.markdown import cell, markdown

QUANTILES = (0.1, 0.9)
AXES = {"n_outer": "outer steps", "time": X_LABELS["time"]}
# Columns of the models that count.
BASELINES = UNIGRAM, BIGRAM = "baseline_unigram", "baseline_bigram"


def text_runs(runs):
    """Select the runs on text; baselines are in bits per character, too.

    The other columns are those of `networks.network_runs`.
    """
    frame = network_runs(runs)
    frame = frame[frame["bits_per_character"].notna()]
    if frame.empty:
        raise ResultError(
            "no runs on text in these files; run benchopt with --config "
            "configs/lm_quick.yml"
        )
    bits = (frame["bits_per_character"] / frame["test_loss"]).groupby(
        frame["dataset"]).transform("median")
    dead = frame["diverged"] > 0
    return frame.assign(
        bits_per_character=frame["bits_per_character"].mask(dead, np.inf),
        **{name: frame[name] * bits for name in BASELINES},
    )


def plot(frame, caption):
    """Draw a row of panels per data set of `text_runs`."""
    names, looks = sorted(frame["dataset"].unique()), methods.looks(
        frame["method"])
    places = {
        (name, x): (i, j)
        for i, name in enumerate(names) for j, x in enumerate(AXES)
    }
    figure, axes = make_grid(places)
    for (name, x), place in places.items():
        ax, runs = axes[place], frame[frame["dataset"] == name]
        plot_medians(ax, runs, x, "bits_per_character", looks, QUANTILES)
        unigram, bigram = runs[UNIGRAM].median(), runs[BIGRAM].median()
        if ends_below(ax, bigram):
            # the first points, of an untrained network, lie far above
            ax.set_ylim(top=1.03 * bigram)
        if np.isfinite(bigram):
            ax.axhline(bigram, color=GREY, linewidth=0.8,
                       linestyle=(0, (5, 2)), label="bigram, Kneser-Ney")
        known = f" (unigram: {unigram:.2f})" if np.isfinite(unigram) else ""
        ax.set_title(literal(name) + known)
        ax.set_xlabel(AXES[x])
        ax.set_ylabel("bits per character")
    add_caption(figure, caption)
    add_legend(figure, axes.flat, methods.in_order(frame), most=4)
    return figure


def ends_below(ax, level):
    """Say whether every line of some axes has its last point below a level.

    A line ends where a run diverged.  No line is below NaN.
    """
    lines = [line.get_ydata() for line in ax.lines]
    ends = [ys[np.isfinite(ys)][-1] for ys in lines if np.isfinite(ys).any()]
    return bool(ends) and max(ends) <= level


def table_of(frame):
    """Tabulate where runs end, and what a backward pass costs."""
    rows = []
    for own in by_method(summarise(frame)):
        first = own.iloc[0]
        rows.append({
            "data set": first["dataset"],
            "method": first["base"] + first["variant"],
            "backward steps": steps_in_words(first["backward_steps"]),
            "seeds": str(len(own)),
            "diverged": f"{own['diverged'].sum():.0f}",
            "bits per character": mean_and_std(
                own["bits_per_character"], ".3f"),
            "unigram": cell(first["baseline_unigram"], ".3f"),
            "bigram": cell(first["baseline_bigram"], ".3f"),
            "perplexity": mean_and_std(own["perplexity"], ".2f"),
            "accuracy (%)": mean_and_std(own["test_accuracy"], ".1f"),
            "backward (ms)": cell(own["backward_time"].median(), ".3g"),
            "products": cell(own["n_vjp"].median(), ".1f"),
            "cosine of q": cell(own["q_cosine_median"].median(), ".4f"),
            "spectral radius": cell(own["spectral_radius"].median(), ".2f"),
        })
    return pd.DataFrame(rows)


def draw(inputs):
    """Draw the figure from `results.Inputs`."""
    frame = text_runs(inputs.need_runs())
    caption = band_in_words(frame, QUANTILES)
    if frame[BIGRAM].notna().any():
        caption += (
            " Where every method ends below the bigram's line, the axis ends "
            "just above that line."
        )
    with paper_style():
        figure = plot(frame, caption)
    return Drawing(
        {"": figure}, caption, {"": markdown(table_of(frame))})
