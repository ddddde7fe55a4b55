"""Split tables, and prepare their targets."""
import math

import numpy as np
from sklearn.model_selection import train_test_split

from ..checks import (
    check_choice, check_integer, check_number, check_seed,
)


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


def corrupt(y, share, seed, new_labels="others"):
    """Give a share of the labels, chosen at random, a class at random.

    Exactly ⌊share n⌋ labels are chosen.

    Parameters
    ----------
    y : array of int, shape (n,)
        Class numbers 0 .. k - 1.
    share : float
        In [0, 1].
    seed : int
    new_labels : {"others", "all"}
        Whether the new class is uniform over the k - 1 others (every chosen
        label is wrong) or over all k classes.

    Returns
    -------
    y : ndarray of int, shape (n,)
    corrupted : ndarray of bool, shape (n,)
        Which labels are wrong now.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """
    check_number("corruption", share, least=0, most=1)
    check_seed(seed)
    first = check_choice("new_labels", new_labels, {"others": 1, "all": 0})
    rng, y = np.random.default_rng(seed), np.asarray(y).astype(int)
    k, n = y.max() + 1, math.floor(share * len(y))
    chosen, moved = rng.permutation(len(y))[:n], y.copy()
    moved[chosen] = (y[chosen] + rng.integers(first, k, n)) % k
    return moved, moved != y


def penalty_groups(groups, n_groups, X, n_outputs=1):
    """Number the groups of entries of z that share a penalty.

    Parameters
    ----------
    groups : {"consecutive", "frequency", "feature", "class"}
        consecutive: ``n_groups`` groups of features in their order, of nearly
        equal size; with ``n_groups`` = 1 one penalty for all.  frequency:
        ``n_groups`` groups of features in the order of their frequency, which
        is the number of training rows where the feature is not 0; all groups
        have nearly the same sum of frequencies, so that the first groups have
        few features and the last has the rarest.  feature: a group for each
        feature.  class: a group for each class of a multinomial model.
    n_groups : int
        1 where ``groups`` is feature or class, which say the number.
    X : array or SciPy sparse matrix, shape (n, p)
        The training rows.
    n_outputs : int
        k, the classes of a multinomial model, and 1 for other models.

    Returns
    -------
    ndarray of int, shape (p * k,)
        For the entries of z, flattened from (p, k).

    Raises
    ------
    ValueError
        Where there is no such setting, there are fewer features than groups,
        or a model has no classes.
    """
    make = check_choice("groups", groups, GROUPS)
    check_integer("n_groups", n_groups, least=1)
    if n_groups > X.shape[1]:
        raise ValueError(
            f"n_groups: there are {X.shape[1]} features for {n_groups} groups"
        )
    if n_groups > 1 and make in (_by_feature, _by_class):
        raise ValueError(
            f"n_groups: groups={groups} says how many there are; leave "
            "n_groups at 1, or take groups=consecutive or frequency"
        )
    return make(X, n_outputs, n_groups)


def _consecutive(X, n_outputs, n_groups):
    p = X.shape[1]
    return np.repeat(np.arange(p) * n_groups // p, n_outputs)


def _by_feature(X, n_outputs, n_groups):
    return np.repeat(np.arange(X.shape[1]), n_outputs)


def _by_class(X, n_outputs, n_groups):
    if n_outputs == 1:
        raise ValueError(
            "groups: class needs a multinomial model; here each feature has "
            "one coefficient"
        )
    return np.tile(np.arange(n_outputs), X.shape[1])


def _by_frequency(X, n_outputs, n_groups):
    frequency = np.asarray((X != 0).sum(axis=0)).reshape(-1)
    order = np.argsort(-frequency, kind="stable")
    total, p = np.cumsum(frequency[order]), len(order)
    k = np.arange(1, n_groups)
    first = np.searchsorted(total * n_groups, total[-1] * k, side="right")
    # a very frequent feature is a group of its own, and no group is empty
    first = np.maximum.accumulate(first - k) + k
    first = np.clip(first, k, p - n_groups + k)
    groups = np.empty(p, int)
    groups[order] = np.searchsorted(first, np.arange(p), side="right")
    return np.repeat(groups, n_outputs)


GROUPS = {
    "consecutive": _consecutive, "frequency": _by_frequency,
    "feature": _by_feature, "class": _by_class,
}
