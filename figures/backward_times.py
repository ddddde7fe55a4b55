"""Figure 3, x axis: the time of a backward pass over that of the full solve.

A panel per network: ours, filled, beside the published ratios (Ramzi et al.,
ICLR 2022, arXiv 2106.00553, figure 3, CIFAR-10), hollow.  Times on two
machines cannot be compared, their ratios to the full solve can.
"""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .fig3 import LOOKS, read_published
from .methods import BY_NAME
from .networks import steps_in_words
from .plotting import (
    COLUMN, MOST_COLUMNS, PAGE, Drawing, add_caption, add_legend, literal,
    paper_style, plain_numbers,
)
from .results import ResultError, bare_name, numeric, read_table
from .tables.markdown import cell, markdown

TEXTS = ("network", "method", "dataset", "device", "fingerprint")
NUMBERS = (
    "batch", "steps", "forward_seconds", "backward_seconds", "evaluations",
    "products", "backward_products", "peak_memory", "batch_size",
)
FULL = "HOAG"
# Steps, and where they are drawn: the full solve has 20.
PLACES = {0: 0, 1: 1, 2: 2, 5: 3, 7: 4, 10: 5, np.inf: 6}

EXPLAINED = """\
Times are medians over batches, with quartiles in brackets; "/ full" is the
median, over batches, of the ratio to the full solve on the same batch.  No
tolerance ends a solve: each forward pass makes 18 steps, but of Reversible (5)
and Unrolled-network (10), and a full backward pass 20.  Products are with the
transposed Jacobian, in both passes.  Peak memory is that of both passes,
beyond theta and the data.  "Published" are the ratios of Ramzi et al., 2022,
figure 3, CIFAR-10 (MDEQ LARGE, batches of 32).
"""


def read_times(path):
    """Read a measurement, a row per network, method and batch.

    Columns beside those of the file: ``ratio``, of the backward pass to the
    full solve on the same batch, and ``base``, the bare name of the method.

    Raises
    ------
    ResultError
        Where a network has no full solve.
    """
    raw = read_table(
        path, pd.read_csv, [*TEXTS, *NUMBERS],
        "give the CSV file of `python -m experiments.backward_times`",
    )
    frame = raw[list(TEXTS)].join(
        numeric(path, raw, {name: name for name in NUMBERS}))
    batch = ["network", "batch"]
    full = frame[frame["method"] == FULL].set_index(batch)
    lacking = set(frame["network"]) - set(full.index.get_level_values(0))
    if lacking:
        raise ResultError(
            f"{path}: no {FULL} of network {', '.join(sorted(lacking))}; "
            "measure it too"
        )
    times = full["backward_seconds"].rename("full")
    frame = frame.join(times, on=batch)
    return frame.assign(
        ratio=frame["backward_seconds"] / frame["full"],
        base=frame["method"].map(bare_name),
    )


def summary(frame):
    """Summarise the batches: a row per network and method, as in the file."""
    groups = frame.groupby(["network", "method"], sort=False)
    first = groups[["base", "steps", "dataset", "device"]].first()
    counts = ["evaluations", "products", "peak_memory", "batch_size"]
    medians = groups[["forward_seconds", "ratio", *counts]].median()
    backward = groups["backward_seconds"].quantile([0.25, 0.5, 0.75])
    backward = backward.unstack().set_axis(["low", "backward", "high"], axis=1)
    found = first.join(medians).join(backward)
    return found.assign(batches=groups.size()).reset_index()


def published_ratios():
    """Return the published ratios to the full solve, by curve and steps."""
    points = read_published()
    full = points.loc[
        (points["curve"] == FULL) & np.isinf(points["steps"]), "time"
    ].item()
    return points.set_index(["curve", "steps"])["time"] / full


