from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from benchmark_shine.bench.dataset import BINARY, ProblemDataset
from benchmark_shine.checks import check_choice
from benchmark_shine.data.tables import penalty_groups, split, two_classes


class Dataset(ProblemDataset):
    """Breast cancer Wisconsin, 569 × 30, bundled with scikit-learn.

    Features are scaled, not centred, by the training part.  ``groups`` =
    feature is one penalty per feature, see `data.tables.penalty_groups`; each
    starts at ``theta``.
    """

    name = "breast_cancer"
    parameters = {
        "formulation": ["logistic"],
        "groups": ["consecutive"],
        "n_groups": [1],
        "theta": [4.0],
        "train_size": [0.5],
        "seed": [0],
    }

    def sources(self):
        return load_breast_cancer(return_X_y=True)

    def build(self, X, y):
        model = check_choice("formulation", self.formulation, BINARY)
        parts = split(X, two_classes(y), self.seed, self.train_size)
        scaler = StandardScaler(with_mean=False).fit(parts[0][0])
        return model(
            *((scaler.transform(X), y) for X, y in parts), seed=self.seed,
            groups=penalty_groups(self.groups, self.n_groups, parts[0][0]),
            theta=self.theta,
        )
