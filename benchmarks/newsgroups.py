"""20 newsgroups, figure 1's problem of seed 0, from scikit-learn's cache."""
import sys

import numpy as np
from sklearn.datasets import fetch_20newsgroups_vectorized

from benchmark_shine.data.tables import split
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.outer import Hoag, from_now
from benchmark_shine.problems import Logistic


def load():
    """Load the problem, and its training part (X, y) for SciPy."""
    try:
        X, y = fetch_20newsgroups_vectorized(
            subset="all", return_X_y=True, download_if_missing=False
        )
    except OSError:
        sys.exit("20 newsgroups is not here; get it with: "
                 "benchopt prepare . -d 20news")
    parts = split(X, np.where(y < 10, -1, 1), 0)
    X, y = parts[0]
    X.indices, X.indptr = X.indices.astype("i4"), X.indptr.astype("i4")
    return Logistic(*parts, seed=0, scale=1.0), X, y.astype(float)


def published(find_root, adjoint, decay):
    """Build 30 outer steps in the published protocol."""
    outer = Hoag(decay=decay, anchor=from_now, moves=2)
    return Method(RootAndAdjoint(find_root, adjoint), outer, 30)
