"""Figure 3, x axis: the time of a backward pass over that of the full solve.

A panel per network and device: ours, filled, beside the published ratios
(Ramzi et al., ICLR 2022, arXiv 2106.00553, figure 3), hollow: of MDEQ SMALL
on ImageNet beside that network, of LARGE on CIFAR-10 beside the others.  Times
on two machines cannot be compared, their ratios to the full solve can.
"""
import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .fig3 import LOOKS, PUBLISHED, read_published
from .methods import BY_NAME
from .networks import steps_in_words
from .plotting import (
    COLUMN, MOST_COLUMNS, PAGE, Drawing, add_caption, add_legend, literal,
    paper_style, plain_numbers, remove_empty,
)
from .results import (
    ResultError, bare_name, read_measurement, versions_of,
)
from .tables.league import in_words
from .tables.markdown import cell, markdown

TEXTS = ("network", "method", "dataset", "device", "fingerprint")
NUMBERS = (
    "batch", "steps", "forward_seconds", "backward_seconds", "evaluations",
    "products", "backward_products", "peak_memory", "batch_size",
)
FULL = "HOAG"
KEY = ["network", "device"]
ROW = [*KEY, "method", "batch"]
IMAGENET = Path(__file__).with_name("authors_imagenet.csv")

EXPLAINED = """\
Times are medians over batches, with quartiles in brackets; "/ full" is the
median, over batches, of the ratio to the full solve on the same batch.  No
tolerance ends a solve: forward and full backward passes make 22 and 24 steps
in TINY, 18 and 20 in LARGE, 26 and 27 in SMALL; Reversible makes 5, and
Unrolled-network 10.  Products are with the transposed Jacobian, in both
passes.  Peak memory is that of both passes, beyond theta and the data; without
a GPU it is that of tensors alone.  "Published" are the ratios of Ramzi et al.,
2022, figure 3, batches of 32: beside SMALL those of SMALL on ImageNet, else
those of LARGE on CIFAR-10.
"""


def read_times(*paths):
    """Read measurements, a row per network, device, method and batch.

    Columns beside those of the files: ``ratio``, of the backward pass to the
    full solve on the same batch in the same file, and ``base``, the bare
    name of the method.  A row that two files have is of the first.

    Raises
    ------
    ResultError
        Where a network has no full solve on a device.
    """
    frame = pd.concat(map(_read_file, paths))
    return frame.drop_duplicates(ROW, ignore_index=True)


def _read_file(path):
    frame = read_measurement(
        path, TEXTS, NUMBERS,
        "give the CSV file of `python -m experiments.backward_times`", ROW,
    )
    batch = [*KEY, "batch"]
    full = frame[frame["method"] == FULL].set_index(batch)
    lacking = set(frame.groupby(KEY).groups) - set(
        full.index.droplevel("batch"))
    if lacking:
        named = ", ".join(
            f"{network} on {device}" for network, device in sorted(lacking))
        raise ResultError(
            f"{path}: no {FULL} of network {named}; measure it too")
    times = full["backward_seconds"].rename("full")
    frame = frame.join(times, on=batch)
    return frame.assign(
        ratio=frame["backward_seconds"] / frame["full"],
        base=frame["method"].map(bare_name),
    )


def summary(frame):
    """Summarise batches: a row per network, device and method, as they are."""
    groups = frame.groupby([*KEY, "method"], sort=False)
    first = groups[["base", "steps", "dataset"]].first()
    counts = ["evaluations", "products", "peak_memory", "batch_size"]
    medians = groups[["forward_seconds", "ratio", *counts]].median()
    backward = groups["backward_seconds"].quantile([0.25, 0.5, 0.75])
    backward = backward.unstack().set_axis(["low", "backward", "high"], axis=1)
    found = first.join(medians).join(backward)
    return found.assign(batches=groups.size()).reset_index()


def published_ratios(network="large"):
    """Return the published ratios to the full solve, by curve and steps."""
    points = read_published(IMAGENET if network == "small" else PUBLISHED)
    full = points.loc[
        (points["curve"] == FULL) & np.isinf(points["steps"]), "time"
    ].item()
    return points.set_index(["curve", "steps"])["time"] / full


def drawn(found):
    """Keep the rows that curves consist of.

    Of variants of the forward solver, and of methods without a number of
    backward steps, there is no curve.
    """
    return found[
        found["base"].isin(LOOKS) & found["steps"].notna()
        & ~found["method"].str.contains("forward=")]


