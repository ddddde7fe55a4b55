from pathlib import Path

import pooch
from sklearn.datasets import get_data_home

from benchmark_shine.bench.dataset import from_cache, named_path
from benchmark_shine.bench.networks import PictureDataset, check_network
from benchmark_shine.data.readers import (
    CACHE, read_cifar10, read_pictures, some, two_folders,
)

# The binary version, without pickles, and the MD5 sum of the official page.
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE = CACHE / "cifar-10-binary.tar.gz"


def find(path):
    """Find the archive or picture folder: as given, else where it belongs."""
    if path is not None:
        return named_path(path)
    for place in ARCHIVE, Path(get_data_home()) / "cifar10_jpeg":
        if place.exists():
            return place
    raise OSError(
        "CIFAR-10 is not on this machine; get it with: benchopt prepare . "
        "-d cifar10 --force, or name an archive (binary version) or a folder "
        "<split>/<class>/*.jpg|png, -d \"cifar10[path='…']\""
    )


class Dataset(PictureDataset):
    """CIFAR-10, 50,000 + 10,000 colour pictures of 32 × 32, ten classes.

    This is the paper's data set (figures 3, E.2).  ``network`` is tiny or
    large, as published, or the small dense one of the default, a task for a
    CPU.  ``size`` averages pictures down, ``n_train`` and ``n_test`` keep a
    fixed random part; None is all of it.  None in ``batch_size`` and what
    follows it is what the network's recipe says.

    ``path`` names the official archive (binary version) or a folder with
    train/ and test/ of one folder for each class; None looks for the
    archive in the cache, then for ``cifar10_jpeg`` in scikit-learn's data
    home.  JPEG pictures are not the official pixels.
    """

    name = "cifar10"
    parameters = {
        "network": ["dense"],
        "size": [16],
        "n_train, n_test": [(2_000, 500)],
        "batch_size, epochs, unrolled_steps": [(64, 2, 0)],
        "jacobian_weight": [0.0],
        "width": [64],
        "contraction": [0.95],
        "path": [None],
        "device": ["cpu"],
        "seed": [0],
    }
    prepare_cache_ignore = "all"
    by_name_only = True

    def prepare(self):
        try:
            self.sources()
        except (OSError, ValueError):
            # an archive with another sum is downloaded again
            pooch.retrieve(URL, f"md5:{MD5}", ARCHIVE.name, ARCHIVE.parent)

    def sources(self):
        check_network(self.network)
        place, numbers = find(self.path), (self.n_train, self.n_test)
        if place == ARCHIVE:
            with from_cache(self.name, CACHE, ValueError):
                parts = read_cifar10(place)
        elif not place.is_dir():
            parts = read_cifar10(place)
        else:
            *parts, _ = two_folders(place)
        # choose first: reading the pictures is what takes the time
        chosen = [some(*part, n) for part, n in zip(parts, numbers)]
        if place.is_dir():
            return tuple((read_pictures(paths), y) for paths, y in chosen)
        return tuple(chosen)
