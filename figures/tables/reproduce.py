"""The numbers of the paper, or of its authors' code, beside ours.

A folder has result files under the names that `make figure` gives them in
outputs/.  There is a table per figure; of each file that is missing it is
said what it is called.
"""
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from .. import backward_times, fig2, fig3, figE2
from ..authors import PYTHON_SCHEMES, SCHEMES, TRACES
from ..methods import rank
from ..networks import network_runs, steps_in_words
from ..results import ResultError, read_runs, read_table
from .markdown import cell, markdown

FOLDER = Path(__file__).resolve().parents[1]
# Their last point, a name here, and how it is written.
ENDS = {
    "held-out loss": ("heldout_loss", "test_loss", ".2f"),
    "log λ": ("log_lambda", "theta", ".2f"),
    "g": ("cum_inner_fg", "n_g", ".0f"),
    "Jᵀ": ("cum_hvp", "n_vjp", ".0f"),
}
PUBLISHED = {
    "CIFAR-10": fig3.PUBLISHED,
    "ImageNet": FOLDER / "authors_imagenet.csv",
}
CURVES = ["HOAG", "SHINE", "Jacobian-Free"]
# Solvers of figure E.2 as the paper orders them, best first.
ORDER = [
    "SHINE-OPA[side=untransposed]", "SHINE[forward=adjoint_broyden]",
    "SHINE", "Jacobian-Free",
]


# Tables

def read_ends(schemes):
    """Read where the authors' runs of 20 newsgroups end, a row per method."""
    raw = read_table(TRACES, pd.read_csv, ["scheme"], "restore it with git")
    ends = raw[raw["scheme"].isin(schemes)].groupby("scheme").last()
    # of the last z; searches report the best so far
    fitted = ends["log_lambda_fitted"].fillna(ends["log_lambda_after"])
    searches = ends.index.str.contains("search")
    fitted = fitted.mask(searches, ends["log_lambda_after"])
    ends = ends.assign(log_lambda=fitted).rename(index=schemes)
    return ends.loc[sorted(ends.index, key=lambda name: rank(name, name))]


def newsgroups(path, schemes):
    """Tabulate the methods of the published protocol that the authors ran.

    ``schemes`` map the authors' name of a run to ours.  There is a row for
    each variant of a method, by its label.
    """
    runs, warnings = read_runs([path], ["20news"])
    runs = runs[(runs["protocol"] == "published")
                & (runs["formulation"] == "logistic")]
    rows = []
    for method, theirs in read_ends(schemes).iterrows():
        ends = runs[(runs["base"] == method)
                    & (runs["step"] == theirs["outer_step"])]
        for label, own in ends.groupby("method"):
            first = own[own["seed"] == 0].mean(numeric_only=True)
            losses = own["test_loss"]
            rows.append({"method": f"`{label}`"} | {
                title:
                    f"{cell(theirs[name], form)} / {cell(first[ours], form)}"
                for title, (name, ours, form) in ENDS.items()
            } | {
                "ours, median of seeds":
                    f"{cell(losses.median(), '.2f')} "
                    f"({own['seed'].nunique()})",
            })
    if not rows:
        raise ResultError(
            f"{path.name}: no run under the published protocol has the "
            "authors' methods and steps; run it longer")
    return _warned(rows, warnings)


def _warned(rows, warnings):
    """Make a table that carries warnings about the file it is made of."""
    table = pd.DataFrame(rows)
    table.attrs["warnings"] = warnings
    return table


def inversion(path):
    """Tabulate quartiles of each quantity of figure 2, right."""
    points, rows = fig2.read_inversion(path), []
    for (direction, quantity), theirs in fig2.AUTHORS.items():
        own = points[points["direction"] == direction][quantity]
        rows.append({
            "direction": direction, "quantity": quantity,
            "authors": " / ".join(f"{x:.5f}" for x in theirs[1:4]),
            "ours": " / ".join(
                cell(own.quantile(q), ".5f") for q in (0.25, 0.5, 0.75)
            ),
        })
    return pd.DataFrame(rows)


def beside_full(points):
    """Tabulate accuracy and time, both relative to the full solve.

    ``points`` are of `fig3.points_of`, of one data set, or of
    `fig3.read_published`.  Without the full solve there is no comparison.
    """
    points = points.set_index(["curve", "steps"])
    full = points.reindex([("HOAG", np.inf)]).iloc[0]

    def text(numbers, form):
        return numbers.map(partial(cell, form=form))

    change = text(points["accuracy"] - full["accuracy"], "+.2f")
    faster = text(full["time"] / points["time"], ".1f")
    accuracies = text(points["accuracy"], ".2f")
    times = text(points["time"], ".3g")
    lost = points.get("diverged", pd.Series(0, points.index)).map(
        lambda n: f", {n} diverged" if n else "")
    return pd.DataFrame({
        "top-1 (%)": accuracies + " (" + change + ")" + lost,
        "backward (ms)": times + " (" + faster + " ×)",
    })


def networks(path):
    """Tabulate the points of figure 3 that are published."""
    columns = {
        name: beside_full(fig3.read_published(file))
        for name, file in PUBLISHED.items()
    }
    wanted = columns["CIFAR-10"].index
    runs, warnings = read_runs([path])
    points = fig3.points_of(network_runs(runs))
    for name, own in points.groupby("dataset"):
        columns[f"{name}, here"] = beside_full(own)
    rows = [
        {"method": f"`{curve}`", "steps": steps_in_words(steps)} | {
            f"{name}: {title}": text
            for name, table in columns.items()
            for title, text in
            table.reindex(wanted).loc[(curve, steps)].fillna("–").items()
        }
        for curve, steps in sorted(
            wanted, key=lambda key: (CURVES.index(key[0]), -key[1])
        )
    ]
    return _warned(rows, warnings)


