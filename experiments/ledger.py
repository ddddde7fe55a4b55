"""The ledger of the record: results/record.json, and the page made of it.

The ledger says of each entry how long it took and where, of each package its
commit, and of each drawing which files it was drawn from.  results/README.md
is written from it, from configs/record.yml and from the files themselves.
"""
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from benchopt.results.parquet import to_parquet
from pyarrow.parquet import ParquetFile

from benchmark_shine.fingerprints import content, fingerprint
from figures.tables.markdown import markdown, put

from .entries import ROOT

RAW = ".parquet", ".csv", ".txt"
COLUMNS = {".parquet": "p_obj_fingerprint", ".csv": "fingerprint"}


# Files

def fingerprints_in(path):
    """Return the fingerprints of the packages that made a file's rows.

    Empty where the file does not say.
    """
    name = COLUMNS.get(path.suffix)
    if not name:
        return set()
    if path.suffix == ".parquet":
        file = ParquetFile(path)
        if name not in file.schema.names:
            return set()
        return set(file.read([name]).column(name).to_pylist())
    rows = pd.read_csv(path, usecols=lambda one: one == name, dtype=str)
    return set(rows[name]) if name in rows else set()


def join(paths, path):
    """Write the rows of several files of benchopt into one."""
    frames = [
        ParquetFile(one).read().to_pandas(ignore_metadata=True)
        for one in paths
    ]
    # a column that is empty in one file has no type of its own there
    full = [frame.dropna(axis="columns", how="all") for frame in frames]
    names = dict.fromkeys(name for frame in frames for name in frame)
    rows = pd.concat(full, ignore_index=True).reindex(columns=list(names))
    part = path.with_name(path.name + ".part")
    to_parquet(rows, part)
    part.replace(path)


def machine(gpu=False):
    """Return the processor and its number of cores, or the GPU's name."""
    if gpu:
        import torch

        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)[1]
    except (OSError, TypeError):
        pass
    return f"{' '.join(name.split())}, {os.cpu_count()} cores"


# Commits

def git(*words):
    """Return what git says in the suite's folder; None where it fails."""
    try:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def commit_of_package():
    """Return the commit of the package as it is here.

    None where it is not committed, or where there is no repository.
    """
    package = "--", "benchmark_shine"
    if git("status", "--porcelain", *package) != b"":
        return None
    return git("log", "-1", "--format=%h", *package).decode().strip()


# The ledger

@dataclass
class Ledger:
    """What results/record.json holds.

    Parameters
    ----------
    folder : Path
        Of the results.
    package : str
        Fingerprint of the package that the record is of.
    commits : dict
        Of each fingerprint, the commit.
    entries : dict
        Of each entry, a dict: its ``stamp``, ``hours`` and ``machine``.
    drawn : dict
        Of each command of a drawing, a hash of the files that it was made of.
    """

    folder: Path
    package: str = ""
    commits: dict = field(default_factory=dict)
    entries: dict = field(default_factory=dict)
    drawn: dict = field(default_factory=dict)

    @classmethod
    def read(cls, folder):
        """Read the ledger of a folder of results, or make a new one."""
        try:
            text = (folder / "record.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(folder)
        return cls(folder, **json.loads(text))

    def write(self):
        """Write results/record.json in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / "record.json.part"
        kept = {key: value for key, value in vars(self).items()
                if key != "folder"}
        part.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n",
                        encoding="utf-8")
        part.replace(self.folder / "record.json")

    def add(self, entry, hours, where):
        """Note that the files of an entry are of the package as it is here."""
        self.package = fingerprint()
        self.entries[entry.name] = {
            "stamp": entry.stamp(), "hours": round(hours, 3), "machine": where,
        }
        self.write()

    def has(self, entry):
        """Say whether the results hold an entry, as it would be made now."""
        known = self.entries.get(entry.name, {})
        return known.get("stamp") == entry.stamp() and all(
            self._is_of_this_package(self.folder / name)
            for name in entry.files
        )

    def _is_of_this_package(self, path):
        if not path.is_file():
            return False
        return path.suffix not in RAW or fingerprints_in(path) == {
            fingerprint()}

    def hours(self, entry):
        """Return how long an entry took the last time; else, about."""
        return self.entries.get(entry.name, {}).get("hours") or entry.hours

    def collect(self, entry, base):
        """Bring the files of an entry whose pieces are done to the results."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pieces = entry.pieces()
        folders = [piece.finished_in(base) for piece in pieces]
        if entry.runs:
            join([folder / "result.parquet" for folder in folders],
                 self.folder / entry.files[0])
        else:
            for name in entry.files:
                shutil.copyfile(folders[0] / name, self.folder / name)
        hours = sum(piece.seconds(base) for piece in pieces) / 3600
        self.add(entry, hours, machine("gpu" in entry.needs))

    def take(self, entries, folder):
        """Take entries from another folder of results; return their names.

        That folder is one that ``--results`` wrote, on another machine.
        """
        other = Ledger.read(folder)
        taken = [entry for entry in entries if entry.name in other.entries]
        for entry in taken:
            for name in entry.files:
                shutil.copyfile(folder / name, self.folder / name)
            self.entries[entry.name] = other.entries[entry.name]
        if taken:
            self.package = other.package
            self.commits |= other.commits
        self.write()
        return [entry.name for entry in taken]


# Drawings

def inputs_of(drawing, root=ROOT):
    """Return the files that a drawing is made of.

    A command that names none reads a folder, all of it.
    """
    _, first, *others = drawing.figures.split()
    if Path(first).suffix in RAW:
        return [root / word for word in (first, *others)
                if Path(word).suffix in RAW]
    return sorted(
        path for path in (root / first).iterdir() if path.suffix in COLUMNS)


def digest(drawing, root=ROOT):
    """Return a hash of a drawing's inputs; None where one is not there."""
    paths = inputs_of(drawing, root)
    if not all(path.is_file() for path in paths):
        return None
    return content((drawing.figures, [(p.name, p) for p in paths]))


def draw(drawing, root=ROOT):
    """Draw in a folder aside, and bring the files that are kept.

    Raises
    ------
    subprocess.CalledProcessError
        Where the command fails; it holds what the command said.
    """
    with tempfile.TemporaryDirectory() as aside:
        aside = Path(aside)
        for path in inputs_of(drawing, root):
            _linked(path, aside / path.relative_to(root))
        for name in drawing.files:  # pages, into which tables are put
            if (root / name).suffix == ".md" and (root / name).is_file():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, aside / name)
        subprocess.run(
            [sys.executable, "-m", "figures", *drawing.figures.split()],
            cwd=aside, check=True, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        )
        for name in drawing.files:
            shutil.copyfile(aside / name, root / name)


