"""Split tables, and prepare their targets."""
import math

import numpy as np
from sklearn.model_selection import train_test_split

from ..checks import check_integer, check_number, check_seed


def split(X, y, seed, train_size=0.9):
    """Split rows at random into a training, a validation and a test part.

    scikit-learn's ``train_test_split`` is called twice with one seed, and the
    rest is cut in two halves: seed k here is seed k of the authors' code.

    Returns
    -------
    train, validation, test : (X, y)

    Raises
    ------
    ValueError
        Where the share is not between 0 and 1, the seed is no seed, or a part
        would have no row.

    Notes
    -----
    The authors' code swaps the names of the two halves: what it calls test is
    the outer loss.
    """
    check_number("train_size", train_size, above=0, below=1)
    check_seed(seed)
    n = X.shape[0]
    n_train = math.floor(train_size * n)
    if n_train < 1 or n - n_train < 2:
        raise ValueError(
            f"train_size: {n} rows are too few for three parts, "
            f"{train_size:g} of them are {n_train} and leave {n - n_train} "
            "for validation and test; give more rows or another train_size"
        )
    X_train, X_rest, y_train, y_rest = train_test_split(
        X, y, train_size=train_size, random_state=seed
    )
    X_test, X_val, y_test, y_val = train_test_split(
        X_rest, y_rest, train_size=0.5, random_state=seed
    )
    return (X_train, y_train), (X_val, y_val), (X_test, y_test)


def two_classes(y):
    """Map two labels, whatever they are, to -1 and +1 in their order."""
    labels = _labels(y, "two classes")
    if len(labels) != 2:
        shown = ", ".join(map(str, labels[:5]))
        raise ValueError(
            f"y: labels must be two classes, got {len(labels)} ({shown}"
            f"{', …' if len(labels) > 5 else ''}); several classes are for "
            "formulation=multinomial, a regression's targets for ridge"
        )
    return np.where(y == labels[1], 1, -1)


def class_numbers(y):
    """Number the classes 0 .. k - 1 in the order of their labels."""
    labels = _labels(y, "classes")
    if labels.dtype.kind == "f" and (labels % 1).any():
        raise ValueError(
            f"y: labels must be whole numbers, got {labels[labels % 1 > 0][0]}"
            "; a regression's targets are for formulation=ridge"
        )
    if len(labels) < 2:
        raise ValueError(f"y: needs two classes or more, got {len(labels)}")
    return np.searchsorted(labels, y)


def _labels(y, expected):
    labels = np.unique(y)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"y: NaN or infinite labels; expected {expected}")
    return labels


def check_training_classes(y_train, y):
    """Insist that the training part has every class of the data.

    The split is the paper's, at random whatever the classes, and stays.
    """
    missing = np.setdiff1d(y, y_train)
    if len(missing):
        raise ValueError(
            f"y: class {missing[0]} is missing in the training part of this "
            "split; take another seed, a larger train_size or more rows"
        )


def feature_groups(n_features, n_groups):
    """Cut features into consecutive groups of nearly equal size.

    Each group has an entry of theta of its own.
    """
    check_integer("n_groups", n_groups, least=1)
    if n_groups > n_features:
        raise ValueError(
            f"n_groups: there are {n_features} features for {n_groups} groups"
        )
    return np.arange(n_features) * n_groups // n_features