def passes(*paths):
    """Tabulate how much faster than the full solve a backward pass is."""
    frame = backward_times.read_times(*paths)
    found = backward_times.summary(frame)
    columns = {}
    for (network, device), own in found.groupby(
            backward_times.KEY, sort=False):
        # of variants of the forward solver nothing is published
        plain = own[own["base"].isin(CURVES)
                    & ~own["method"].str.contains("forward=")]
        plain = plain.set_index(["base", "steps"])
        name = f"{network.upper()}, {device.removeprefix('NVIDIA ')}"
        columns[f"{name}: published"] = 1 / backward_times.published_ratios(
            network)
        columns[f"{name}: ours"] = 1 / plain["ratio"]
    table = pd.DataFrame(columns)
    return pd.DataFrame([
        {"method": f"`{curve}`", "steps": steps_in_words(steps)} | {
            name: cell(factor, ".1f") for name, factor in row.items()
        }
        for (curve, steps), row in sorted(
            table.iterrows(),
            key=lambda item: (CURVES.index(item[0][0]), -item[0][1]))
    ])


def network_inversion(*paths):
    """Tabulate the methods of figure E.2, a column per trained network."""
    frame = figE2.read_alignment(paths)
    frame = frame[frame["state"] == "trained"]
    if frame.empty:
        raise ResultError("none of these networks is trained; measure one")
    rows = []
    for solver in sorted(frame["solver"].unique(), key=figE2.rank):
        own = frame[frame["solver"] == solver].groupby("network")
        known = solver in ORDER
        rows.append({
            "q": figE2.look_of(solver)[0],
            "place in the paper":
                f"{ORDER.index(solver) + 1}" if known else "–",
        } | {
            f"{name}, trained: cosine": cell(cosine, ".3f")
            for name, cosine in own["sample_cosine_median"].median().items()
        })
    return pd.DataFrame(rows).fillna("–")


# The page

ENDS_EXPLAINED = """\
A cell has the authors' number / ours, both of seed 0, at the authors' last
outer step (29; searches: their tenth value).  The loss is the one that no
method descends, log λ is that of its solution, and g and Jᵀ count evaluations
and products up to there."""

# Heading; file names, of which the first found is used (all that match, where
# it is a pattern); table; what it shows.
SECTIONS = (
    ("Figures 1 and E.1, left: 20 newsgroups",
     ["figE1_paper.parquet", "fig1_paper.parquet"],
     partial(newsgroups, schemes=SCHEMES), ENDS_EXPLAINED),
    ("Figure 2, left: 20 newsgroups", ["fig2_paper.parquet"],
     partial(newsgroups, schemes=PYTHON_SCHEMES), ENDS_EXPLAINED),
    ("Figure 2, right: the inverse", ["fig2_inversion.csv"], inversion, """\
The table has quartiles, over 100 tries, of ‖Bv‖ / ‖J⁻¹v‖ and of the cosine of
these two vectors."""),
    ("Figure 3: networks", ["deq_paper.parquet", "deq_quick.parquet"],
     networks, """\
The published numbers are of CIFAR-10 with MDEQ LARGE, 5 seeds, and of ImageNet
with MDEQ SMALL, 1 seed.  What can be compared across data sets is the
difference to the full solve, in points, and how much faster than it the
backward pass is.  A configuration need not run one method twice: one step of
`HOAG` is `Jacobian-Free`, and one step from `Jacobian-Free` is `Neumann` with
one term."""),
    ("Figure 3, x axis: the paper's networks", ["backward_times*.csv"],
     passes, """\
How many times faster than the full solve a backward pass is; no network is
trained.  Published: SMALL on ImageNet beside SMALL, else LARGE on
CIFAR-10."""),
    ("Figure E.2: the inverse in networks", ["figE2*.csv"],
     network_inversion, """\
The paper draws a point per batch; what it says is the order of the methods.
Ours is the cosine of q with the exact q, of the median sample."""),
)


def compare(folder):
    """Write every table that a folder has files for, in Markdown.

    Of a file that will not do it is said why; the other tables go on.  Also
    returned are warnings about the files, a list of str.
    """
    parts, missing, warnings = [], [], []
    for title, patterns, table, words in SECTIONS:
        found = next(filter(None, (
            sorted(folder.glob(pattern)) for pattern in patterns
        )), None)
        if found is None:
            missing.append(patterns[0])
            parts.append(f"**{title}**: no {patterns[0]} in {folder}.\n")
            continue
        files = ", ".join(f"`{path.name}`" for path in found)
        try:
            rows = table(*found)
        except ResultError as error:
            parts.append(f"**{title}**: {error}.\n")
            continue
        warnings += rows.attrs.get("warnings", ())
        words = textwrap.fill(f"**{title}**, from {files}.  {words}", 79)
        parts.append(f"{words}\n\n{markdown(rows)}")
    if len(missing) == len(SECTIONS):
        raise ResultError(
            f"{folder}: has none of {', '.join(missing)}; run make figure "
            "SCALE=paper, and give the folder that it writes to"
        )
    return "\n".join(parts), warnings
