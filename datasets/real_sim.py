from benchmark_shine.bench.dataset import BINARY, ProblemDataset, from_cache
from benchmark_shine.checks import check_choice
from benchmark_shine.data import libsvm
from benchmark_shine.data.tables import split, two_classes


def read():
    """Read all rows from the cache of libsvmdata: X (n, p) and y (n,)."""
    with from_cache("real-sim", libsvm.LIBSVM_DATA_HOME):
        return libsvm.read("real-sim")


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
            libsvm.download("real-sim")

    def sources(self):
        check_choice("formulation", self.formulation, BINARY)
        return read()

    def build(self, X, y):
        return BINARY[self.formulation](
            *split(X, two_classes(y), self.seed), seed=self.seed, scale=1.0,
            theta=self.theta,
        )
