from benchopt import BaseDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmark_shine.bench.dataset import loaded
from benchmark_shine.bench.networks import build
from benchmark_shine.checks import check_seed
from benchmark_shine.data.pictures import pictures


class Dataset(BaseDataset):
    """Handwritten digits, 1,797 × 8 × 8, bundled with scikit-learn: a DEQ.

    The default deep equilibrium task, seconds on a CPU.  A fifth of each
    class is kept for the test.  All eigenvalues of df/dz have a modulus
    between half of ``contraction`` and ``contraction``, see
    `benchmark_shine.problems.small_deq.SmallDEQ`.

    ``network`` tiny is the smallest of the paper's, minutes on a CPU.
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

    def get_data(self):
        return loaded(self._build)

    def _build(self):
        check_seed(self.seed)
        digits = load_digits()
        x, x_test, y, y_test = train_test_split(
            digits.images[:, None].astype("uint8"), digits.target,
            test_size=0.2, random_state=self.seed, stratify=digits.target,
        )
        train, test = pictures((x, y), (x_test, y_test))
        return build(
            self.network, train, test, self.seed, width=self.width,
            contraction=self.contraction, batch_size=self.batch_size,
            epochs=self.epochs, unrolled_steps=self.unrolled_steps,
            jacobian_weight=self.jacobian_weight,
        )
