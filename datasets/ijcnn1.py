from benchmark_shine.bench.dataset import ProblemDataset, from_cache
from benchmark_shine.checks import check_seed
from benchmark_shine.data import libsvm
from benchmark_shine.data.tables import penalty_groups, two_classes
from benchmark_shine.problems import Logistic

NAMES = "ijcnn1", "ijcnn1_test"


def read(name):
    """Read one part from the cache of libsvmdata: X (n, 22) and y (n,)."""
    with from_cache("ijcnn1", libsvm.LIBSVM_DATA_HOME):
        return libsvm.read(name)


class Dataset(ProblemDataset):
    """ijcnn1, 49,990 + 91,701 rows of 22 features, from LIBSVM.

    The task of benchmark_bilevel (Dagréou, Ablin, Vaiter and Moreau, NeurIPS
    2022, appendix B): means of logistic losses, one penalty exp(θ_j)/2 per
    feature, the training part of LIBSVM within and its test part for the
    outer loss, so that the test scores are the outer loss again.  The best
    value of F that its published runs reach is 0.2038684 (benchopt/results,
    ``benchmark_bilevel/outputs/ijcnn1.parquet``).  ``theta`` starts each θ_j.
    libsvmdata downloads the data once, under ``LIBSVMDATA_HOME``.
    """

    name = "ijcnn1"
    parameters = {
        "groups": ["feature"],
        "n_groups": [1],
        "losses": ["mean"],
        "theta": [0.0],
        "seed": [0],
    }
    requirements = ["pip::libsvmdata"]
    prepare_cache_ignore = "all"
    by_name_only = True

    def prepare(self):
        for name in NAMES:
            try:
                read(name)
            except OSError:
                libsvm.download(name)

    def sources(self):
        return tuple(read(name) for name in NAMES)

    def build(self, train, validation):
        check_seed(self.seed)
        (X, y), test = ((X, two_classes(y)) for X, y in (train, validation))
        groups = penalty_groups(self.groups, self.n_groups, X)
        return Logistic(
            (X, y), test, test, seed=self.seed, groups=groups,
            theta=self.theta, losses=self.losses,
        )
