"""Rows of measurements in a CSV file, to which the next run appends."""
import csv
from pathlib import Path

import pandas as pd
import torch

from benchmark_shine.fingerprints import fingerprint


class Rows:
    """A CSV file with one row for each finished measurement.

    A measurement that is interrupted goes on where it ended: ask `missing`
    before each row.  All rows are of one package and one torch.

    Parameters
    ----------
    path : Path
    key : tuple of str
        The columns that say what a row is of.

    Raises
    ------
    ValueError
        Where the file is of another package or torch, or has other columns.
    """

    def __init__(self, path, key):
        self._path, self._key = Path(path), key
        self._code = {
            "fingerprint": fingerprint(), "torch": torch.__version__,
        }
        self._done = set()
        if self._path.exists():
            self._read()

    def _read(self):
        # text as it is written; a cell is never a missing value
        frame = pd.read_csv(self._path, dtype=str, keep_default_na=False)
        ours = {*self._key, *self._code} <= set(frame) and all(
            set(frame[name]) == {value} for name, value in self._code.items()
        )
        if not ours:
            raise ValueError(
                f"{self._path}: was written by another experiment or another "
                "state of the package; give another --output"
            )
        self._done = set(frame[list(self._key)].itertuples(
            index=False, name=None
        ))

    def missing(self, **key):
        """Say whether the row of this key is still to be measured."""
        return tuple(str(key[name]) for name in self._key) not in self._done

    def add(self, **row):
        """Append a row; the first one writes the names of the columns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        first = not self._path.exists()
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if first:
                writer.writerow([*row, *self._code])
            writer.writerow([*row.values(), *self._code.values()])
        self._done.add(tuple(str(row[name]) for name in self._key))
