"""The theorems: errors of dF/dtheta and of q against the inner iteration.

A column of panels per problem; above, the steps span the space, and below
they lie in a subspace, in which ∂ℓ/∂z does not.
"""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from .methods import BY_NAME, DASHED, LONG, MIXED, SOLID
from .plotting import (
    PAGE, Drawing, add_caption, add_legend, literal, paper_style,
    remove_empty,
)
from .results import ResultError, read_measurement
from .tables import league
from .tables.markdown import cell, markdown

TEXTS = ("problem", "steps", "method", "fingerprint")
ERRORS = {"": "hypergradient_error", "q": "q_error"}
NUMBERS = ("d", "draw", "n", "z_error", "span", *ERRORS.values())
NAMES = {"hypergradient_error": r"$dF/d\theta$", "q_error": "$q$"}
STEPS = {
    "span": "steps span the space",
    "subspace": "steps in a subspace",
}
JF, EXACT = "Jacobian-free", "exact at the iterate"
PUBLISHED = "adjoint Broyden, OPA published"
_SHINE, _OPA, _REFINE, _FREE, _HOAG = (
    BY_NAME[name].colour for name in
    ("SHINE", "SHINE-OPA", "SHINE-refine", "Jacobian-Free", "HOAG")
)
# In the order of the legend and of the tables.
LOOKS = {
    JF: (_FREE, MIXED),
    "BFGS": (_SHINE, SOLID),
    "L-BFGS": (_SHINE, DASHED),
    "Broyden": ("#666666", SOLID),
    "adjoint Broyden": (_REFINE, SOLID),
    "BFGS, OPA": (_OPA, SOLID),
    "L-BFGS, OPA": (_OPA, DASHED),
    "adjoint Broyden, OPA": (_OPA, LONG),
    PUBLISHED: ("#000000", DASHED),
    EXACT: (_HOAG, SOLID),
}
LOWEST = 1e-16  # lower errors are drawn here
FLOOR = 1e-10  # lower errors are not written
SMALL = 1e-3  # of lower ones a power of ten is


def read_theory(path):
    """Read a measurement, a row per method, draw and iteration n."""
    return read_measurement(
        path, TEXTS, NUMBERS,
        "give the CSV file of `python -m experiments.theory`",
        ("problem", "steps", "method", "draw", "n"), {"steps": STEPS},
    )


# Curves

def curves(own, error):
    """Tabulate one method's errors, a row per n and a column per draw.

    A solve that has ended keeps its last error.
    """
    return own.pivot(index="n", columns="draw", values=error).ffill()


def plot_panel(ax, rows, error):
    """Draw medians over draws, and the band from the least to the most."""
    for method in filter(set(rows["method"]).__contains__, LOOKS):
        colour, dash = LOOKS[method]
        table = curves(rows[rows["method"] == method], error).clip(LOWEST)
        ax.plot(
            table.index, table.median(axis=1), color=colour, linestyle=dash,
            label=literal(method), zorder=3 if method == EXACT else 2,
        )
        ax.fill_between(
            table.index, table.min(axis=1), table.max(axis=1), color=colour,
            alpha=0.1, linewidth=0,
        )
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(numticks=6))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def plot(frame, error, caption):
    """Draw a grid: problems side by side, both sorts of steps below."""
    problems = list(frame["problem"].unique())
    steps = [s for s in STEPS if s in set(frame["steps"])]
    figure = Figure(figsize=(PAGE, 1.75 * len(steps)))
    axes = figure.subplots(
        len(steps), len(problems), sharey=True, squeeze=False
    )
    for (problem, kind), rows in frame.groupby(["problem", "steps"]):
        ax = axes[steps.index(kind), problems.index(problem)]
        plot_panel(ax, rows, error)
        span, d = dimensions(rows)
        ax.set_title(f"{literal(problem)}, {span} of {d} dimensions")
    for ax in axes[-1]:
        ax.set_xlabel("inner iteration $n$")
    for ax, kind in zip(axes[:, 0], steps):
        ax.set_ylabel(f"{STEPS[kind]}\nerror of {NAMES[error]}")
    remove_empty(axes)
    add_caption(figure, caption)
    order = [name for name in LOOKS if name in set(frame["method"])]
    add_legend(figure, axes.flat, order, most=4)
    return figure


def dimensions(rows):
    """Return how many dimensions the steps without OPA span, and d.

    With OPA, where nothing without was measured.
    """
    plain = rows[rows["method"] == rows["method"].map(alone)]
    own = rows if plain.empty else plain
    return int(own["span"].max()), int(own["d"].max())


# Tables

def halves(errors):
    """Return the factor of an iteration in both halves of the fall.

    The fall ends at the lowest error, or at FLOOR; a method converges
    superlinearly where the second factor is the smaller.  NaN where the fall
    is too short.
    """
    errors = np.asarray(errors, dtype=float).clip(FLOOR)
    end = int(errors.argmin())
    middle = end // 2
    if middle < 1:
        return np.nan, np.nan
    first, second, third = np.log(errors[[0, middle, end]])
    return (np.exp((second - first) / middle),
            np.exp((third - second) / (end - middle)))


def summary(frame):
    """Tabulate problem, steps and method: a row of numbers for each."""
    rows = []
    keys = ["problem", "steps", "method"]
    for key, own in frame.groupby(keys, sort=False):
        table = curves(own, ERRORS[""])
        medians = table.median(axis=1)
        early, late = halves(medians)
        rows.append(dict(zip(keys, key)) | {
            "iterations": own.groupby("draw")["n"].max().median(),
            "span": own["span"].max(), "d": own["d"].max(),
            "early": early, "late": late,
            "first": medians.iloc[0], "lowest": medians.min(),
            "q": curves(own, ERRORS["q"]).iloc[-1].median(),
            "last": table.iloc[-1],  # of each draw
        })
    return pd.DataFrame(rows).set_index(keys)


