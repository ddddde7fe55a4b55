from benchmark_shine.bench.dataset import from_cache
from benchmark_shine.bench.networks import PictureDataset, check_network
from benchmark_shine.data import mnist
from benchmark_shine.data.readers import some


class Dataset(PictureDataset):
    """Fashion-MNIST, 60,000 + 10,000 pictures of 28 × 28, ten classes.

    The source is Xiao, Rasul and Vollgraf, arXiv 1708.07747.  ``size``
    averages pictures down (14, say), ``n_train`` and ``n_test`` keep a fixed
    random part; ``network`` is dense, tiny, or at 8, 16 … pixels large; None
    in ``batch_size`` and ``epochs`` is what the network's recipe says.
    """

    name = "fashion_mnist"
    parameters = {
        "network": ["dense"],
        "size": [14],
        "n_train, n_test": [(2_000, 500)],
        "batch_size, epochs, unrolled_steps": [(64, 2, 0)],
        "jacobian_weight": [0.0],
        "width": [64],
        "contraction": [0.95],
        "device": ["cpu"],
        "seed": [0],
    }
    prepare_cache_ignore = "all"
    by_name_only = True

    def prepare(self):
        try:
            self.sources()
        except (OSError, ValueError):
            mnist.download_fashion()

    def sources(self):
        check_network(self.network)
        place = mnist.fashion_folder()
        with from_cache(self.name, place, ValueError):
            train, test = mnist.read_fashion()
        return some(*train, self.n_train), some(*test, self.n_test)
