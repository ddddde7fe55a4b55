"""The authors' own runs of 20 newsgroups: seed 0, published protocol."""
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .methods import in_order
from .plotting import FLOOR, GREY
from .results import ResultError, numeric, read_table

TRACES = Path(__file__).with_name("authors_20news_seed0.csv")

# Names of the authors' runs.  Their code has exchanged the two searches:
# its "random-search" is the equally spaced one.
SCHEMES = {
    "shine-big-rank": "SHINE",
    "shine-big-rank-refined": "SHINE-refine",
    "fpn": "Jacobian-Free",
    "original": "HOAG",
    "truncated-inversion": "HOAG-limited",
    "random-search": "Grid-search",
    "grid-search": "Random-search",
}
# Those on their Python L-BFGS, by the curvature constant of its line search.
PYTHON_C2 = 9e-4
PYTHON_SCHEMES = {
    "pure-python": "HOAG", "shine-big-rank-pp": "SHINE",
    "shine-big-rank-opa": "SHINE-OPA",
}
NUMBERS = {
    "outer_step": "step",
    "time_s": "time",
    "cum_inner_fg": "n_g",
    "cum_hvp": "n_vjp",
    "heldout_loss": "test_loss",
}
LABELS = {
    "time": "authors, seed 0, dot: method (timed elsewhere)",
    "evaluations": "authors, seed 0, dot: method",
}


def read_traces(path=TRACES):
    """Read the authors' runs, one row per outer step.

    Columns: ``scheme``, ``step``, ``time`` (s), ``n_g``, ``n_vjp``,
    ``evaluations``, ``test_loss``.
    """
    raw = read_table(
        path, pd.read_csv, ["scheme", *NUMBERS],
        "give the CSV file of the authors' runs",
    )
    frame = numeric(path, raw, NUMBERS)
    frame["evaluations"] = frame["n_g"] + frame["n_vjp"]
    return frame.assign(scheme=raw["scheme"])


def scheme_of(base, c2):
    """Return the authors' name of a run of the method ``base``, or None.

    ``c2`` is the curvature constant of its line search.
    """
    schemes = PYTHON_SCHEMES if c2 == PYTHON_C2 else SCHEMES
    return next((key for key, own in schemes.items() if own == base), None)


@dataclass(frozen=True)
class Overlay:
    """The authors' runs of the methods in the panel of one data set.

    ``runs`` maps the label of a method to rows of `read_traces`, with a
    ``gap`` to our best.
    """

    dataset: str
    runs: dict

    def fits(self, protocol, dataset):
        """Say whether a panel is the one that these runs belong to."""
        return (protocol, dataset) == ("published", self.dataset)

    def plot(self, ax, x, looks):
        """Draw grey lines, each with a dot of its method's colour."""
        for method, run in self.runs.items():
            run = run[run[x] > 0]  # the axis is logarithmic
            gap = run["gap"].clip(lower=FLOOR)
            ax.plot(
                run[x], gap, color=GREY, linewidth=0.8, zorder=1.5,
                linestyle=looks[method]["linestyle"], label=LABELS[x],
            )
            # names would lie on the curves: a dot says whose line it is
            ax.plot(
                run[x].iloc[-1], gap.iloc[-1], "o", markersize=4,
                color=looks[method]["color"], markeredgecolor="white",
                markeredgewidth=0.5, zorder=3,
            )


def find_overlay(runs, inputs):
    """Find the authors' runs of the methods shown.

    ``runs`` have a ``gap`` of the test loss and its ``best``.  A file of
    traces among the inputs is read in place of the authors' own.  The result
    is an `Overlay`, or None where ``runs`` have not the authors' protocol,
    data and seed, and a list of warnings.
    """
    news = runs[
        (runs["bare_dataset"] == "20news") & (runs["formulation"] != "nls")
    ]
    ours = news[(news["protocol"] == "published") & (news["seed"] == 0)]
    if ours.empty:
        told = "no seed 0 of the published protocol: no authors' lines"
        return None, [told] if len(news) else []
    traces = read_traces(*_given(inputs))
    start = ours.loc[ours["step"] == 0, "test_loss"].median()
    theirs = traces.loc[traces["step"] == 0, "test_loss"].median()
    warnings = []
    if abs(start - theirs) > 1e-3 * theirs:
        warnings.append(
            f"seed 0 starts at {start:.4g}, the authors' at {theirs:.4g}"
        )
    traces["gap"] = traces["test_loss"] - ours["best"].iloc[0]
    first = ours.groupby("method").first()
    found = {
        method: traces[traces["scheme"] == scheme_of(
            first.at[method, "base"], first.at[method, "c2"])]
        for method in in_order(ours)
    }
    found = {method: run for method, run in found.items() if len(run)}
    return Overlay(ours["dataset"].iloc[0], found), warnings


def _given(inputs):
    files = inputs.csv.get("traces", ())
    if len(files) > 1:
        raise ResultError(f"{files[1]}: a second file of runs; give one")
    return files