def places_of(found):
    """Return steps -> where they are drawn, ours and the published ones.

    Places are equally far from one another: the full solve, whose steps are
    infinite, has the last one.
    """
    theirs = [published_ratios(network).index.get_level_values("steps")
              for network in found["network"].unique()]
    steps = sorted(set(drawn(found)["steps"]).union(*theirs))
    return {n: place for place, n in enumerate(steps)}


def plot_network(ax, own, published, places):
    """Draw the curves of one network, and the published ones beside them.

    ``places`` are of `places_of`.
    """
    own = drawn(own)
    for name, (label, marker, size, _) in LOOKS.items():
        colour = BY_NAME[name].colour
        style = {"marker": marker, "markersize": 0.6 * size, "color": colour}
        plain = own[own["base"] == name].sort_values("steps")
        if len(plain):
            ax.plot(
                plain["steps"].map(places), plain["ratio"], label=label,
                linewidth=0.9, **style,
            )
        if name in published.index:
            theirs = published[name].sort_index()
            ax.plot(
                theirs.index.map(places), theirs, linestyle=":",
                linewidth=0.7, markerfacecolor="white", zorder=3,
                label=f"{label}, published", **style,
            )
    ax.set_yscale("log")
    plain_numbers(ax.yaxis, (1, 2, 5))
    ax.set_xticks(list(places.values()), [
        "full" if np.isinf(n) else f"{n:g}" for n in places
    ])
    ax.set_xlabel("backward steps")


def plot(found, caption):
    """Draw a panel per network and device, in rows."""
    panels, places = list(found.groupby(KEY, sort=False)), places_of(found)
    n_rows = math.ceil(len(panels) / MOST_COLUMNS)
    n_columns = math.ceil(len(panels) / n_rows)
    width = COLUMN if n_columns == 1 else PAGE
    figure = Figure(figsize=(width, 2.3 * n_rows))
    axes = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    for ax, ((network, device), own) in zip(axes.flat, panels):
        plot_network(ax, own, published_ratios(network), places)
        device = device.removeprefix("NVIDIA ").partition(" ")[0]
        ax.set_title(literal(
            f"MDEQ {network.upper()}, {own.iloc[0]['dataset']}, {device}"
        ))
    for ax in axes[:, 0]:
        ax.set_ylabel("time of a backward pass / full solve")
    remove_empty(axes)
    add_caption(figure, caption)
    add_legend(figure, axes.flat, most=4)
    return figure


def table(found):
    """Tabulate every method, a row for each network, device and method."""
    rows = []
    for _, row in found.iterrows():
        published = published_ratios(row["network"])
        theirs = published.get((row["base"], row["steps"]), np.nan)
        plain = "forward=" not in row["method"]
        rows.append({
            "network": row["network"], "device": row["device"],
            "method": row["method"],
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
    least, most = found["batches"].min(), found["batches"].max()
    batches = in_words(int(least), "batch", "batches") if (
        most == least) else f"{least:.0f} to {most:.0f} batches"
    sizes = ", ".join(f"{n:.0f}" for n in sorted(set(found["batch_size"])))
    return (
        f"Medians over {batches} of {sizes} pictures, of the ratio to "
        "the full solve on the same batch. Hollow: published, MDEQ SMALL on "
        "ImageNet beside SMALL, LARGE on CIFAR-10 beside the others."
    )


def page(frame):
    """Write the tables, Markdown."""
    found = summary(frame)
    prints = ", ".join(sorted(frame["fingerprint"].unique()))
    return (
        f"# Times of the passes\n\nBy the package {prints}, on "
        f"{', '.join(sorted(frame['device'].unique()))}.\n\n{EXPLAINED}\n"
        f"{table(found)}"
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
    """Draw the ratios from the CSV files of their measurement."""
    paths = inputs.csv.get("backward_times")
    if not paths:
        raise ResultError(
            "no CSV file of `python -m experiments.backward_times`; give one "
            "or more"
        )
    frame = read_times(*paths)
    found = summary(frame)
    caption = caption_of(found)
    with paper_style():
        figure = plot(found, caption)
    return Drawing(
        {"": figure}, caption, {"": page(frame)},
        versions_of(paths))
