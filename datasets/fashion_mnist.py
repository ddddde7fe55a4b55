from pathlib import Path

import pooch

from benchmark_shine.bench.dataset import from_cache
from benchmark_shine.bench.networks import PictureDataset, check_network
from benchmark_shine.data.readers import CACHE, read_idx_pictures, some

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

# With the MD5 sums of the data set's own page.
FILES = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def folder():
    """Find the four files: in the cache, else in Debian's package."""
    for place in CACHE / "fashion-mnist", DEBIAN:
        if all((place / name).is_file() for name in FILES):
            return place
    raise OSError(
        "Fashion-MNIST is not on this machine; get it with: apt-get install "
        "dataset-fashion-mnist, or benchopt prepare . -d fashion_mnist "
        "--force"
    )


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
            for name, md5 in FILES.items():
                # a file with another sum is downloaded again
                pooch.retrieve(
                    URL + name, f"md5:{md5}", name, CACHE / "fashion-mnist"
                )

    def sources(self):
        check_network(self.network)
        place = folder()
        with from_cache(self.name, place, ValueError):
            train, test = (
                read_idx_pictures(
                    place / f"{part}-images-idx3-ubyte.gz",
                    place / f"{part}-labels-idx1-ubyte.gz",
                ) for part in ("train", "t10k")
            )
        return some(*train, self.n_train), some(*test, self.n_test)
