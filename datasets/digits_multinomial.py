from sklearn.datasets import load_digits

from benchmark_shine.bench.dataset import ProblemDataset
from benchmark_shine.data.tables import feature_groups, split
from benchmark_shine.problems import Multinomial


class Dataset(ProblemDataset):
    """Handwritten digits, 1,797 × 64, ten classes, bundled with scikit-learn.

    The model is multinomial logistic regression on pixels in [0, 1]: z has
    640 entries.
    """

    name = "digits_multinomial"
    parameters = {"n_groups": [1], "train_size": [0.5], "seed": [0]}

    def sources(self):
        return load_digits(return_X_y=True)

    def build(self, X, y):
        return Multinomial(
            *split(X / 16, y, self.seed, self.train_size), seed=self.seed,
            groups=feature_groups(X.shape[1], self.n_groups),
        )
