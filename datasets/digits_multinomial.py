from sklearn.datasets import load_digits

from benchmark_shine.bench.dataset import ProblemDataset
from benchmark_shine.data.tables import penalty_groups, split
from benchmark_shine.problems import Multinomial


class Dataset(ProblemDataset):
    """Handwritten digits, 1,797 × 64, ten classes, bundled with scikit-learn.

    The model is multinomial logistic regression on pixels in [0, 1]: z has
    640 entries.  ``groups`` = feature or class is one penalty per pixel or
    class, see `data.tables.penalty_groups`; each starts at ``theta``.
    """

    name = "digits_multinomial"
    parameters = {
        "groups": ["consecutive"],
        "n_groups": [1],
        "theta": [4.0],
        "train_size": [0.5],
        "seed": [0],
    }

    def sources(self):
        return load_digits(return_X_y=True)

    def build(self, X, y):
        parts = split(X / 16, y, self.seed, self.train_size)
        groups = penalty_groups(self.groups, self.n_groups, parts[0][0], 10)
        return Multinomial(
            *parts, seed=self.seed, groups=groups, theta=self.theta
        )
