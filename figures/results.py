"""Read result files: benchopt's runs, and measurements in CSV files.

A result file of benchopt has one row per data set, solver, seed and measured
outer step.  `read_runs` turns such files into one table, in which every run
has a data set, a protocol and a method by name; `named` lists its columns.
"""
import io
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow.parquet import ParquetFile

from .methods import (
    BY_NAME, Thing, canonical, defaults_of, distinct_labels, label,
)

REMEDY = "give the .parquet file that `benchopt run` wrote"

# Column of a result file -> column here.  Files must have these.
TEXTS = {
    "dataset_name": "dataset_name", "solver_name": "solver_name",
    "p_obj_fingerprint": "fingerprint",
}
NUMBERS = {
    "stop_val": "step",
    "time": "time",
    "objective_value": "value",
    "objective_test_loss": "test_loss",
    "objective_value_function": "value_function",
    "objective_theta": "theta",
    "objective_n_g": "n_g",
    "objective_n_vjp": "n_vjp",
    "objective_diverged": "diverged",
}
# These are NaN where a file lacks them.
OPTIONAL = {
    "p_dataset_seed": "seed",
    "objective_test_accuracy": "test_accuracy",
    "objective_perplexity": "perplexity",
    "objective_bits_per_character": "bits_per_character",
    "objective_baseline_unigram": "baseline_unigram",
    "objective_baseline_bigram": "baseline_bigram",
    "objective_q_cosine": "q_cosine",
    "objective_q_cosine_median": "q_cosine_median",
    "objective_q_rel_error": "q_rel_error",
    "objective_hypergrad_rel_error": "hypergrad_rel_error",
    "objective_hypergrad_cosine": "hypergrad_cosine",
    "objective_hypergrad_sign": "hypergrad_sign",
    "objective_value_error": "value_error",
    "objective_optimum": "optimum",
    "objective_spectral_radius": "spectral_radius",
    "objective_test_residual": "test_residual",
    "objective_n_cheap": "n_cheap",
    "objective_n_outer": "n_outer",
    "objective_forward_time": "forward_time",
    "objective_backward_time": "backward_time",
    "objective_peak_memory": "peak_memory",
    "objective_unmeasured": "unmeasured",
    "p_obj_reference": "reference",
}
# Names in older files -> names now.
RENAMED = {
    "objective_n_jvp": "objective_n_vjp",
    "p_solver_n_cg": "p_solver_backward_steps",
    "p_solver_n_refine": "p_solver_backward_steps",
    "p_solver_n_steps": "p_solver_backward_steps",
    "p_solver_n_pairs": "p_solver_root_pairs",
}
# Parameters of a solver that say where it ran, or stand in another column.
NO_SETTING = {"slurm_gres", "slurm_params", "protocol"}
# Older network rows list these though nothing used them.
BILEVEL_SETTINGS = {
    "memory", "tol", "decay", "anchor", "moves", "c2", "scale", "keep_pairs",
    "max_iter",
}
# What times depend on, beside the package: columns of newer files.
MACHINE = {
    "p_obj_torch": "torch {}", "p_obj_threads": "threads {}",
    "system-processor": "{}",
}
PROTOCOLS = ("fair", "hoag", "published")  # in this order, others after them
RUN = ["dataset", "protocol", "method", "seed"]

# What a CSV file is, by columns that only such a file has.
KINDS = {
    "inversion": ("direction", "ratio", "cosine"),
    "alignment": ("state", "solver", "cosine"),
    "traces": ("scheme", "outer_step"),
    "points": ("top1_percent", "backward_ms"),
    "theory": ("steps", "hypergradient_error", "q_error"),
    "errors": ("q_error", "gradient_error", "tol"),
    "backward_times": ("backward_seconds", "backward_products", "batch"),
    "cost_memory": ("depth", "bytes_of_z", "peak_memory"),
    "cost_training": ("epoch", "n_parameters", "test_accuracy"),
}


class ResultError(Exception):
    """A sentence about what a file lacks, and what to do."""


