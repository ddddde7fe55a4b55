"""What equilibrium networks cost: memory, time of a step, and training.

Three panels: peak memory of a training step against depth; seconds of a
training step, forward and backward, by method; test accuracy against the
seconds of training.
"""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .backward_times import KEY, one_file, read_times, summary
from .methods import BY_NAME, DOTTED, LONG, SOLID, looks
from .plotting import (
    GREY, PAGE, Drawing, add_caption, add_legend, literal, paper_style,
    plain_numbers,
)
from .results import read_measurement
from .tables import league
from .tables.markdown import cell, markdown

MEBI = 2 ** 20
# Columns of text, of numbers, and those that say which row it is.
MEMORY = ("network", "method", "fingerprint"), (
    "depth", "peak_memory", "bytes_of_z", "evaluations", "products",
    "batch_size",
), ("network", "method", "depth")
TRAINING = ("network", "method", "fingerprint"), (
    "seed", "epoch", "seconds", "test_accuracy", "n_parameters",
), ("network", "method", "seed", "epoch")
# Explicit networks, by the name of their network.
EXPLICIT = {
    "weight-tied": ("explicit, weight-tied", "#000000", SOLID),
    "untied": ("explicit, untied", GREY, SOLID),
}
# Curves that have a label and dashes of their own.
LABELS = {"SHINE[forward=anderson]": "SHINE, Anderson"}
DASHES = {"SHINE[forward=anderson]": DOTTED, "Reversible": LONG}
# What the bars of panel (b) are of, from the cheapest backward pass.
BARS = {
    "Jacobian-Free": "Jacobian-Free", "SHINE": "SHINE",
    "SHINE-OPA": "SHINE-OPA", "SHINE[forward=anderson]": "SHINE, Anderson",
    "Phantom": "Phantom", "Neumann[backward_steps=5]": "Neumann, 5",
    "SHINE[backward_steps=5]": "SHINE-refine",
    "HOAG[backward_steps=5]": "HOAG-limited", "HOAG": "HOAG, full",
    "Reversible": "Reversible", "Unrolled-network": "explicit, 10 layers",
}

EXPLAINED = """\
**Memory** is the peak of one training step beyond theta and the data: MDEQ
(TINY) on digits, batches of {batch}.  Depth is the number of layers of the
explicit network, or the evaluations of f in the forward pass of an equilibrium
network, and the most steps of its full backward pass.  "z" is one iterate of
the batch, {z:.2f} MiB.
"""
TRAINED = """\
**Training** is of dense networks on digits: accuracy after the last epoch of
each run, mean ± standard deviation over {seeds}; seconds are those in forward
and backward passes, median over seeds.
"""


def read(path, columns, experiment):
    """Read a measurement; ``columns`` are MEMORY or TRAINING."""
    texts, numbers, key = columns
    return read_measurement(
        path, texts, numbers,
        f"give the CSV file of `python -m experiments.{experiment}`", key,
    )


def look(network, method):
    """Return the label, colour and dashes of a curve.

    A method that is not in METHODS has spare ones.
    """
    if network in EXPLICIT:
        return EXPLICIT[network]
    name = "SHINE" if method in LABELS else method
    usual = looks([name])[name]
    return (LABELS.get(method, method), usual["color"],
            DASHES.get(method, usual["linestyle"]))


def curves(frame):
    """Yield the label, the look and the rows of each curve of a file."""
    for key, own in frame.groupby(["network", "method"], sort=False):
        label, colour, dash = look(*key)
        yield own, {
            "label": literal(label), "color": colour, "linestyle": dash,
        }


def plot_memory(ax, frame):
    """Draw the peak of memory against depth, both axes logarithmic."""
    for own, style in curves(frame):
        own = own.sort_values("depth")
        ax.plot(own["depth"], own["peak_memory"] / MEBI, marker="o",
                markersize=2.5, **style)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    depths = sorted(set(frame["depth"]))
    ax.set_xticks(depths, [f"{n:.0f}" for n in depths])
    ax.xaxis.set_minor_formatter(NullFormatter())
    plain_numbers(ax.yaxis, (1, 2, 5))
    ax.set_xlabel("layers, or forward steps")
    ax.set_ylabel("peak memory of a step (MiB)")
    ax.set_title("(a) memory")


def plot_times(ax, found):
    """Draw a bar per method: the forward pass, then the backward pass."""
    own = found.set_index("method")
    shown = [method for method in BARS if method in own.index][::-1]
    places = np.arange(len(shown))
    forward, backward = (
        1e3 * own.loc[shown, name] for name in
        ("forward_seconds", "backward")
    )
    ax.barh(places, forward, color="#BBBBBB", label="forward")
    ax.barh(places, backward, left=forward, label="backward",
            color=BY_NAME["HOAG"].colour)
    ax.set_yticks(places, [BARS[method] for method in shown], fontsize=6)
    ax.set_xlabel("a training step (ms)")
    ax.set_title("(b) time of a step")