def plot_network(ax, own, published):
    """Draw the curves of one network, and the published ones beside them."""
    for name, (label, marker, size, _) in LOOKS.items():
        colour = BY_NAME[name].colour
        style = {"marker": marker, "markersize": 0.6 * size, "color": colour}
        # of variants of the forward solver there is no curve
        plain = own[(own["base"] == name) & ~own["method"].str.contains(
            "forward=")].sort_values("steps")
        ax.plot(
            plain["steps"].map(PLACES), plain["ratio"], label=label,
            linewidth=0.9, **style,
        )
        if name in published.index:
            theirs = published[name].sort_index()
            ax.plot(
                theirs.index.map(PLACES), theirs, linestyle=":",
                linewidth=0.7, markerfacecolor="white", zorder=3,
                label=f"{label}, published", **style,
            )
    ax.set_yscale("log")
    plain_numbers(ax.yaxis, (1, 2, 5))
    ax.set_xticks(list(PLACES.values()), [
        "full" if np.isinf(n) else str(n) for n in PLACES
    ])
    ax.set_xlabel("backward steps")


def plot(found, published, caption):
    """Draw a panel per network."""
    networks = list(found["network"].unique())[:MOST_COLUMNS]
    width = COLUMN if len(networks) == 1 else PAGE
    figure = Figure(figsize=(width, 2.3))
    axes = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for ax, network in zip(axes, networks):
        own = found[found["network"] == network]
        plot_network(ax, own, published)
        first = own.iloc[0]
        ax.set_title(literal(
            f"MDEQ {network.upper()}, {first['dataset']}, {first['device']}"
        ))
    axes[0].set_ylabel("time of a backward pass / full solve")
    add_caption(figure, caption)
    add_legend(figure, axes, most=4)
    return figure


def table(found, published):
    """Tabulate every method, a row for each network and method."""
    rows = []
    for _, row in found.iterrows():
        theirs = published.get((row["base"], row["steps"]), np.nan)
        plain = "forward=" not in row["method"]
        rows.append({
            "network": row["network"], "method": row["method"],
            "backward steps": steps_in_words(row["steps"])
            if row["method"] != FULL else "full",
            "forward (ms)": cell(1e3 * row["forward_seconds"], ".3g"),
            "backward (ms)":
                f"{1e3 * row['backward']:.3g} ({1e3 * row['low']:.3g} to "
                f"{1e3 * row['high']:.3g})",
            "/ full": cell(row["ratio"], ".3f"),
            "published": cell(theirs if plain else np.nan, ".3f"),
            "evaluations": cell(row["evaluations"], ".0f"),
            "products": cell(row["products"], ".0f"),
            "peak memory (MiB)": cell(row["peak_memory"] / 2 ** 20, ".1f"),
        })
    return markdown(pd.DataFrame(rows))


def caption_of(found):
    """Say what the marks are."""
    batches = f"{found['batches'].min():.0f}"
    sizes = ", ".join(f"{n:.0f}" for n in sorted(set(found["batch_size"])))
    return (
        f"Medians over {batches} batches of {sizes} pictures, of the ratio to "
        "the full solve (20 steps) on the same batch. Hollow: published, MDEQ "
        "LARGE on CIFAR-10."
    )


def page(frame):
    """Write the tables, Markdown."""
    found = summary(frame)
    prints = ", ".join(sorted(frame["fingerprint"].unique()))
    return (
        f"# Times of the passes\n\nBy the package {prints}, on "
        f"{', '.join(sorted(frame['device'].unique()))}.\n\n{EXPLAINED}\n"
        f"{table(found, published_ratios())}"
    )


def one_file(inputs, kind, experiment):
    """Return the only CSV file of a kind; a ResultError says what to give."""
    files = inputs.csv.get(kind, ())
    if len(files) != 1:
        raise ResultError(
            f"{len(files)} CSV files of `python -m experiments.{experiment}` "
            "among the files; give one"
        )
    return files[0]


def draw(inputs):
    """Draw the ratios from the CSV file of their measurement."""
    frame = read_times(one_file(inputs, "backward_times", "backward_times"))
    found = summary(frame)
    caption = caption_of(found)
    with paper_style():
        figure = plot(found, published_ratios(), caption)
    return Drawing({"": figure}, caption, {"": page(frame)})
