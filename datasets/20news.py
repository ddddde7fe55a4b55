from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_20newsgroups_vectorized, get_data_home

from benchmark_shine.bench.dataset import BINARY, ProblemDataset, from_cache
from benchmark_shine.checks import check_choice
from benchmark_shine.data.tables import penalty_groups, split


def read(download=False):
    """Read all documents from scikit-learn's cache: X (n, p) and y (n,)."""
    # scikit-learn prints what is wrong with a file, and then raises
    with from_cache("20news", get_data_home()), redirect_stdout(StringIO()):
        return fetch_20newsgroups_vectorized(
            subset="all", return_X_y=True, download_if_missing=download
        )


class Dataset(ProblemDataset):
    """20 newsgroups, 18,846 × 130,107 sparse: groups 0-9 against 10-19.

    This is the paper's data set (figures 1, 2, E.1), from scikit-learn's
    cache.  Rows have unit length, and L-BFGS starts from B0 = I as in the
    authors' code.  ``groups`` and ``n_groups`` say which words share a
    penalty, see `data.tables.penalty_groups`; each starts at ``theta``, as
    published at 0.
    """

    name = "20news"
    parameters = {
        "formulation": ["logistic"],
        "groups": ["consecutive"],
        "n_groups": [1],
        "theta": [0.0],
        "seed": [0],
    }
    prepare_cache_ignore = "all"
    by_name_only = True

    def prepare(self):
        try:
            read(download=True)
        except OSError:
            # scikit-learn makes this file anew, but only where there is none
            made = Path(get_data_home()) / "20newsgroup_vectorized_py3.pkl"
            made.unlink(missing_ok=True)
            fetch_20newsgroups_vectorized(subset="all")

    def sources(self):
        check_choice("formulation", self.formulation, BINARY)
        return read()

    def build(self, X, y):
        parts = split(X, np.where(y < 10, -1, 1), self.seed)
        return BINARY[self.formulation](
            *parts, seed=self.seed, scale=1.0, theta=self.theta,
            groups=penalty_groups(self.groups, self.n_groups, parts[0][0]),
        )
