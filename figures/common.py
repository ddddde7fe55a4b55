"""From benchopt result files to numbers: no drawing here.

A result file has one row per (data set, solver, outer step); `read_runs`
turns one or more of them into one table of runs, and the rest of the module
takes medians over seeds.
"""
import argparse
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow.parquet import ParquetFile

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
# NaN where a file has no such column, being older or of another problem.
OPTIONAL = {
    "p_solver_moves": "moves",
    "p_solver_n_cg": "n_cg",
    "p_solver_n_refine": "n_refine",
    "p_solver_n_steps": "n_steps",
    "objective_test_accuracy": "test_accuracy",
    "objective_q_cosine": "q_cosine",
    "objective_q_cosine_median": "q_cosine_median",
    "objective_hypergrad_rel_error": "hypergrad_rel_error",
    "objective_spectral_radius": "spectral_radius",
    "objective_n_outer": "n_outer",
    "objective_forward_time": "forward_time",
    "objective_backward_time": "backward_time",
    "objective_peak_memory": "peak_memory",
}
PROTOCOLS = ("fair", "published")
# In the order of legends and tables.
METHODS = (
    "SHINE", "SHINE-OPA", "SHINE-refine", "SHINE-fallback", "Jacobian-Free",
    "HOAG", "HOAG-limited", "Neumann", "Phantom", "Unrolled-network",
    "torchdeq", "Grid-search", "Random-search",
)
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
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise ResultError(f"{path}: cannot be read ({why}); {remedy}")
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ResultError(
            f"{path}: no column {', '.join(missing)}; {remedy}"
        )
    if frame.empty:
        raise ResultError(f"{path}: has no rows; {remedy}")
    if not frame.columns.is_unique:
        raise ResultError(f"{path}: two columns of one name; {remedy}")
    return frame


def read_parquet(path):
    """A parquet file's columns, of whatever pandas made of them the plainest.

    Its own notes in the file, on an index and types of its own, are not
    followed, and bytes stay bytes: nothing is unpickled.
    """
    table = ParquetFile(path).read()
    table.validate(full=True)  # text that is none would fail on first sight
    return table.to_pandas(ignore_metadata=True)


def textual(path, frame, names):
    """Insist on columns of text.

    Raises
    ------
    ResultError
    """
    for name in names:
        odd = [x for x in frame[name] if not isinstance(x, str)]
        if odd:
            raise ResultError(
                f"{path}: column {name} has {str(odd[0])[:20]!r} where text "
                "is expected; give a file as it was written"
            )


