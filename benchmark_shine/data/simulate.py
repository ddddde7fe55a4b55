"""Draw data of known origin."""
import numpy as np
import scipy.sparse
from sklearn.preprocessing import normalize

from ..checks import check_integer, check_seed


def _generator(n_samples, n_features, seed):
    check_integer("n_samples", n_samples, least=8)
    check_integer("n_features", n_features, least=8)
    check_seed(seed)
    return np.random.RandomState(seed)


def regression(n_samples, n_features, seed):
    """Draw correlated Gaussian features and linear targets with noise.

    Returns
    -------
    X : ndarray of float64, shape (n_samples, n_features)
    y : ndarray of float64, shape (n_samples,)

    Raises
    ------
    ValueError
        Where a size is under 8.
    """
    rng = _generator(n_samples, n_features, seed)
    # singular values fall by a factor of 30: J is neither I nor hopeless
    scales = np.geomspace(1, 1 / 30, n_features)
    basis, _ = np.linalg.qr(rng.randn(n_features, n_features))
    X = rng.randn(n_samples, n_features) * scales @ basis
    coefficients = rng.randn(n_features)
    signal = X @ coefficients
    return X, signal + 0.5 * signal.std() * rng.randn(n_samples)


def text(n_samples, n_features, seed):
    """Draw bags of Zipf-distributed words and labels by a linear rule.

    Returns
    -------
    X : scipy.sparse.csr_matrix, shape (n_samples, n_features)
        Counts of words in documents, each row scaled to unit length, as in
        20 newsgroups.
    y : ndarray of -1 and 1, shape (n_samples,)

    Raises
    ------
    ValueError
        Where a size is under 8.
    """
    rng = _generator(n_samples, n_features, seed)
    frequency = 1 / np.arange(1, n_features + 1)
    frequency /= frequency.sum()
    lengths = 20 + rng.poisson(80, n_samples)
    words = rng.choice(n_features, size=lengths.sum(), p=frequency)
    documents = np.repeat(np.arange(n_samples), lengths)
    counts = scipy.sparse.coo_matrix(
        (np.ones(len(words)), (documents, words)),
        shape=(n_samples, n_features),
    ).tocsr()
    X = normalize(counts)
    margin = X @ rng.randn(n_features)
    margin -= np.median(margin)
    margin += 0.5 * margin.std() * rng.randn(n_samples)
    return X, np.where(margin > 0, 1, -1)
