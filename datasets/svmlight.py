import numpy as np

from benchmark_shine.bench.dataset import ProblemDataset, named_path
from benchmark_shine.checks import check_choice
from benchmark_shine.data.svmlight import read_svmlight
from benchmark_shine.data.tables import (
    check_training_classes, class_numbers, penalty_groups, split, two_classes,
)
from benchmark_shine.problems import (
    Logistic, Multinomial, NonlinearLeastSquares, Ridge,
)

# The model, and what it takes for targets.
KINDS = {
    "logistic": (Logistic, two_classes),
    "nls": (NonlinearLeastSquares, two_classes),
    "multinomial": (Multinomial, class_numbers),
    "ridge": (Ridge, np.asarray),
}


class Dataset(ProblemDataset):
    """Any local svmlight / libsvm file by its path, compressed or not.

    ``formulation`` is logistic or nls for two classes, multinomial for
    several, ridge for a regression.  ``groups`` and ``n_groups`` say which
    entries of z share a penalty, see `data.tables.penalty_groups`; each
    starts at ``theta``.
    """

    name = "svmlight"
    parameters = {
        "path": [None],
        "formulation": ["logistic"],
        "groups": ["consecutive"],
        "n_groups": [1],
        "theta": [4.0],
        "train_size": [0.9],
        "seed": [0],
    }

    def sources(self):
        check_choice("formulation", self.formulation, KINDS)
        if self.path is None:
            raise ValueError(
                "svmlight: name a file, -d \"svmlight[path='my.svm']\""
            )
        return read_svmlight(named_path(self.path))

    def build(self, X, y):
        model, targets_of = KINDS[self.formulation]
        targets, rows = targets_of(y), np.arange(len(y))
        parts = split(X, rows, self.seed, self.train_size)
        if model is not Ridge:
            check_training_classes(y[parts[0][1]], y)
        n_outputs = targets.max() + 1 if model is Multinomial else 1
        groups = penalty_groups(
            self.groups, self.n_groups, parts[0][0], n_outputs
        )
        return model(
            *((X, targets[rows]) for X, rows in parts), seed=self.seed,
            groups=groups, theta=self.theta,
        )