def gains(own, method):
    """Return how many times OPA's last error is below that without it.

    ``own`` is a `summary` of one problem and sort of steps; there is a
    number per draw.
    """
    plain = own.loc[alone(method), "last"]
    return plain / own.loc[method, "last"].clip(LOWEST)


def alone(method):
    """Return the method without OPA, by its label."""
    return method.partition(", OPA")[0]


def sentences(table):
    """Say what became of the theorems, a line for each curve."""
    places = ["problem", "steps"]
    parts = {
        "span": ["\n**Theorem 1: SHINE alone, where the steps span the "
                 "space.**\n\n"],
        "subspace": ["\n**Theorems 2 and 3: SHINE with OPA, where the steps "
                     "without OPA lie in a subspace.**\n\n"],
    }
    for (problem, steps), own in table.groupby(level=places, sort=False):
        own = own.droplevel(places)
        for name in filter(own.index.__contains__, LOOKS):
            if name in (JF, EXACT) or (", OPA" in name) == (steps == "span"):
                continue
            say = _say_alone if steps == "span" else _say_opa
            parts[steps].append(f"- {problem}: {say(own, name)}\n")
    return "".join(parts["span"] + parts["subspace"])


def _say_alone(own, name):
    row = own.loc[name]
    return (
        f"{name} brings the median error of dF/dθ from "
        f"{in_words(row['first'])} to {in_words(row['last'].median())} in "
        f"{row['iterations']:.0f} iterations."
    )


def _say_opa(own, name):
    ours = own.loc[name]
    told = (
        f"{name} ends at a median error of dF/dθ of "
        f"{in_words(ours['last'].median())} (n = {ours['iterations']:.0f})"
    )
    if alone(name) not in own.index:
        return f"{told}; {alone(name)} was not measured."
    theirs, times = own.loc[alone(name)], gains(own, name)
    return (
        f"{told}, {alone(name)} at "
        f"{in_words(theirs['last'].median())} (n = "
        f"{theirs['iterations']:.0f}). With OPA the error is "
        f"{times_in_words(times.median())} times lower in the median draw, "
        f"{times_in_words(times.min())} times in the worst."
    )


def times_in_words(number):
    """Format a factor: what rounds to 100 or more as a power of ten, "1e5".
    """
    if not np.isfinite(number):
        return "∞" if number > 0 else "–"
    # from here on two digits are a power of ten, too: "1e+02"
    return f"1e{np.log10(number):.0f}" if number >= 99.5 else f"{number:.2g}"


def in_words(number):
    """Format an error: a digit, or a power of ten where it is small.

    What is left of the small ones differs from processor to processor.
    """
    if number < FLOOR:
        return f"< {FLOOR:.0e}"
    return f"{number:.0e}" if number >= SMALL else (
        f"{10 ** np.log10(number).round():.0e}")


EXPLAINED = """\
Errors are relative, ‖found - exact‖ / ‖exact‖ at the exact root: medians over
{draws} after the last iteration, with the quartiles in brackets; below
1e-3 the power of ten is written.  A solve ends where ‖g‖ has fallen by 1e-12,
and keeps its last error.  "Dimensions" counts those that the steps span, of
those of z; OPA's pairs lead the steps out of a subspace.  "Factor" is by what
an iteration multiplies the median error, in the first and in the second half
of the way down to its lowest value, or to 1e-10: convergence is superlinear
where the second is smaller.  Jacobian-free and exact q are taken at the
iterates of BFGS and of adjoint Broyden, without OPA.
"""


def page(frame):
    """Write the sentences and the table, Markdown."""
    table, rows = summary(frame), []
    for key, own in table.iterrows():
        last = own["last"]
        rows.append(dict(zip(table.index.names, key)) | {
            "dimensions": f"{own['span']:.0f} of {own['d']:.0f}",
            "iterations": f"{own['iterations']:.0f}",
            "error of dF/dθ":
                "{} ({} – {})".format(
                    *map(in_words, last.quantile([0.5, 0.25, 0.75]))),
            "lowest": in_words(own["lowest"]),
            "error of q": in_words(own["q"]),
            "factor":
                f"{cell(own['early'], '.1f')} / {cell(own['late'], '.1f')}",
        })
    prints = ", ".join(sorted(frame["fingerprint"].unique()))
    return (
        f"# Theorems 1 to 3, measured\n\nBy the package {prints}.\n"
        f"{sentences(table)}\n"
        f"{EXPLAINED.format(draws=draws_in_words(frame))}\n"
        f"{markdown(pd.DataFrame(rows))}"
    )


def draws_in_words(frame):
    """Return "1 draw" or "10 draws"."""
    return league.in_words(frame["draw"].nunique(), "draw")


def caption_of(frame):
    """Say what lines and bands are."""
    return (
        "Relative errors against the exact root's. Lines are medians of "
        f"{draws_in_words(frame)}, bands hold all of them. A solve "
        "ends where the residual has fallen by 1e-12. OPA adds a pair at "
        "each iteration, until rounding ends the fall of its error."
    )


def draw(inputs):
    """Draw the theorems from the CSV file of their measurement."""
    files = inputs.csv.get("theory", ())
    if len(files) != 1:
        raise ResultError(
            f"{len(files)} CSV files of `python -m experiments.theory` among "
            "the files; give one"
        )
    frame = read_theory(files[0])
    caption = caption_of(frame)
    with paper_style():
        figures = {
            end: plot(frame, error, caption) for end, error in ERRORS.items()
        }
    return Drawing(figures, caption, {"": page(frame)})
