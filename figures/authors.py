"""The authors' own runs in grey: 20 newsgroups, seed 0, their protocol.

A dot in the method's colour ends each.
"""
import pandas as pd

import common
from common import numeric, rank, read_table, warn
from drawing import GREY, style_of

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
PYTHON_C2 = "c2=0.0009"
PYTHON_SCHEMES = {
    "pure-python": "HOAG", "shine-big-rank-pp": "SHINE",
    "shine-big-rank-opa": "SHINE-OPA",
}
NUMBERS = {
    "outer_step": "step",
    "time_s": "time",
    "cum_inner_fg": "n_g",
    "cum_hvp": "n_jvp",
    "heldout_loss": "test_loss",
}
LABELS = {
    "time": "authors, seed 0, dot: method (timed elsewhere)",
    "evaluations": "authors, seed 0, dot: method",
}


def command_line(doc, name):
    """`common.command_line`, and ``--authors``."""
    parser = common.command_line(doc, name)
    parser.add_argument(
        "--authors", metavar="CSV",
        help="the authors' trajectories, for the panel of 20 newsgroups in "
             "the published protocol",
    )
    return parser


def read_authors(path):
    """The authors' trajectories, one row per outer step.

    Returns
    -------
    pandas.DataFrame
        Columns ``scheme``, ``step``, ``time`` (s), ``n_g``, ``n_jvp``,
        ``evaluations``, ``test_loss``.
    """
    raw = read_table(
        path, pd.read_csv, ["scheme", *NUMBERS],
        "give the CSV file of the authors' trajectories",
    )
    frame = numeric(path, raw, NUMBERS)
    frame["evaluations"] = frame["n_g"] + frame["n_jvp"]
    return frame.assign(scheme=raw["scheme"])


def scheme_of(solver):
    """The authors' run with the settings of a solver, or None.

    Parameters
    ----------
    solver : str
        As result files have it, "SHINE[c2=0.0009,…]".
    """
    schemes = PYTHON_SCHEMES if PYTHON_C2 in solver else SCHEMES
    name = solver.partition("[")[0]
    return next((key for key, own in schemes.items() if own == name), None)


def make_overlay(options, frame):
    """Draw the authors' runs of the methods shown, against our best.

    Parameters
    ----------
    options : argparse.Namespace
        ``authors``, ``floor``, ``x_scale``.
    frame : pandas.DataFrame
        Of `common.load`.

    Returns
    -------
    callable, (ax, protocol, data set, x), or None
        None without a file, or where ``frame`` has not their protocol, data
        and seed.
    """
    if options.authors is None:
        return None
    authors = read_authors(options.authors)
    news = frame[
        frame["dataset"].str.startswith("20news")
        & ~frame["dataset"].str.contains("nls")
    ]
    ours = news[(news["protocol"] == "published") & (news["seed"] == 0)]
    if ours.empty:
        if len(news):
            warn("no seed 0 of the published protocol: no authors' lines")
        return None
    start = ours.loc[ours["step"] == 0, "test_loss"].median()
    theirs = authors.loc[authors["step"] == 0, "test_loss"].median()
    if abs(start - theirs) > 1e-3 * theirs:
        warn(f"seed 0 starts at {start:.4g}, the authors' at {theirs:.4g}")
    authors["gap"] = authors["test_loss"] - ours["best"].iloc[0]
    runs = {
        method: authors[authors["scheme"] == scheme_of(solver)]
        for method, solver in zip(ours["method"], ours["solver"])
    }
    first = 1 if options.x_scale == "log" else 0

    def overlay(ax, protocol, dataset, x):
        if (protocol, dataset) != ("published", ours["dataset"].iloc[0]):
            return
        for method in sorted(runs, key=rank):
            run = runs[method][runs[method]["step"] >= first]
            if run.empty:
                continue
            style = style_of(method)
            gap = run["gap"].clip(lower=options.floor)
            ax.plot(
                run[x], gap, color=GREY, linestyle=style["linestyle"],
                linewidth=0.8, zorder=1.5, label=LABELS[x],
            )
            # names would lie on the curves: a dot says whose line it is
            ax.plot(
                run[x].iloc[-1], gap.iloc[-1], "o", color=style["color"],
                markersize=4, markeredgecolor="white", markeredgewidth=0.5,
                zorder=3,
            )

    return overlay
