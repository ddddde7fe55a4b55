import numpy as np
from benchopt import BaseDataset
from sklearn.datasets import fetch_20newsgroups_vectorized

from benchmark_shine.bench.dataset import BINARY, loaded
from benchmark_shine.checks import check_choice
from benchmark_shine.data.tables import split


class Dataset(BaseDataset):
    """20 newsgroups, 18,846 × 130,107 sparse: groups 0-9 against 10-19.

    The paper's data set (figures 1, 2, E.1), from scikit-learn's cache.  Rows
    have unit length, and L-BFGS starts from B0 = I as in the authors' code.
    """

    name = "20news"
    parameters = {"formulation": ["logistic"], "seed": [0]}
    prepare_cache_ignore = "all"

    def prepare(self):
        fetch_20newsgroups_vectorized(subset="all")

    def get_data(self):
        return loaded(self._build)

    def _build(self):
        model = check_choice("formulation", self.formulation, BINARY)
        try:
            X, y = fetch_20newsgroups_vectorized(
                subset="all", return_X_y=True, download_if_missing=False
            )
        except OSError:
            raise OSError(
                "20 newsgroups is not in scikit-learn's cache; get it with: "
                "benchopt prepare . -d 20news --force"
            ) from None
        parts = split(X, np.where(y < 10, -1, 1), self.seed)
        return model(*parts, seed=self.seed, scale=1.0)