def plot_training(ax, frame):
    """Draw the median accuracy against the median seconds, per epoch.

    Medians are of all runs: a curve ends with the shortest.
    """
    trained = frame[frame["epoch"] > 0]
    for own, style in curves(trained):
        groups = own.groupby("epoch")
        middle = groups[["seconds", "test_accuracy"]].median()
        middle = middle[groups.size() == own["seed"].nunique()]
        ax.plot(middle["seconds"], 100 * middle["test_accuracy"], **style)
    ax.set_xscale("log")
    plain_numbers(ax.xaxis, (1, 2, 5))
    ax.set_xlabel("seconds of training")
    ax.set_ylabel("test accuracy (%)")
    ax.set_title("(c) training")


def plot(memory, found, training, caption):
    """Draw the three panels side by side."""
    figure = Figure(figsize=(PAGE, 2.3))
    axes = figure.subplots(1, 3)
    plot_memory(axes[0], memory)
    plot_times(axes[1], found)
    plot_training(axes[2], training)
    add_caption(figure, caption)
    add_legend(figure, axes, most=5)
    return figure


def memory_table(frame):
    """Tabulate the peak of memory: a row per method, a column per depth.

    What a step more takes is of the two deepest; NaN with one depth.
    """
    z, depths = frame["bytes_of_z"].iloc[0], sorted(set(frame["depth"]))
    rows = []
    for own, style in curves(frame):
        peaks = own.set_index("depth")["peak_memory"].sort_index()
        per_step = (peaks.diff() / peaks.index.diff()).iloc[-1]
        rows.append({"method": style["label"].strip()} | {
            f"{depth:.0f} (MiB)":
                cell(peaks.get(depth, np.nan) / MEBI, ".1f")
            for depth in depths
        } | {"more per step (z)": cell(per_step / z, ".1f")})
    return markdown(pd.DataFrame(rows))


def training_table(frame):
    """Tabulate the last epoch of each run, a row per network and method."""
    of_run = frame.groupby(["network", "method", "seed"])["epoch"]
    last = frame[frame["epoch"] == of_run.transform("max")]
    rows = []
    for own, style in curves(last):
        accuracy = 100 * own["test_accuracy"]
        spread = f" ± {accuracy.std():.2f}" if len(own) > 1 else ""
        rows.append({
            "network": style["label"].strip(),
            "parameters": f"{own['n_parameters'].iloc[0]:,.0f}",
            "epochs": " to ".join(
                f"{n:.0f}" for n in
                dict.fromkeys((own["epoch"].min(), own["epoch"].max()))),
            "test accuracy (%)": f"{accuracy.mean():.2f}{spread}",
            "seconds": cell(own["seconds"].median(), ".2f"),
        })
    return markdown(pd.DataFrame(rows))


def page(memory, training):
    """Write the tables, Markdown."""
    prints = sorted({*memory["fingerprint"], *training["fingerprint"]})
    told = EXPLAINED.format(
        batch=f"{memory['batch_size'].iloc[0]:.0f}",
        z=memory["bytes_of_z"].iloc[0] / MEBI,
    )
    seeds = TRAINED.format(seeds=seeds_of(training))
    return (
        f"# What equilibrium networks cost\n\nBy the package "
        f"{', '.join(prints)}.\n\n{told}\n{memory_table(memory)}\n{seeds}\n"
        f"{training_table(training)}"
    )


def seeds_of(training):
    """Return "1 seed" or "3 seeds"."""
    return league.in_words(training["seed"].nunique(), "seed")


def draw(inputs):
    """Draw the cost from the CSV files of its three measurements."""
    memory = read(
        one_file(inputs, "cost_memory", "cost"), MEMORY, "cost memory")
    training = read(
        one_file(inputs, "cost_training", "cost"), TRAINING, "cost training")
    found = summary(read_times(
        one_file(inputs, "backward_times", "backward_times")))
    # of one network on one device: times of two cannot be compared
    found = found[found[KEY].eq(found[KEY].iloc[-1]).all(axis="columns")]
    first = found.iloc[0]
    caption = (
        "(a) MDEQ TINY on digits, batches of "
        f"{memory['batch_size'].iloc[0]:.0f}. (b) MDEQ "
        f"{first['network'].upper()} on {first['dataset']}, batches of "
        f"{first['batch_size']:.0f}, {first['device']}: medians of "
        f"{first['batches']:.0f}. (c) Dense networks on digits, epoch by "
        f"epoch: medians of {seeds_of(training)}."
    )
    with paper_style():
        figure = plot(memory, found, training, caption)
    return Drawing({"": figure}, caption, {"": page(memory, training)})
