from benchmark_shine.bench.dataset import ProblemDataset
from benchmark_shine.checks import check_choice
from benchmark_shine.data.simulate import regression, text
from benchmark_shine.data.tables import penalty_groups, split
from benchmark_shine.problems import Logistic, Ridge

KINDS = {"ridge": (Ridge, regression), "logistic": (Logistic, text)}


class Dataset(ProblemDataset):
    """Simulated data: dense ridge regression, or sparse text-like logistic.

    ``logistic`` draws documents of Zipf-distributed words, normalised as in
    20 newsgroups.  ``groups`` and ``n_groups`` say which features share a
    penalty, see `data.tables.penalty_groups`; each starts at ``theta``.
    """

    name = "simulated"
    parameters = {
        "formulation, n_samples, n_features": [
            ("ridge", 400, 100), ("logistic", 2_000, 5_000),
        ],
        "groups": ["consecutive"],
        "n_groups": [1],
        "theta": [4.0],
        "seed": [0],
    }
    test_parameters = {
        "formulation, n_samples, n_features": [
            ("ridge", 60, 10), ("logistic", 80, 40),
        ],
    }

    def build(self):
        model, draw = check_choice("formulation", self.formulation, KINDS)
        X, y = draw(self.n_samples, self.n_features, self.seed)
        parts = split(X, y, self.seed, 0.5)
        return model(
            *parts, seed=self.seed, theta=self.theta,
            groups=penalty_groups(self.groups, self.n_groups, parts[0][0]),
        )
