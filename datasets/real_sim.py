import numpy as np
import scipy.sparse
from benchopt import BaseDataset
from libsvmdata import fetch_dataset
from libsvmdata.libsvm import LIBSVM_DATA_HOME

from benchmark_shine.bench.dataset import BINARY, loaded
from benchmark_shine.checks import check_choice
from benchmark_shine.data.tables import split, two_classes


class Dataset(BaseDataset):
    """real-sim, 72,309 × 20,958 sparse, from LIBSVM (figure 1, right).

    libsvmdata downloads it once and keeps it under ``LIBSVMDATA_HOME``.  Rows
    have unit length, and L-BFGS starts from B0 = I as in the authors' code.
    """

    name = "real-sim"
    parameters = {"formulation": ["logistic"], "seed": [0]}
    requirements = ["pip::libsvmdata"]
    prepare_cache_ignore = "all"

    def prepare(self):
        fetch_dataset("real-sim")

    def get_data(self):
        return loaded(self._build)

    def _build(self):
        model = check_choice("formulation", self.formulation, BINARY)
        if not any(LIBSVM_DATA_HOME.rglob("real-sim*_X.npz")):
            raise OSError(
                "real-sim has not been downloaded; get it with: "
                "benchopt prepare . -d real-sim --force"
            )
        X, y = fetch_dataset("real-sim")
        parts = split(
            scipy.sparse.csr_matrix(X), two_classes(np.asarray(y)), self.seed
        )
        return model(*parts, seed=self.seed, scale=1.0)
