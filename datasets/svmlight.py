from benchopt import BaseDataset

from benchmark_shine.bench.dataset import BINARY, loaded
from benchmark_shine.checks import check_choice
from benchmark_shine.data.tables import (
    feature_groups, read_svmlight, split, two_classes,
)


class Dataset(BaseDataset):
    """Any local svmlight / libsvm file with two classes, by its path."""

    name = "svmlight"
    parameters = {
        "path": [None],
        "formulation": ["logistic"],
        "n_groups": [1],
        "train_size": [0.9],
        "seed": [0],
    }

    def get_data(self):
        return loaded(self._build)

    def _build(self):
        model = check_choice("formulation", self.formulation, BINARY)
        if self.path is None:
            raise ValueError(
                "svmlight: name a file, -d \"svmlight[path='my.svm']\""
            )
        X, y = read_svmlight(self.path)
        parts = split(X, two_classes(y), self.seed, self.train_size)
        return model(
            *parts, seed=self.seed,
            groups=feature_groups(X.shape[1], self.n_groups),
        )