def numeric(path, frame, names):
    """Columns as floats, ``names`` mapping their name in the file to ours."""
    try:
        return frame[list(names)].astype(float).rename(columns=names)
    except (TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise ResultError(
            f"{path}: not numbers ({why}); give a file as it was written"
        )


def renamed(path, raw):
    """benchopt's columns under our names; absent ones of OPTIONAL are NaN.

    ``dataset`` has lost its seed.

    Parameters
    ----------
    path : str or Path
        For the message of an error.
    raw : pandas.DataFrame
        As `benchopt run` writes it, with an index 0, 1, 2 …
    """
    absent = [name for name in OPTIONAL if name not in raw]
    raw = raw.assign(**dict.fromkeys(absent, np.nan))
    textual(path, raw, NAMES)
    numbers = numeric(path, raw, NUMBERS | OPTIONAL)
    frame = raw[list(NAMES)].rename(columns=NAMES).join(numbers)
    return frame.assign(
        seed=frame["seed"].fillna(0),
        dataset=frame["dataset"].map(without_seed),
    )


def read_results(paths):
    """Benchopt result files, one below the other.

    Returns
    -------
    pandas.DataFrame
        Of `renamed`: the values of NAMES, NUMBERS and OPTIONAL.  ``moves``
        is NaN for searches.
    """
    frames = [
        renamed(path, read_table(
            path, read_parquet, [*NAMES, *NUMBERS],
            "give the .parquet file that `benchopt run` wrote",
        ))
        for path in paths
    ]
    frame = pd.concat(frames, ignore_index=True)
    for dataset, rows in frame.groupby("dataset"):
        prints = sorted(rows["fingerprint"].astype(str).unique())
        if len(prints) > 1:
            warn(
                f"{', '.join(map(str, paths))}: {dataset}: rows of "
                f"{len(prints)} versions of the package "
                f"({', '.join(prints)}); run benchopt again to compare"
            )
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


def of_neither(frame):
    """Rows that no protocol has."""
    return ~frame["moves"].isin([1, 2]) & frame["moves"].notna()


def split_protocols(frame):
    """Add a column ``protocol``; searches may come out twice."""
    parts = [
        group[rows].assign(protocol=name)
        for _, group in frame.groupby("dataset", sort=False)
        for name, rows in protocols_of(group["moves"]).items()
    ]
    return pd.concat(parts, ignore_index=True)


def alive(frame, loss):
    """A loss, infinite where it is not finite or the run has diverged."""
    dead = ~np.isfinite(frame[loss]) | (frame["diverged"] > 0)
    return frame[loss].mask(dead, np.inf)


def add_gap(frame, loss):
    """Add ``best`` and ``gap``, the suboptimality of a loss.

    ``best`` is the lowest loss that any method of that protocol and data set
    reached with that seed, at any step; ``gap`` is infinite where a run has
    diverged.
    """
    losses = alive(frame, loss)
    of_seed = [frame[key] for key in ("protocol", "dataset", "seed")]
    best = losses.groupby(of_seed).transform("min")
    return frame.assign(best=best, gap=(losses - best).fillna(np.inf))


def runs_of(frame):
    """Give each row its protocol, method and number of evaluations.

    Runs of one seed that were repeated become one, by medians.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of `read_results`.
    """
    frame = split_protocols(frame)
    keys = ["protocol", "dataset", "solver", "seed", "step"]
    names = [*NUMBERS.values(), *OPTIONAL.values()]
    medians = {name: "median" for name in names if name not in keys}
    frame = frame.groupby(keys).agg(medians | {"fingerprint": "last"})
    frame = frame.reset_index()
    for _, rows in frame.groupby(["protocol", "dataset"]).groups.items():
        solvers = frame.loc[rows, "solver"]
        frame.loc[rows, "method"] = solvers.map(short_names(solvers.unique()))
    return frame.assign(
        evaluations=frame["n_g"] + frame["n_jvp"],
        outer=frame["n_outer"].fillna(frame["step"]),
        # in networks that of the median sample
        cosine=frame["q_cosine_median"].fillna(frame["q_cosine"]),
    )


def base_of(method):
    """The method that a label is a variant of."""
    return method.partition(" (")[0]


def rank(method):
    """Sort key: the order of METHODS, then the alphabet."""
    base = base_of(method)
    known = METHODS.index(base) if base in METHODS else len(METHODS)
    return known, method


def read_runs(options, formulation=None):
    """Every run of the data sets that were asked for.

    Parameters
    ----------
    options : argparse.Namespace
        ``results`` and ``datasets``, of `arguments`.
    formulation : str or None
        Only data sets of this formulation.

    Returns
    -------
    pandas.DataFrame
        Of `runs_of`.

    Raises
    ------
    ResultError
        Also where nothing is left.
    """
    frame = read_results(options.results)
    files = ", ".join(map(str, options.results))
    odd = of_neither(frame)
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
    return runs_of(frame)


def only(options, frame, keep):
    """The runs whose method, less its parameters, is to be kept.

    Raises
    ------
    ResultError
        Where nothing is left.
    """
    shown = frame[frame["method"].map(base_of).map(keep)]
    if shown.empty:
        raise ResultError(
            f"{', '.join(map(str, options.results))}: none of the methods "
            f"asked for; it has {', '.join(sorted(set(frame['method'])))}: "
            "run more solvers"
        )
    return shown


def load(options, loss="test_loss", keep=lambda method: True,
         formulation=None):
    """The runs that a figure shows, with their suboptimality.

    Parameters
    ----------
    options, formulation
        As in `read_runs`.
    loss : {"test_loss", "value"}
        Which loss the suboptimality is of.
    keep : callable, str -> bool
        Which methods are shown; all count for the best of a seed.
    """
    frame = add_gap(read_runs(options, formulation), loss)
    return only(options, frame, keep)


# Medians

def quantile(numbers, q):
    """A quantile, linear between numbers, of which some may be infinite.

    Between a finite number and an infinite one lies infinity; pandas says
    NaN there, and even for the median of 1, 2 and infinity.  NaN is left
    out; of nothing, the quantile is NaN.
    """
    numbers = np.sort(np.asarray(numbers, dtype=float))
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return np.nan
    place = q * (len(numbers) - 1)
    below, above = (numbers[int(f(place))] for f in (np.floor, np.ceil))
    if np.isinf(below) or np.isinf(above):
        return below if np.isinf(below) else above
    return below + (place - np.floor(place)) * (above - below)


def by_step(runs, y):
    """A quantity of one method: a row per outer step, a column per seed.

    A run that diverged, whose y is infinite, stays so.  The rows end with the
    shortest of the other runs: what is left would be another population.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of one protocol, data set and method.
    y : str
        Column.
    """
    ys = runs.pivot(index="step", columns="seed", values=y)
    last = ys.ffill()
    return ys.mask(ys.isna() & np.isinf(last), last).dropna()


def over_seeds(runs, x, quantiles, y="gap"):
    """Convergence curve of one method, a point per step of `by_step`.

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
    ys = by_step(runs, y)
    xs = runs.pivot(index="step", columns="seed", values=x).ffill()
    low, middle, high = (
        ys.agg(quantile, axis=1, q=q)
        for q in (quantiles[0], 0.5, quantiles[1])
    )
    x = xs.loc[ys.index].median(axis=1)
    return pd.DataFrame({"x": x, y: middle, "low": low, "high": high})


def cell(value, form):
    """Text of a number; NaN is nothing, infinity a run that diverged."""
    if np.isnan(value):
        return "-"
    return "diverged" if np.isinf(value) else format(value, form)


def markdown(frame):
    """A table of text in Markdown, legible as it is."""
    rows = [list(frame.columns), *frame.to_numpy().tolist()]
    widths = [max(3, *map(len, column)) for column in zip(*rows)]
    rows.insert(1, ["-" * width for width in widths])
    return "".join(
        f"| {' | '.join(map(str.ljust, row, widths))} |\n" for row in rows
    )


def save_text(text, folder, name):
    """Write NAME.md, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    print(path)
    return text


def put(path, name, text, command):
    """Replace what stands between the two marks of a Markdown file.

    The first, <!-- NAME:begin ... -->, is given the command; the other is
    <!-- NAME:end -->.

    Raises
    ------
    ResultError
        Where the file has not exactly one such pair.
    """
    marks = re.compile(
        rf"(<!-- {name}:begin).*?-->\n.*?(<!-- {name}:end -->)", re.DOTALL
    )
    old = path.read_text(encoding="utf-8")
    if len(marks.findall(old)) != 1:
        raise ResultError(
            f"{path}: needs one line <!-- {name}:begin --> and below it one "
            f"line <!-- {name}:end -->, to put the table between"
        )
    new = marks.sub(
        lambda found: f"{found[1]} {command} -->\n{text}{found[2]}", old
    )
    path.write_text(new, encoding="utf-8")


# Command line

def positive(text):
    """A number above 0, for argparse."""
    if not float(text) > 0:
        raise ValueError
    return float(text)


def arguments(doc, name):
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
    """`arguments`, and what figures of a suboptimality take."""
    parser = arguments(doc, name)
    parser.add_argument(
        "--floor", type=positive, default=1e-3,
        help="suboptimalities below are drawn here (the y axis says so)",
    )
    parser.add_argument(
        "--x-scale", choices=("linear", "log"), default="linear",
        help="log leaves the start out, which is at 0",
    )
    return parser
