"""Read what libsvmdata keeps of LIBSVM's data sets, without its reader.

Where a file is missing, that reader deletes the other and downloads.
"""
import shutil
import tempfile
from contextlib import ExitStack

import numpy as np
import scipy.sparse
from libsvmdata import fetch_dataset
from libsvmdata.libsvm import LIBSVM_DATA_HOME


def _dense(file):
    return np.lib.format.read_array(file, allow_pickle=False)


def _sparse(file):
    return scipy.sparse.load_npz(file).tocsr()


# Rows that have entries for half of the features or more are kept as an array.
X_FILES = {"_X.npz": _sparse, "_X.npy": _dense}


def read(name):
    """Read a data set, as libsvmdata names it.

    Returns
    -------
    X : SciPy CSR matrix or ndarray, shape (n, p)
    y : ndarray, shape (n,)

    Raises
    ------
    Exception
        Of any kind, where a file is missing or damaged.
    """
    kinds = [
        kind for kind in X_FILES
        if (LIBSVM_DATA_HOME / f"{name}{kind}").is_file()
    ]
    kind = kinds[0] if kinds else "_X.npz"
    with ExitStack() as files:
        X, y = (
            files.enter_context(open(LIBSVM_DATA_HOME / f"{name}{end}", "rb"))
            for end in (kind, "_y.npy")
        )
        return X_FILES[kind](X), _dense(y)


def download(name):
    """Download the data; old files stay until the new ones have come."""
    LIBSVM_DATA_HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=LIBSVM_DATA_HOME) as aside:
        for old in LIBSVM_DATA_HOME.glob(f"{name}_[Xy].*"):
            shutil.move(old, aside)
        try:
            fetch_dataset(name)
        except BaseException:
            shutil.copytree(aside, LIBSVM_DATA_HOME, dirs_exist_ok=True)
            raise
