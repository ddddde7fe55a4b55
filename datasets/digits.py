from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmark_shine.bench.networks import PictureDataset
from benchmark_shine.checks import check_seed


class Dataset(PictureDataset):
    """Handwritten digits, 1,797 × 8 × 8, bundled with scikit-learn: a DEQ.

    This is the default task of deep equilibrium networks, seconds on a CPU.
    A fifth of each class is kept for the test.  All eigenvalues of df/dz have
    a modulus between half of ``contraction`` and ``contraction``, see
    `benchmark_shine.problems.small_deq.SmallDEQ`.  With ``network`` tiny, the
    smallest of the paper's, a run takes minutes on a CPU.
    """

    name = "digits"
    parameters = {
        "network": ["dense"],
        "contraction": [0.95],
        "width": [64],
        "batch_size, epochs": [(64, 10)],
        "unrolled_steps": [0],
        "jacobian_weight": [0.0],
        "seed": [0],
    }
    test_parameters = {"width": [8], "batch_size, epochs": [(32, 1)]}

    def sources(self):
        digits = load_digits()
        return digits.images[:, None].astype("uint8"), digits.target

    def build(self, x, y):
        check_seed(self.seed)
        x, x_test, y, y_test = train_test_split(
            x, y, test_size=0.2, random_state=self.seed, stratify=y
        )
        return super().build((x, y), (x_test, y_test))
