# A data set to copy; benchopt passes over files called template_*, unless
# asked: benchopt run . -d datasets/template_dataset.py
from sklearn.datasets import load_wine

from benchmark_shine.bench.dataset import ProblemDataset
from benchmark_shine.data.tables import penalty_groups, split
from benchmark_shine.problems import Multinomial


class Dataset(ProblemDataset):
    """What it is, its size, where it is from: wines, 178 × 13, scikit-learn.

    Three classes, by multinomial logistic regression.  What else a reader has
    to know: features are divided by their standard deviations.
    """

    name = "template"  # that of no other data set
    # Every parameter with a list of the values to run; keep the seed.
    parameters = {
        "groups": ["consecutive"], "n_groups": [1], "theta": [4.0],
        "train_size": [0.5], "seed": [0],
    }
    # What `benchopt test` takes in their place: something small.
    test_parameters = {"n_groups": [2]}

    def sources(self):
        # What is read from outside the suite: its content is in the key of
        # benchopt's cache and in each row.  Leave this out where build draws
        # the data.  A ValueError or OSError, here or in build, skips the data
        # set with its message, which had better say what to do.
        return load_wine(return_X_y=True)

    def build(self, X, y):  # X (n, p), sparse or not; y (n,)
        parts = split(X / X.std(axis=0), y, self.seed, self.train_size)
        # Training, validation (the outer loss) and test part.  Others are
        # Logistic and NonlinearLeastSquares (y of -1 and 1) and Ridge; for
        # pictures and an equilibrium network see datasets/digits.py.
        return Multinomial(
            *parts, seed=self.seed, theta=self.theta,
            groups=penalty_groups(self.groups, self.n_groups, parts[0][0], 3),
        )
