"""Keep exact solutions on disk, for the runs and processes to come."""
import os
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np

from ..fingerprints import content
from ..problems import cleaning, linear

# The folder of all stores, where a user wants another.
VARIABLE = "BENCHMARK_SHINE_CACHE"

# The modules that say what F is and how it is solved, as loaded here.
_HERE = Path(__file__).parent
_MODELS = linear, cleaning
_CODE = content([Path(module.__file__) for module in _MODELS] + [
    _HERE / f"{name}.py" for name in ("dense", "units", "tight", "value")
])


def folder():
    """Return the folder of all stores: of the variable, or the user's."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE]).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "benchmark_shine"


def identity(problem):
    """Hash what a problem's F depends on: data, groups, model, code.

    Returns
    -------
    str or None
        Twelve hexadecimal digits.  None for a problem of a class that is
        not the suite's own, unless it has an attribute ``fingerprint``.
    """
    if type(problem).__module__ in [module.__name__ for module in _MODELS]:
        own = problem.ingredients()
    elif getattr(problem, "fingerprint", None) is not None:
        own = problem.fingerprint
    else:
        return None
    return content([own, _CODE])


class Store:
    """Read and write named sets of arrays in one folder.

    Several processes can use one store: a file appears at once or not at
    all, and the last writer wins.  A file that cannot be read is made anew.
    A folder that cannot be written costs the store alone: one line on
    stderr says so, and nothing is written any more.

    Parameters
    ----------
    place : Path or None
        None: nothing is kept.
    """

    def __init__(self, place):
        self._place = place

    def load(self, name):
        """Return the arrays of a name, a dict, or None for no good file."""
        if self._place is None:
            return None
        try:
            with open(self._file(name), "rb") as file:
                return dict(np.load(file, allow_pickle=False))
        except Exception:  # no file, or what a damaged one makes numpy raise
            return None

    def save(self, name, arrays):
        """Write a dict of arrays under a name, in one step."""
        if self._place is None:
            return
        part = self._place / f".{uuid4().hex}"
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                np.savez(file, **arrays)
            part.replace(self._file(name))
        except OSError as error:
            print(f"exact F is not kept on disk: {error}; set {VARIABLE} to "
                  "a folder with space", file=sys.stderr)
            self._place = None
            with suppress(OSError):
                part.unlink()

    def _file(self, name):
        return self._place / f"{name}.npz"


def store_of(problem):
    """Return the `Store` of a problem's exact solutions."""
    key = identity(problem)
    return Store(None if key is None else folder() / "values" / key)