def _linked(path, link):
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(path)


# The page

def page(record, ledger):
    """Return the generated part of results/README.md."""
    known = of_files(record, ledger)
    used = {found for name, (found, _) in known.items()}
    text = f"The record is of the package `{ledger.package}`.\n\n"
    text += markdown(pd.DataFrame(
        [(f"`{found}`", f"`{ledger.commits.get(found, '?')}`")
         for found in sorted(used | {ledger.package})],
        columns=["fingerprint", "commit"],
    ))
    text += "\n" + markdown(pd.DataFrame(
        [(f"`{name}`", f"`{found}`", *_made_by(entry, ledger))
         for name, (found, entry) in known.items()],
        columns=["file", "fingerprint", "made by", "hours", "machine"],
    ))
    text += "\nWhat the entries run:\n\n" + markdown(pd.DataFrame(
        [(f"`{entry.name}`", str(entry), f"{ledger.hours(entry):.2g}",
          ", ".join((*entry.needs, *["an idle machine"] * entry.alone)))
         for entry in record.entries],
        columns=["entry", "what", "hours", "needs"],
    ))
    text += "\nPictures and tables are drawn from these files:\n\n"
    root = ledger.folder.parent
    return text + markdown(pd.DataFrame(
        [(", ".join(f"`{name.removeprefix('results/')}`"
                    for name in drawing.files), f"`{drawing.command}`")
         for drawing in record.drawn
         if all(path.is_file() for path in inputs_of(drawing, root))],
        columns=["file", "drawn by"],
    ))


def of_files(record, ledger):
    """Return the fingerprint and the entry of each result file.

    A file that does not say what package made it is of the one that
    configs/record.yml says.
    """
    made = {name: entry for entry in record.entries for name in entry.files}
    drawn = {Path(name).name for one in record.drawn for name in one.files}
    found = {}
    for path in sorted(ledger.folder.iterdir()):
        if path.suffix in RAW and path.name not in drawn:
            said = fingerprints_in(path) or {record.older.get(path.name, "?")}
            found[path.name] = ", ".join(sorted(said)), made.get(path.name)
    return found


def _made_by(entry, ledger):
    known = ledger.entries.get(entry.name, {}) if entry else {}
    return (
        f"`make record ENTRY={entry.name}`" if entry else "–",
        f"{known['hours']:.2g}" if "hours" in known else "–",
        known.get("machine", "–"),
    )


def write_page(record, ledger):
    """Write the generated part of the page beside the results."""
    path = ledger.folder / "README.md"
    if not path.is_file():
        return
    if fingerprint() not in ledger.commits and (
            commit := commit_of_package()):
        ledger.commits[fingerprint()] = commit
        ledger.write()
    put(path, "record", page(record, ledger),
        "python -m experiments.record --page")