@dataclass(frozen=True)
class Inputs:
    """Everything that figures are drawn from.

    ``runs`` are of `read_runs`, None without a file of benchopt; ``csv``
    has the CSV files by the kinds of KINDS, ``files`` are all of them, and
    ``warnings`` say what was wrong with them, a sentence each.
    """

    runs: pd.DataFrame | None
    csv: dict = field(default_factory=dict)
    files: tuple = ()
    warnings: tuple = ()

    def need_runs(self):
        """Return the runs; without any, raise a ResultError."""
        if self.runs is None:
            raise ResultError(f"no result file of runs among them; {REMEDY}")
        return self.runs


def read_inputs(paths, datasets=(), say=lambda line: None):
    """Read parquet files of benchopt, and CSV files of the kinds of KINDS.

    Parameters
    ----------
    paths : iterable of Path
    datasets : collection of str
        Bare names of the data sets to keep; all, where empty.
    say : callable, str -> None
        Told the name of each file before it is read.

    Raises
    ------
    ResultError
        Where a file cannot be read, or has none of the data sets.
    """
    paths = tuple(map(Path, paths))
    csv = {}
    for path in paths:
        if path.suffix == ".csv":
            csv.setdefault(kind_of(path), []).append(path)
    parquet = [path for path in paths if path.suffix != ".csv"]
    runs, warnings = None, []
    if parquet:
        runs, warnings = read_runs(parquet, datasets, say)
    return Inputs(
        runs, {kind: tuple(own) for kind, own in csv.items()}, paths,
        tuple(warnings),
    )


def kind_of(path):
    """Return the kind of a CSV file, a key of KINDS."""
    columns = set(read_table(path, pd.read_csv, [], "give another file"))
    for kind, own in KINDS.items():
        if columns >= set(own):
            return kind
    raise ResultError(
        f"{path}: its columns are not those of a measurement that a figure "
        "shows; leave it out"
    )


# Files

def read_table(path, reader, columns, remedy):
    """Read a file and check that it has rows, and the columns named.

    ``reader`` makes a table of a path.  ``remedy``, what to do about a file
    that will not do, ends the message of the ResultError.
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
    """Read a parquet file, under the present names of its columns.

    pandas' own notes in the file, on an index and types, are not followed,
    and bytes stay bytes: nothing is unpickled.
    """
    table = ParquetFile(path).read()
    table.validate(full=True)  # undecodable text would fail on first sight
    return present_names(table.to_pandas(ignore_metadata=True))


def present_names(frame):
    """Give an older file's columns their present names.

    Of two columns with one present name, as ``n_cg`` and ``n_refine``, each
    row keeps the value that it has.
    """
    for old, new in RENAMED.items():
        if old in frame:
            value = frame.pop(old)
            frame[new] = value.combine_first(frame[new]) if (
                new in frame) else value
    return frame


def check_text(path, frame, names):
    """Raise a ResultError unless columns consist of text."""
    for name in names:
        odd = [x for x in frame[name] if not isinstance(x, str)]
        if odd:
            raise ResultError(
                f"{path}: column {name} has {str(odd[0])[:20]!r} where text "
                "is expected; give a file as it was written"
            )


def numeric(path, frame, names):
    """Return columns as floats; ``names`` maps their names to new ones."""
    try:
        return frame[list(names)].astype(float).rename(columns=names)
    except (TypeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise ResultError(
            f"{path}: not numbers ({why}); give a file as it was written"
        )


def read_measurement(path, texts, numbers, remedy, key=(), words=None):
    """Read a CSV file of a measurement under the present names of columns.

    Parameters
    ----------
    path : Path
    texts, numbers : sequence of str
        The columns to read.
    remedy : str
        As of `read_table`.
    key : sequence of str, optional
        Columns that say which row it is.  Of several rows with one key, as
        of a file that was joined to itself, the first is kept.
    words : dict, optional
        What columns of text may have in them: name -> sequence of str.

    Returns
    -------
    pandas.DataFrame
        Of text, then of floats.

    Raises
    ------
    ResultError
        Where a column is absent, or a cell is not what it should be.
    """
    def read(path):
        # a fingerprint of digits alone is no number
        raw = pd.read_csv(path, dtype=dict.fromkeys(texts, str))
        return raw.rename(columns={"n_jvp": "n_vjp"})

    raw = read_table(path, read, [*texts, *numbers], remedy)
    check_text(path, raw, texts)
    for name, known in (words or {}).items():
        odd = sorted(set(raw[name]) - set(known))
        if odd:
            raise ResultError(
                f"{path}: column {name} has {odd[0]!r} where "
                f"{' or '.join(known)} is expected; {remedy}"
            )
    frame = raw[list(texts)].join(
        numeric(path, raw, {name: name for name in numbers}))
    return frame.drop_duplicates(list(key), ignore_index=True) if (
        key) else frame


def versions_of(paths):
    """Warn of measurements by several versions of the package, a tuple.

    Whole files count: a row that two have is read of the first alone.
    """
    prints = sorted({
        name for path in paths for name in pd.read_csv(
            path, usecols=["fingerprint"], dtype=str)["fingerprint"]})
    return () if len(prints) < 2 else (
        f"rows of {len(prints)} versions of the package "
        f"({', '.join(prints)}); measure again to compare",)


# Settings: the parameters of a solver or of a data set

class _Plain(pickle.Unpickler):
    """Read pickled lists and numbers; refuse whatever needs an import."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


