"""Inherit from `ProblemDataset`: the bridge from data sets to benchopt."""
from abc import abstractmethod
from contextlib import contextmanager
from pathlib import Path

import click
from benchopt import BaseDataset

from ..checks import check_path
from ..evaluate import comparison
from ..fingerprints import content
from ..problems import Logistic, NonlinearLeastSquares
from .workers import refuse

BINARY = {"logistic": Logistic, "nls": NonlinearLeastSquares}


def loaded(build):
    """Build a problem, or say why not: what a data set hands to benchopt.

    An exception in ``get_data`` would end the whole run.  This way the data
    set is skipped with one line, ``reason``, and the others run.
    """
    try:
        return {"problem": build()}
    except (OSError, TypeError, ValueError) as error:
        why = str(error)
    except (MemoryError, RuntimeError) as error:
        # torch has no type of its own for a CPU's
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        why = f"does not fit into memory, choose smaller sizes ({error})"
    return {"problem": None, "reason": _printable(" ".join(why.split()))}


def _printable(text):
    """Write bytes of a file name that are no UTF-8 as \\udcXX."""
    return text.encode(errors="backslashreplace").decode()


class ProblemDataset(BaseDataset):
    """Make one problem of the suite: the base of every data set.

    A subclass implements ``build`` and, where it reads something from outside
    the suite, ``sources``.  What either raises as ValueError or OSError skips
    the data set with that sentence.

    The fingerprint of the data is a hash of what ``sources`` has read, or
    where there are no sources of the data set's own file, since code makes
    the data.  It is part of benchopt's cache key and of each row.

    Attributes
    ----------
    by_name_only : bool
        Whether ``benchopt run`` passes the data set over unless asked for it:
        large data sets are not run because they happen to lie in a cache.
    data_fingerprint : str or None
        Twelve hexadecimal digits; None until the data have been read.
    """

    by_name_only = False
    data_fingerprint = None
    _sent = None  # the client's fingerprint, in a worker

    def sources(self):
        """Read what comes from outside: arrays, sparse matrices, paths."""
        return ()

    @abstractmethod
    def build(self, *sources):
        """Make the problem of what ``sources`` returns."""

    def get_data(self):
        """Hand the problem, or the reason why there is none, to benchopt.

        With the problem goes its `comparison`, so that all solvers of a run
        share the exact solutions.  A worker whose data differ from the
        client's refuses the run.
        """
        if self.by_name_only and not _asked_by_name():
            return {
                "problem": None, "reason":
                f"runs only if it is asked for by name: -d {self.name}",
            }
        data = loaded(self._read)
        if data["problem"] is None:
            return data
        if self._sent not in (None, self.data_fingerprint):
            refuse(
                f"{self.name}: this worker reads data {self.data_fingerprint},"
                f" the run is of {self._sent}", "Give it the same files"
            )
        return data | {
            "compare": comparison(data["problem"]), "dataset": self.name,
            "data_fingerprint": self.data_fingerprint,
        }

    def _read(self):
        sources = self.sources()
        problem = self.build(*sources)
        self.data_fingerprint = content(sources or self._file_hash)
        return problem

    def _get_state(self):
        return {"data_fingerprint": self.data_fingerprint}

    def __setstate__(self, state):
        self._sent = state["data_fingerprint"]

    def __repr__(self):
        return _printable(super().__repr__())


def _asked_by_name():
    """Whether a command names its data sets, as all but a bare run do."""
    command = click.get_current_context(silent=True)
    if command is None or command.info_name != "run":
        return True
    asked = command.params
    return bool(asked.get("dataset") or asked.get("config_file"))


def named_path(value):
    """Take a path as benchopt hands it over, with ":" for "=".

    Raises
    ------
    ValueError
        Where the name is not UTF-8: no result file could hold it.
    """
    path = check_path("path", value)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"path: {path} is not UTF-8, and no result file can hold such a "
            "name; rename it"
        ) from None
    meant = Path(str(path).replace(":", "="))
    return path if path.exists() or not meant.exists() else meant


@contextmanager
def from_cache(name, place, faults=Exception):
    """Turn whatever a reader of cached files raises into an OSError's line.

    Parameters
    ----------
    name : str
        Name of the data set.
    place : Path or str
        The cache, for the message.
    faults : exception class or tuple of them
        What is turned.  With the default, since unpickling a damaged file may
        raise anything, only another library's reader belongs into the block.
    """
    try:
        yield
    except faults as error:
        raise OSError(
            f"{name} cannot be read from {place} ({type(error).__name__}: "
            f"{error}); get it with: benchopt prepare . -d {name} --force"
        ) from None
