from benchmark_shine.bench.dataset import ProblemDataset
from benchmark_shine.checks import check_choice
from benchmark_shine.data.simulate import regression, text
from benchmark_shine.data.tables import feature_groups, split
from benchmark_shine.problems import Logistic, Ridge

KINDS = {"ridge": (Ridge, regression), "logistic": (Logistic, text)}


class Dataset(ProblemDataset):
    """Simulated data: dense ridge regression, or sparse text-like logistic.

    ``logistic`` draws documents of Zipf-distributed words, normalised as in
    20 newsgroups.  With ``n_groups`` > 1 each group of features has its own
    penalty.
    """

    name = "simulated"
    parameters = {
        "formulation, n_samples, n_features": [
            ("ridge", 400, 100), ("logistic", 2_000, 5_000),
        ],
        "n_groups": [1],
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
        return model(
            *split(X, y, self.seed, 0.5), seed=self.seed,
            groups=feature_groups(X.shape[1], self.n_groups),
        )
