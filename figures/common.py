"""From benchopt result files to numbers: no drawing here.

A result file has one row per (data set, solver, outer step); `load` turns
one or more of them into one table of runs, and the rest of the module takes
medians over seeds.
"""
import argparse
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

OUTPUT = Path(__file__).parent / "output"

# Name in a result file -> name here.
NAMES = {
    "dataset_name": "dataset",
    "solver_name": "solver",
    "p_obj_fingerprint": "fingerprint",
}
NUMBERS = {
    "p_dataset_seed": "seed",
    "stop_val": "step",
    "time": "time",
    "objective_value": "value",
    "objective_test_loss": "test_loss",
    "objective_value_function": "value_function",
    "objective_theta": "theta",
    "objective_n_g": "n_g",
    "objective_n_jvp": "n_jvp",
    "objective_diverged": "diverged",
}
# The same, but some files have no such column: NaN there.
SOMETIMES = {
    "p_solver_moves": "moves",
    "p_solver_n_cg": "n_cg",
    "p_solver_n_refine": "n_refine",
    "p_solver_n_steps": "n_steps",
    "objective_n_outer": "n_outer",
    "objective_forward_time": "forward_time",
    "objective_backward_time": "backward_time",
    "objective_test_accuracy": "test_accuracy",
    "objective_q_cosine_median": "q_cosine_median",
    "objective_spectral_radius": "spectral_radius",
}
PROTOCOLS = ("fair", "published")
# In the order of legends and tables.
METHODS = (
    "SHINE", "SHINE-OPA", "SHINE-refine", "SHINE-fallback", "Jacobian-Free",
    "HOAG", "HOAG-limited", "Neumann", "Grid-search", "Random-search",
)
# Below these suboptimalities a method has arrived, or has not.
THRESHOLDS = (10, 1, 0.1)
X_LABELS = {
    "time": "time (s)",
    "evaluations": "gradient evaluations + products",
}


class ResultError(Exception):
    """Something is wrong with a file; says which, and what to do."""


