import shutil
import tempfile
from contextlib import ExitStack

import numpy as np
import scipy.sparse
from libsvmdata import fetch_dataset
from libsvmdata.libsvm import LIBSVM_DATA_HOME

from benchmark_shine.bench.dataset import BINARY, ProblemDataset, from_cache
from benchmark_shine.checks import check_choice
from benchmark_shine.data.tables import split, two_classes

FILES = "real-sim_X.npz", "real-sim_y.npy"


def read():
    """Read what libsvmdata keeps, X (n, p) and y (n,), without its reader.

    Where a file is missing, that one deletes the other and downloads.
    """
    with from_cache("real-sim", LIBSVM_DATA_HOME), ExitStack() as files:
        X, y = (
            files.enter_context(open(LIBSVM_DATA_HOME / name, "rb"))
            for name in FILES
        )
        return (
            scipy.sparse.load_npz(X).tocsr(),
            np.lib.format.read_array(y, allow_pickle=False),
        )


def download():
    """Download the data; old files stay until the new ones have come."""
    LIBSVM_DATA_HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=LIBSVM_DATA_HOME) as aside:
        for old in LIBSVM_DATA_HOME.glob("real-sim_[Xy].*"):
            shutil.move(old, aside)
        try:
            fetch_dataset("real-sim")
        except BaseException:
            shutil.copytree(aside, LIBSVM_DATA_HOME, dirs_exist_ok=True)
            raise


class Dataset(ProblemDataset):
    """real-sim, 72,309 × 20,958 sparse, from LIBSVM (figure 1, right).

    libsvmdata downloads it once and keeps it under ``LIBSVMDATA_HOME``.  Rows
    have unit length, and L-BFGS starts from B0 = I as in the authors' code.
    Theta starts at ``theta``, as published at 0.
    """

    name = "real-sim"
    parameters = {"formulation": ["logistic"], "theta": [0.0], "seed": [0]}
    requirements = ["pip::libsvmdata"]
    prepare_cache_ignore = "all"
    by_name_only = True

    def prepare(self):
        try:
            read()
        except OSError:
            download()

    def sources(self):
        check_choice("formulation", self.formulation, BINARY)
        return read()

    def build(self, X, y):
        return BINARY[self.formulation](
            *split(X, two_classes(y), self.seed), seed=self.seed, scale=1.0,
            theta=self.theta,
        )