PICKLED = b"\x00benchopt-pkl\x00"


def plain_value(value):
    """Return a parameter's value; None where there is none.

    benchopt pickles the values of a column of several types.  Only those
    that consist of numbers, texts, lists and the like are read; others stay
    bytes, which can be told apart too.
    """
    if isinstance(value, bytes) and value.startswith(PICKLED):
        try:
            value = _Plain(io.BytesIO(value[len(PICKLED):])).load()
        except Exception:  # damaged bytes may raise anything
            return value
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(plain_value(x) for x in value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return {"True": True, "False": False}.get(value, value) if (
        isinstance(value, str)) else value


def settings_of(frame, prefix, leave_out=()):
    """Return the settings in each row: a sorted tuple of (name, value).

    They are the columns of a prefix that have a value in the row.
    """
    names = sorted(
        name for name in frame if name.startswith(prefix)
        and name.removeprefix(prefix) not in leave_out
    )
    columns = []
    for name in names:
        # few distinct values: each is read once
        codes, values = pd.factorize(frame[name].map(_hashable))
        values = [*map(plain_value, values), None]
        short = name.removeprefix(prefix)
        columns.append([(short, values[code]) for code in codes])
    return [
        tuple(pair for pair in row if pair[1] is not None)
        for row in zip(*columns)
    ] or [()] * len(frame)


def _hashable(value):
    lists = isinstance(value, (list, dict, np.ndarray))
    return plain_value(value) if lists else value


# Older files, which lack the columns of a bare name and of the protocol

def bare_name(name):
    """Return a long name up to the bracket with its parameters."""
    return name.partition("[")[0].strip()


def settings_in_name(name):
    """Return the settings in a long name, of files without columns for them.

    The settings of ``base[a=1,b=[2, 3]]`` are {"a": "1", "b": "[2, 3]"}.
    """
    inside, depth, parts = name.partition("[")[2][:-1], 0, [""]
    for character in inside:
        depth += (character in "[(") - (character in "])")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    pairs = [part.partition("=") for part in parts if part]
    return {key.strip(): value for key, _, value in pairs}


def protocol_of_older(moves, solver):
    """Return the protocol of each row by how often an outer step is applied.

    The authors' released code applies every outer step twice, which the
    solvers' former parameter ``moves`` = 2 stood for.  Searches have no
    protocol.
    """
    protocol = moves.map(lambda n: "published" if n == 2 else "fair")
    return protocol.mask(moves.isna() | solver.map(_is_search), None)


def _is_search(name):
    return name in BY_NAME and BY_NAME[name].family == "search"


def renamed_protocol(raw, protocol, network):
    """Return the protocols, "hoag" for what was called "fair" before.

    Files without F* come from packages that had two protocols.  Their fair
    one moved theta by HOAG's step rule, which is the protocol "hoag" now.
    Networks have no such rule: their fair protocol is the same.
    """
    if "objective_optimum" in raw:
        return protocol
    return protocol.mask((protocol == "fair") & ~network, "hoag")


def _identified(path, raw):
    """Return the columns that say whose each row is.

    A protocol of None is that of a search.
    """
    older = "objective_solver" not in raw
    names = ("objective_dataset", "objective_solver")
    if older:
        bare = [raw[name].map(bare_name)
                for name in ("dataset_name", "solver_name")]
    else:
        check_text(path, raw, names)
        bare = [raw[name] for name in names]
    found = pd.DataFrame({"bare_dataset": bare[0], "solver": bare[1]})
    found["dataset_settings"] = settings_of(raw, "p_dataset_", {"seed"})
    found["solver_settings"] = settings_of(raw, "p_solver_", NO_SETTING)
    if "p_solver_protocol" in raw:
        found["protocol"] = _texts(raw, "p_solver_protocol")
    else:
        moves = raw.get("p_solver_moves", pd.Series(np.nan, raw.index))
        found["protocol"] = protocol_of_older(numeric(
            path, moves.to_frame("moves"), {"moves": "moves"})["moves"],
            found["solver"])
    network = _is_network(raw, found["bare_dataset"])
    found["protocol"] = renamed_protocol(raw, found["protocol"], network)
    if older:
        found["solver_settings"] = _settings_of_older(found, network)
    for name, column in (
        ("file", "file_solver"), ("source", "objective_solver_fingerprint"),
        ("data", "objective_data_fingerprint"),
        ("resolved", "objective_settings"),
    ):
        found[name] = _texts(raw, column)
    return found.assign(machine=_machines(raw))


def _machines(raw):
    """Describe what each row was measured on; "" where nothing is known."""
    columns = [
        _texts(raw, name).map(form.format, na_action="ignore").fillna("")
        for name, form in MACHINE.items()
    ]
    return [", ".join(filter(None, row)) for row in zip(*columns)]


def _texts(raw, column):
    """Return a column as text; None where there is nothing, or no column."""
    absent = pd.Series(None, raw.index, dtype=object)
    return raw.get(column, absent).map(
        lambda value: str(value) if plain_value(value) else None
    )


def _is_network(raw, dataset):
    """Say of each row whether its data set trains a network."""
    scores = raw.get("objective_test_accuracy", pd.Series(np.nan, raw.index))
    known = raw[
        ["objective_value_function", "objective_theta"]].notna().any(axis=1)
    return (
        scores.notna().groupby(dataset).transform("any")
        & ~known.groupby(dataset).transform("any")
    )


def _settings_of_older(found, network):
    """Take out of older rows the settings that say nothing about them.

    These are the number of moves, which stands for the protocol, and in
    network rows whatever nothing used.
    """
    return [
        tuple(
            (key, value) for key, value in settings
            if not (unused and key in BILEVEL_SETTINGS)
            and (key, value) not in (("moves", 1), ("moves", 2))
        ) for settings, unused in zip(found["solver_settings"], network)
    ]


# Rows

def read_rows(path):
    """Read the rows of one file of benchopt; see `rows_of`."""
    raw = read_table(path, read_parquet, [*TEXTS, *NUMBERS], REMEDY)
    return rows_of(raw, path)


def rows_of(raw, path="the results"):
    """Return the columns of one file's rows.

    They are those of TEXTS, NUMBERS, OPTIONAL, `_identified` and
    `with_optimum`, and ``path``.
    """
    check_text(path, raw, TEXTS)
    absent = [name for name in OPTIONAL if name not in raw]
    filled = raw.assign(**dict.fromkeys(absent, np.nan))
    numbers = numeric(path, filled, NUMBERS | OPTIONAL)
    frame = raw[list(TEXTS)].rename(columns=TEXTS).join(numbers)
    frame["seed"] = frame["seed"].fillna(0)
    frame = frame.join(_identified(path, raw)).assign(path=str(path))
    return with_optimum(frame)


def with_optimum(rows):
    """Fill in F* where a row does not tell it, of the rows of its file.

    Where no row does, ``optimum`` is the lowest F that was measured in the
    file on that data set with that seed, and ``estimated`` is 1.  No other
    file is looked at, so that verdicts about this one do not depend on
    others.
    """
    alive = ~(rows["diverged"] > 0) & np.isfinite(rows["value_function"])
    own = [rows[key] for key in (
        "bare_dataset", "dataset_settings", "data", "seed")]
    lowest = rows["value_function"].where(alive).groupby(
        own, dropna=False).transform("min")
    known = rows["optimum"].fillna(
        rows["optimum"].groupby(own, dropna=False).transform("min"))
    return rows.assign(
        optimum=known.fillna(lowest),
        estimated=1.0 * (known.isna() & lowest.notna()),
    )


def read_runs(paths, datasets=(), say=lambda line: None):
    """Read the runs of result files into one table, and list warnings.

    Parameters and errors are those of `read_inputs`, the table is that of
    `named`.
    """
    frames = []
    for path in paths:
        say(f"reading {path}")
        frames.append(read_rows(path))
    frame = pd.concat(frames, ignore_index=True)
    files = ", ".join(map(str, paths))
    kept = frame[frame["bare_dataset"].isin(datasets)] if datasets else frame
    if kept.empty:
        raise ResultError(
            f"{files}: no data set {' or '.join(datasets)}; it has "
            f"{', '.join(sorted(frame['bare_dataset'].unique()))}"
        )
    return named(kept.reset_index(drop=True))


def mixed(rows):
    """Warn of data sets whose rows are of several packages or machines."""
    warnings = []
    for dataset, own in rows.groupby("dataset"):
        for column, of, remedy in (
            ("fingerprint", "versions of the package",
             "run benchopt again to compare"),
            ("machine", "machines", "their times cannot be compared"),
        ):
            found = sorted(set(own[column]) - {""})
            if len(found) > 1:
                warnings.append(
                    f"{dataset}: rows of {len(found)} {of} "
                    f"({'; '.join(found)}); {remedy}")
    return warnings


def cut_off(runs):
    """Warn of runs that end before others of their data set and protocol.

    A run that has diverged may; a search has outer steps of its own kind,
    and is compared with the other seeds of its method alone.
    """
    alive = runs.groupby(RUN)["diverged"].max() <= 0
    ends = runs.groupby(RUN)["step"].max()[alive].reset_index()
    search = ends["method"].map(
        runs.groupby("method")["base"].first().map(_is_search))
    group = [ends["dataset"], ends["protocol"],
             ends["method"].where(search, "")]
    short = ends[ends["step"] < ends.groupby(group)["step"].transform("max")]
    return [
        f"{dataset}, {protocol} protocol: {method} ends before the others "
        f"(seed {', '.join(f'{seed:.0f}' for seed in own['seed'])}): its last "
        "numbers, and its arrivals to stay, are those of a shorter run"
        for (dataset, protocol, method), own in short.groupby(
            ["dataset", "protocol", "method"])
    ]


def other_optima(runs):
    """Warn of data sets and seeds of which files tell different F*."""
    told = runs[~(runs["estimated"] > 0)].groupby(["dataset", "seed"])
    spread = told["optimum"].max() - told["optimum"].min()
    error = told["value_error"].max().fillna(0)
    found = spread.index[spread > 2 * error]
    return [
        f"{dataset}: rows of seed {seed:.0f} tell different optima F*; run "
        "benchopt again to compare" for dataset, seed in found
    ]


# Names of data sets and methods

def named(rows):
    """Give rows a data set, a protocol and a method, one row per outer step.

    Searches without a protocol are shown in each that their data set has.
    Runs that a file has several times with one seed become one, by medians.
    A run that several files have is taken from the first of them: the
    other files' times were measured on another occasion than those of the
    methods that it is compared with.

    Returns
    -------
    pandas.DataFrame
        A row per run of RUN and ``step``: the columns of NUMBERS and
        OPTIONAL, and

        ``dataset``, ``method`` : labels, different ones for different things
        ``bare_dataset``, ``formulation``, ``network`` : of the data set, the
            latter two or ""
        ``base`` : the method that ``method`` is a variant of
        ``variant`` : the settings in the label less the backward steps
        ``backward_steps``, ``c2``, ``memory`` : settings, or NaN
        ``evaluations`` : n_g + n_vjp
        ``outer`` : the outer steps done
        ``cosine`` : of q with the exact q; in networks the median sample's
        ``estimated`` : 1 where ``optimum`` is the lowest F measured, else 0
        ``settings`` : a dict, as far as they are known
        ``fingerprint``, ``machine``, ``path`` : of the file that the run is
            taken from
    list of str
        Warnings, a sentence each.
    """
    rows, warnings = _with_datasets(rows)
    warnings = mixed(rows) + warnings
    rows = _with_protocols(rows)
    parts = []
    for (protocol, _), own in rows.groupby(["protocol", "dataset"]):
        own, more = _with_methods(own, protocol)
        parts.append(own)
        warnings += more
    rows, more = _of_first_files(
        pd.concat(parts, ignore_index=True), rows["path"].unique())
    rows = _merged(rows)
    warnings += more + cut_off(rows) + other_optima(rows)
    return rows.assign(
        evaluations=rows["n_g"] + rows["n_vjp"],
        outer=rows["n_outer"].fillna(rows["step"]),
        cosine=rows["q_cosine_median"].fillna(rows["q_cosine"]),
    ), list(dict.fromkeys(warnings))


def _with_datasets(rows):
    """Add ``dataset``, ``formulation`` and ``network``."""
    keys = ["bare_dataset", "dataset_settings", "data"]
    own, code = _distinct(rows, keys)
    contents, warnings = _told_apart(own, "bare_dataset", {
        "data": "contents"})
    things = [
        Thing(row.bare_dataset, dict(row.dataset_settings) | content)
        for row, content in zip(own.itertuples(), contents)
    ]
    new = pd.DataFrame({
        "dataset": [
            label(thing.name, words)
            for thing, words in zip(things, distinct_labels(things))
        ],
    } | {
        name: [str(thing.settings.get(name, "")) for thing in things]
        for name in ("formulation", "network")
    })
    return rows.join(new.iloc[code].set_axis(rows.index)), warnings


def _distinct(rows, keys):
    """Return the distinct keys, and for each row the place of its own."""
    code = rows.groupby(keys, dropna=False, sort=False).ngroup()
    return rows.loc[~code.duplicated(), keys].reset_index(drop=True), code


def _told_apart(own, name, columns):
    """Find settings that tell things of one name but different content.

    ``columns`` map a column of ``own`` that tells content, the best first,
    to what it has several of in a warning.  Older files lack some: None
    there.  Returned are a setting for each thing, if any, and warnings.
    """
    told, warnings = [{} for _ in range(len(own))], []
    for thing, rows in own.groupby(name):
        for column, several in columns.items():
            values = sorted(rows[column].dropna().unique())
            if len(values) > 1:
                for i, value in rows[column].fillna("unknown").items():
                    short = value if "/" in value else value[:12]
                    told[i] = {column: short}
                warnings.append(
                    f"{thing}: rows of {len(values)} {several} "
                    f"({', '.join(values)}); labels tell them apart"
                )
            if len(values) > 1 or (values and rows[column].notna().all()):
                break  # one content: whatever else differs does not matter
    return told, warnings


def _with_protocols(rows):
    """Put searches without a protocol into each that their data set has.

    It counts which protocols their own file has; all files, if it has none.
    """
    free, parts = rows["protocol"].isna(), [rows[rows["protocol"].notna()]]
    for (dataset, path), own in rows[free].groupby(["dataset", "path"]):
        others = parts[0][parts[0]["dataset"] == dataset]
        mine = others[others["path"] == path]
        there = (others if mine.empty else mine)["protocol"].unique()
        for protocol in in_protocol_order(there) or ["fair"]:
            parts.append(own.assign(protocol=protocol))
    return pd.concat(parts, ignore_index=True)


def in_protocol_order(names):
    """Return protocols, those of PROTOCOLS first, then by the alphabet."""
    known = [name for name in PROTOCOLS if name in names]
    return known + sorted(set(names) - set(known))


def _with_methods(rows, protocol):
    """Add the method of the rows of one protocol, and what it consists of."""
    keys = ["solver", "solver_settings", "file", "source", "solver_name",
            "resolved"]
    own, code = _distinct(rows, keys)
    origins, warnings = _told_apart(own, "solver", {
        "source": "sources", "file": "files"})
    things = [
        _method(row, protocol, origin)
        for row, origin in zip(own.itertuples(), origins)
    ]
    words = distinct_labels(things)
    resolved = [
        thing.settings | read_resolved(text)
        for thing, text in zip(things, own["resolved"])
    ]
    new = pd.DataFrame({
        "base": [thing.name for thing in things],
        "method": [label(t.name, told) for t, told in zip(things, words)],
        "variant": [
            label("", [pair for pair in told if pair[0] != "backward_steps"])
            for told in words
        ],
        "settings": resolved,
    } | {
        name: pd.to_numeric([
            np.nan if isinstance(own.get(name), (tuple, list, dict))
            else own.get(name, np.nan) for own in resolved
        ], errors="coerce") for name in ("backward_steps", "c2", "memory")
    })
    return rows.join(new.iloc[code].set_axis(rows.index)), warnings


def read_resolved(text):
    """Read what ran, where a parameter may be None: the protocol's value.

    The text is that of the column ``objective_settings``, JSON; older files
    have none.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ResultError(
            f"column objective_settings has {text[:20]!r} where settings in "
            "JSON are expected; give a file as it was written"
        )
    return found


def _method(row, protocol, origin):
    name, settings = canonical(row.solver, dict(row.solver_settings))
    usual = defaults_of(name, protocol)
    # what a row says of itself is never assumed
    settings = {
        key: plain_value(value)
        for key, value in read_resolved(row.resolved).items()
        if usual.get(key) is not None
    } | settings
    told = [
        key for key in settings if name not in BY_NAME and key != "figure"
        and any(mark + key + "=" in row.solver_name for mark in "[,")
    ]
    return Thing(name, usual | settings | origin, usual, tuple(told))


def _of_first_files(rows, paths):
    """Keep each run of its first file; warn where other files have it."""
    order = rows["path"].map({path: n for n, path in enumerate(paths)})
    first = order.groupby([rows[key] for key in RUN]).transform("min")
    others = rows[order > first]
    return rows[order == first], [] if others.empty else [
        f"{len(others[RUN].drop_duplicates())} runs are in several files: "
        "those of the first file are taken"
    ]


def _merged(rows):
    """Make one row of repeated ones, by medians."""
    keys = [*RUN, "step"]
    numbers = [
        name for name in [*NUMBERS.values(), *OPTIONAL.values(), "estimated"]
        if name not in keys
    ]
    kept = ["base", "variant", "backward_steps", "c2", "bare_dataset",
            "formulation", "network", "fingerprint", "machine", "path",
            "memory", "settings"]
    if not rows.duplicated(keys).any():
        rows = rows.sort_values(keys, ignore_index=True)
        return rows[keys + numbers + kept]
    how = dict.fromkeys(numbers, "median") | dict.fromkeys(kept, "last")
    return rows.groupby(keys).agg(how).reset_index()
