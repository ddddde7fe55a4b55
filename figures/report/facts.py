"""Say what was run: facts about result files, and commands to repeat them."""
import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..results import (
    bare_name, plain_value, read_parquet, read_table, settings_of,
)

# A fact, and the columns of runs or of measurements that have it.
FACTS = {
    "package fingerprint": ("p_obj_fingerprint", "fingerprint"),
    "PyTorch": ("p_obj_torch", "torch"),
    "NumPy": ("version-numpy",),
    "SciPy": ("version-scipy",),
    "CUDA": ("version-cuda",),
    "processor": ("system-processor",),
    "cores": ("system-cpus",),
    "memory (GB)": ("system-ram (GB)",),
    "platform": ("platform",),
    "threads of PyTorch": ("p_obj_threads",),
    "outer steps": ("p_obj_n_outer",),
    "reference every": ("p_obj_reference",),
    "seeds": ("p_dataset_seed", "seed"),
}
NOT_A_SETTING = {"fingerprint", "torch"}  # the suite sets them itself
PLAIN = re.compile(r"[A-Za-z/][\w./-]*|[-+\d.e]+")


@dataclass(frozen=True)
class File:
    """What one file holds.

    The command repeats the runs; it is "" for a file of measurements.
    """

    name: str
    facts: dict
    command: str


def read_file(path):
    """Read what a file says about its runs."""
    reader = pd.read_csv if path.suffix == ".csv" else read_parquet
    frame = read_table(path, reader, [], "give another file")
    runs = "objective_name" in frame
    return File(
        path.name, facts_of(path, frame), command_of(frame) if runs else ""
    )


def facts_of(path, frame):
    """Collect the facts of one file, as text."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    found = {"SHA-256": digest[:12], "rows": str(len(frame))}
    for name, columns in FACTS.items():
        for column in columns:
            if column in frame and frame[column].notna().any():
                found[name] = distinct(frame[column])
    if "run_date" in frame:
        days = frame["run_date"].astype(str).str[:10]
        found["date"] = " to ".join(dict.fromkeys((days.min(), days.max())))
    if "solver_name" in frame:
        runs = frame.groupby(["dataset_name", "solver_name"])
        dead = runs["objective_diverged"].max() > 0
        found["data sets"] = distinct(bare(frame, "dataset"))
        found["runs"] = f"{len(dead)}, of which {int(dead.sum())} diverged"
    return found


def distinct(values):
    """List distinct values in their order; missing ones are left out."""
    seen = map(plain_value, values.unique())
    return ", ".join(dict.fromkeys(
        f"{value:g}" if isinstance(value, float) else str(value)
        for value in seen if value is not None
    ))


def shared_facts(files):
    """Split facts into those that all files share, and names of others."""
    names = dict.fromkeys(name for file in files for name in file.facts)
    values = {
        name: {file.facts.get(name) for file in files} for name in names
    }
    shared = {
        name: found.pop() for name, found in values.items()
        if len(found) == 1
    }
    return shared, [name for name in names if name not in shared]


# The command that repeats runs

def command_of(frame):
    """Return the command of benchopt that makes such a result file again."""
    words = ["benchopt", "run", ".", "--no-timeout"]
    frame = one_row_a_run(frame)
    for option, what in (("-o", "obj"), ("-d", "dataset"), ("-s", "solver")):
        names = (
            frame["objective_name"].map(bare_name) if what == "obj"
            else bare(frame, what)
        )
        for pattern in patterns(names, settings(frame, f"p_{what}_")):
            words += [option, pattern]
    return shlex.join(words)


def one_row_a_run(frame):
    """Keep the first row of each distinct run."""
    names = ["objective_name", "dataset_name", "solver_name"]
    names += [name for name in frame if name.startswith("p_")]
    # not astype(str), which would decode the bytes that benchopt pickles
    texts = frame[names].apply(
        lambda own: own.map(str) if own.dtype == object else own)
    return frame[~texts.duplicated()]


def bare(frame, what):
    """Return the bare names of the data sets or solvers of some rows."""
    column = f"objective_{what}"
    if column in frame:
        return frame[column]
    return frame[f"{what}_name"].map(bare_name)


def settings(frame, prefix):
    """Return the settings of each row, a list of dicts."""
    return [dict(own) for own in settings_of(frame, prefix, NOT_A_SETTING)]


def patterns(names, rows):
    """Return benchopt's patterns of distinct settings, seeds in one list."""
    seeds = {}
    for name, row in zip(names, rows):
        row = dict(row)
        seed = row.pop("seed", None)
        words = ",".join(f"{key}={written(row[key])}" for key in row)
        seeds.setdefault((name, words), {})[seed] = None
    for (name, words), own in seeds.items():
        numbers = sorted(int(seed) for seed in own if seed is not None)
        parts = [words] if words else []
        if numbers:
            parts.append(f"seed=[{','.join(map(str, numbers))}]")
        yield f"{name}[{','.join(parts)}]" if parts else name


def written(value):
    """Write a parameter's value as benchopt's command wants it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (list, tuple)):
        return f"[{list(value)}]"  # one value that is a list, not a choice
    text = str(value)
    return text if PLAIN.fullmatch(text) else f"'{text}'"