@contextmanager
def one_line_errors():
    """End with status 2 and one line on stderr, in place of a traceback."""
    try:
        yield
    except (ResultError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(2) from None


def warn(message):
    """One line on stderr."""
    print("warning:", message, file=sys.stderr)


# Reading

def read_table(path, reader, columns, remedy):
    """Read a file and check that it has what is needed.

    Parameters
    ----------
    path : str or Path
    reader : callable, path -> pandas.DataFrame
    columns : iterable of str
        That must be there; others are kept too.
    remedy : str
        What to do about a file that will not do.

    Raises
    ------
    ResultError
        Where there is no such file, or not of this kind, or columns are
        missing, or it has no rows.
    """
    if not Path(path).is_file():
        raise ResultError(f"{path}: no such file; {remedy}")
    try:
        frame = reader(path).reset_index(drop=True)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ResultError(f"{path}: cannot be read ({why}); {remedy}")
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ResultError(
            f"{path}: no column {', '.join(missing)}; {remedy}"
        )
    if frame.empty:
        raise ResultError(f"{path}: has no rows; {remedy}")
    return frame


def numeric(path, frame, names):
    """Columns as floats, ``names`` mapping their name in the file to ours."""
    try:
        return frame[list(names)].astype(float).rename(columns=names)
    except (TypeError, ValueError) as error:
        raise ResultError(f"{path}: not numbers: {error}")


def read_results(paths):
    """Benchopt result files, one below the other.

    Returns
    -------
    pandas.DataFrame
        Columns: the values of NAMES, NUMBERS and SOMETIMES; ``moves`` is NaN
        for searches.  ``dataset`` has lost its seed.
    """
    frames = []
    for path in paths:
        raw = read_table(
            path, pd.read_parquet, [*NAMES, *NUMBERS],
            "give the .parquet file that `benchopt run` wrote",
        )
        absent = [name for name in SOMETIMES if name not in raw]
        raw = raw.assign(**dict.fromkeys(absent, np.nan))
        numbers = numeric(path, raw, NUMBERS | SOMETIMES)
        frames.append(raw[list(NAMES)].rename(columns=NAMES).join(numbers))
    frame = pd.concat(frames, ignore_index=True)
    prints = sorted(frame["fingerprint"].astype(str).unique())
    if len(prints) > 1:
        warn(
            f"{', '.join(map(str, paths))}: rows of {len(prints)} versions of "
            f"the package ({', '.join(prints)}); run benchopt again to compare"
        )
    frame["seed"] = frame["seed"].fillna(0)
    frame["dataset"] = frame["dataset"].map(without_seed)
    return frame


# Names

PARAMETER = re.compile(r"(\w+)=(\([^)]*\)|\[[^\]]*\]|[^,\[\]]*)")


def split_name(name):
    """Split benchopt's ``base[a=1,b=2]`` into base and a dict of strings."""
    base, _, rest = name.partition("[")
    return base, dict(PARAMETER.findall(rest))


def without_seed(name):
    """A data set's name less its seed."""
    base, parameters = split_name(name)
    rest = ",".join(
        f"{key}={value}" for key, value in parameters.items() if key != "seed"
    )
    return f"{base}[{rest}]" if rest else base


def short_names(names):
    """The least that tells benchopt's long names apart.

    Returns
    -------
    dict of str to str
        The base where it is the only one of its kind, else the base and the
        parameters that distinguish it, formulation first.
    """
    short = {}
    for name in names:
        base, own = split_name(name)
        rivals = [split_name(n) for n in names if split_name(n)[0] == base]
        keys = sorted(
            {key for _, parameters in rivals for key in parameters},
            key=lambda key: (key not in own, key != "formulation", key),
        )
        shown, left = [], [parameters for _, parameters in rivals]
        for key in keys:
            alike = [p for p in left if p.get(key) == own.get(key)]
            if len(alike) < len(left):
                left = alike
                shown += [key] if key in own else []
        words = [own[k] if k == "formulation" else f"{k}={own[k]}"
                 for k in shown]
        short[name] = f"{base} ({', '.join(words)})" if words else base
    return short


# Protocols, runs, suboptimality

def protocols_of(moves):
    """The protocols that runs belong to, by how often they apply a step.

    The authors' released code applies every outer step twice, so the
    solvers' parameter ``moves`` = 2 is the mark of the *published* protocol,
    whose methods also differ in memory and tolerance; ``moves`` = 1 is the
    *fair* one, where methods differ in the inverse alone.  Searches move
    nothing (NaN): they belong to every protocol that some method of their
    data set follows, or to the fair one where they are alone.

    Parameters
    ----------
    moves : pandas.Series
        Of one data set.

    Returns
    -------
    dict of str to pandas.Series of bool
        The rows of each protocol that is there.
    """
    search = moves.isna()
    rows = {"fair": moves == 1, "published": moves == 2}
    there = {name: own | search for name, own in rows.items() if own.any()}
    return there or {"fair": search}


def split_protocols(frame):
    """Add a column ``protocol``; searches may come out twice."""
    parts = [
        group[rows].assign(protocol=name)
        for _, group in frame.groupby("dataset", sort=False)
        for name, rows in protocols_of(group["moves"]).items()
    ]
    return pd.concat(parts, ignore_index=True)


def add_gap(frame, loss):
    """Add ``best`` and ``gap``, the suboptimality of a loss.

    ``best`` is the lowest loss that any method of that protocol and data set
    reached with that seed, at any step; ``gap`` is infinite where a run has
    diverged.
    """
    dead = ~np.isfinite(frame[loss]) | (frame["diverged"] > 0)
    alive = frame[loss].mask(dead, np.inf)
    of_seed = [frame[key] for key in ("protocol", "dataset", "seed")]
    best = alive.groupby(of_seed).transform("min")
    return frame.assign(best=best, gap=(alive - best).fillna(np.inf))


def runs_of(frame, loss):
    """Give each row its protocol, method, evaluations and suboptimality.

    Runs of one seed that were repeated become one, by medians.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of `read_results`.
    loss : {"test_loss", "value"}
        Which loss the suboptimality is of.
    """
    frame = split_protocols(frame)
    keys = ["protocol", "dataset", "solver", "seed", "step"]
    numbers = [*NUMBERS.values(), *SOMETIMES.values()]
    medians = {n: "median" for n in numbers if n not in keys}
    frame = frame.groupby(keys).agg(medians | {"fingerprint": "last"})
    frame = frame.reset_index()
    for _, rows in frame.groupby(["protocol", "dataset"]).groups.items():
        solvers = frame.loc[rows, "solver"]
        frame.loc[rows, "method"] = solvers.map(short_names(solvers.unique()))
    frame["evaluations"] = frame["n_g"] + frame["n_jvp"]
    return add_gap(frame, loss)


def base_of(method):
    """The method that a label is a variant of."""
    return method.partition(" (")[0]


def rank(method):
    """Sort key: the order of METHODS, then the alphabet."""
    base = base_of(method)
    known = METHODS.index(base) if base in METHODS else len(METHODS)
    return known, method


def load(options, loss="test_loss", keep=lambda method: True,
         formulation=None):
    """The runs that a figure shows.

    Parameters
    ----------
    options : argparse.Namespace
        Of a parser from `command_line`.
    loss : {"test_loss", "value"}
    keep : callable, str -> bool
        Which methods are shown; all count for the best of a seed.
    formulation : str or None
        Only data sets of this formulation.

    Raises
    ------
    ResultError
        Also where nothing is left.
    """
    frame = read_results(options.results)
    files = ", ".join(map(str, options.results))
    odd = ~frame["moves"].isin([1, 2]) & frame["moves"].notna()
    if odd.any():
        warn(f"{files}: {odd.sum()} rows of neither protocol are left out")
    frame = frame[~odd]
    there = sorted(frame["dataset"].unique())
    wanted = [
        name for name in there
        if (not options.datasets or split_name(name)[0] in options.datasets)
        and formulation in (None, split_name(name)[1].get("formulation"))
    ]
    frame = frame[frame["dataset"].isin(wanted)]
    if frame.empty:
        what = " ".join(filter(None, [*options.datasets, formulation]))
        raise ResultError(
            f"{files}: no data set for {what or 'either protocol'}; it has "
            f"{', '.join(there) or 'none'}"
        )
    frame = runs_of(frame, loss)
    shown = frame[frame["method"].map(base_of).map(keep)]
    if shown.empty:
        raise ResultError(
            f"{files}: none of this figure's methods; it has "
            f"{', '.join(sorted(set(frame['method'])))}: run more solvers"
        )
    return shown


# Medians

def over_seeds(runs, x, quantiles, y="gap"):
    """Convergence curve of one method, a point per outer step.

    A run that diverged, whose y is infinite, stays so.  The curve ends with
    the shortest of the other runs: what is left would be another population.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of one protocol, data set and method.
    x : {"time", "evaluations"}
    quantiles : (float, float)
        Ends of the band.
    y : str
        Column whose median is wanted.

    Returns
    -------
    pandas.DataFrame, indexed by step
        Columns ``x``, that of ``y`` (medians), ``low``, ``high``.
    """
    ys = runs.pivot(index="step", columns="seed", values=y)
    last = ys.ffill()
    ys = ys.mask(ys.isna() & np.isinf(last), last).dropna()
    xs = runs.pivot(index="step", columns="seed", values=x).ffill()
    infinite = ys.sum(axis=1)  # of either sign, where there is one
    with np.errstate(invalid="ignore"):  # infinity less infinity
        low, middle, high = (
            ys.quantile(q, axis=1).fillna(infinite)
            for q in (quantiles[0], 0.5, quantiles[1])
        )
    x = xs.loc[ys.index].median(axis=1)
    return pd.DataFrame({"x": x, y: middle, "low": low, "high": high})


def first_below(runs, threshold, x):
    """Median over seeds of the first x whose gap is below a threshold.

    Infinite unless more than half of the seeds get there.
    """
    reached = runs[runs["gap"] < threshold].groupby("seed")[x].min()
    return reached.reindex(runs["seed"].unique(), fill_value=np.inf).median()


def finals(runs):
    """The last row of each seed; losses infinite where it has diverged."""
    last = runs.sort_values("step").groupby("seed").tail(1).copy()
    losses = ["test_loss", "value", "value_function"]
    last.loc[last["diverged"] > 0, losses] = np.inf
    return last


def cell(value, form):
    """Text of a number; NaN is nothing, infinity a run that diverged."""
    if np.isnan(value):
        return "-"
    return "diverged" if np.isinf(value) else format(value, form)


def _arrival(runs, threshold):
    time, evaluations = (first_below(runs, threshold, x) for x in X_LABELS)
    return "-" if np.isinf(time) else f"{time:.3g} s / {evaluations:.0f}"


def summary(frame):
    """A row of text per data set, protocol and method, in columns.

    Returns
    -------
    pandas.DataFrame of str
        Medians over seeds at the end of the runs, and of where the
        suboptimality first falls below THRESHOLDS.
    """
    rows = []
    titles = short_names(frame["dataset"].unique())
    keys = ["dataset", "protocol", "method"]
    groups = dict(iter(frame.groupby(keys)))
    order = sorted(groups, key=lambda key: (*key[:2], rank(key[2])))
    for dataset, protocol, method in order:
        runs = groups[dataset, protocol, method]
        last = finals(runs)
        middle = last.median(numeric_only=True)
        rows.append({
            "data set": titles[dataset],
            "protocol": protocol,
            "method": method,
            "seeds": str(len(last)),
            "diverged": f"{last['diverged'].sum():.0f}",
            "test loss": cell(middle["test_loss"], ".3f"),
            "validation loss": cell(middle["value"], ".3f"),
            "exact validation loss": cell(middle["value_function"], ".3f"),
            "log λ": cell(middle["theta"], ".3f"),
            "time (s)": cell(middle["time"], ".3g"),
            "evaluations of g": cell(middle["n_g"], ".0f"),
            "products": cell(middle["n_jvp"], ".0f"),
        } | {f"below {t}": _arrival(runs, t) for t in THRESHOLDS})
    return pd.DataFrame(rows)


def markdown(frame):
    """A table of text in Markdown."""
    lines = [frame.columns, ["---"] * frame.shape[1], *frame.to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# Command line

def positive(text):
    """A number above 0, for argparse."""
    if not float(text) > 0:
        raise ValueError
    return float(text)


def basic_command_line(doc, name):
    """The arguments that every figure takes.

    Parameters
    ----------
    doc : str
        The script's docstring.
    name : str
        Default name of the files written.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="RESULT",
        help="parquet file written by benchopt",
    )
    parser.add_argument("--output-dir", type=Path, default=OUTPUT)
    parser.add_argument("--name", default=name, help="of the files written")
    parser.add_argument(
        "--datasets", nargs="+", default=[], metavar="NAME",
        help="only these, e.g. 20news; write it after the results",
    )
    return parser


def command_line(doc, name):
    """`basic_command_line`, and what figures of a suboptimality take."""
    parser = basic_command_line(doc, name)
    parser.add_argument(
        "--floor", type=positive, default=1e-3,
        help="suboptimalities below are drawn here (the y axis says so)",
    )
    parser.add_argument(
        "--x-scale", choices=("linear", "log"), default="linear",
        help="log leaves the start out, which is at 0",
    )
    return parser
