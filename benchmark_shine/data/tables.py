"""Tables: reading and splitting."""
from io import BytesIO

import numpy as np
from sklearn.datasets import load_svmlight_file
from sklearn.model_selection import train_test_split

from ..checks import check_integer, check_number, check_path, check_seed

# Widths beyond this are slips of a file, not data: half a dozen vectors of z
# would fill 8 GB.  The widest of LIBSVM's sets has 54,686,452 features.
MOST_FEATURES = 10 ** 8


def split(X, y, seed, train_size=0.9):
    """Training, validation and test parts.

    scikit-learn's ``train_test_split`` twice with one seed, the rest in two
    halves; seed k here is seed k of the authors' code.  (Their names for the
    two halves are swapped: what they call test is the outer loss.)

    Parameters
    ----------
    X, y : array or sparse matrix (n, p), array (n,)
    seed : int
    train_size : float
        Share of the training part.

    Returns
    -------
    train, validation, test : (X, y)

    Raises
    ------
    ValueError
        Where the share is not between 0 and 1, or the seed is no seed.
    """
    check_number("train_size", train_size, above=0, below=1)
    check_seed(seed)
    X_train, X_rest, y_train, y_rest = train_test_split(
        X, y, train_size=train_size, random_state=seed
    )
    X_test, X_val, y_test, y_val = train_test_split(
        X_rest, y_rest, train_size=0.5, random_state=seed
    )
    return (X_train, y_train), (X_val, y_val), (X_test, y_test)


def two_classes(y):
    """Map two labels, whatever they are, to -1 and +1 in their order.

    Raises
    ------
    ValueError
        Where there are not exactly two.
    """
    labels = np.unique(y)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y: NaN or infinite labels; expected two classes")
    if len(labels) != 2:
        shown = ", ".join(map(str, labels[:5]))
        raise ValueError(
            f"y: labels must be two classes, got {len(labels)} ({shown}"
            f"{', …' if len(labels) > 5 else ''})"
        )
    return np.where(y == labels[1], 1, -1)


def feature_groups(n_features, n_groups):
    """Consecutive groups of nearly equal size, one theta each.

    Raises
    ------
    ValueError
        Where there are more groups than features, or none.
    """
    check_integer("n_groups", n_groups, least=1)
    if n_groups > n_features:
        raise ValueError(
            f"n_groups: there are {n_features} features for {n_groups} groups"
        )
    return np.arange(n_features) * n_groups // n_features


def read_svmlight(path):
    """Read a local svmlight / libsvm file.

    Parameters
    ----------
    path : str

    Returns
    -------
    X : scipy.sparse.csr_matrix, shape (n, p)
    y : ndarray, shape (n,)

    Raises
    ------
    ValueError
        Where there is no such file, or with the first line that cannot be
        read, or indices go beyond MOST_FEATURES.
    """
    path = check_path("path", path)
    if not path.is_file():
        raise ValueError(f"path: there is no file {path}")
    content = path.read_bytes()
    try:
        X, y = load_svmlight_file(BytesIO(content))
    except (ValueError, OverflowError) as error:
        number, why = _first_bad_line(content) or ("?", error)
        raise ValueError(
            f"{path}, line {number}: not svmlight format ({why}); expected "
            "'label index:value index:value …'"
        ) from None
    if not len(y):
        raise ValueError(f"{path}: no samples in this file")
    if X.shape[1] > MOST_FEATURES:
        raise ValueError(
            f"{path}: an index of {X.shape[1] - 1:,}, more than the "
            f"{MOST_FEATURES:,} features that this suite reads; number them "
            "from 1 without gaps"
        )
    return X, y


def _first_bad_line(content):
    for number, line in enumerate(content.splitlines(), 1):
        try:
            load_svmlight_file(BytesIO(line + b"\n"), zero_based=True)
        except (ValueError, OverflowError) as error:
            return number, error
    return None
