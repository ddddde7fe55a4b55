"""Data hyper-cleaning: bi-level choice of the weights of training samples.

Some training labels are wrong, and no one knows which; the validation labels
are right.  The inner problem fits multinomial logistic regression to weighted
training samples,

    h(z, theta) = Σᵢ w sigmoid(thetaᵢ) phi(xᵢᵀ Z, yᵢ) + c ‖z‖²,

with phi the cross-entropy, w = 1/n (or 1, see ``losses``) and one entry of
theta for each of the n training samples.  The outer loss is Σ w phi on the
validation part (Franceschi, Donini, Frasconi and Pontil, *Forward and reverse
gradient-based hyperparameter optimization*, ICML 2017, section 5.1; with a
sigmoid for each sample: Yang, Ji and Liang, *Provably faster algorithms for
bilevel optimization*, NeurIPS 2021, section 6).
"""
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ..checks import check_number
from .linear import Multinomial


class Cleaning(Multinomial):
    """Weigh each training sample of a multinomial logistic regression.

    J is symmetric and at least 2c times the identity, so z*(theta) is unique.
    Theta enters all of J, so the equation has no ``diagonal``; (dg/dtheta)ᵀ q
    costs an evaluation of g, so it has no ``g_theta`` either, and the
    evaluation is counted.

    Parameters
    ----------
    train, validation, test : (X, y)
        X an (n, p) array or SciPy sparse matrix, y an (n,) array of class
        numbers.  A column of ones in X is an intercept, which is in ‖z‖ then.
    corrupted : array of bool, shape (n,)
        Which training labels are wrong.  No method sees it; `scores_of_theta`
        does.
    ridge : float
        c, above 0.
    seed : int
        Of the normal start z ~ N(0, I).
    theta : float
        Start of every entry of theta, in [-12, 12].
    losses : {"mean", "sum"}
        Whether losses are means over the samples of a part or sums.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or the data do not fit.
    """

    def __init__(self, train, validation, test, corrupted, ridge=0.01, seed=0,
                 theta=0.0, losses="mean"):
        super().__init__(
            train, validation, test, seed=seed, theta=theta, losses=losses
        )
        check_number("ridge", ridge, above=0)
        self.ridge, self.corrupted = ridge, np.asarray(corrupted)
        n = len(self.train.y)
        if self.corrupted.shape != (n,) or self.corrupted.dtype != bool:
            raise ValueError(
                f"corrupted: needs one bool for each of {n} training samples, "
                f"got {self.corrupted.dtype} of shape {self.corrupted.shape}"
            )

    def sample_weights(self, theta):
        """Return w sigmoid(theta), shape (n,)."""
        return self.train.weight * torch.sigmoid(theta[0])

    def fit(self, outputs, weights):
        """Sum the weighted cross-entropies of the training samples."""
        return cross_entropy(outputs, self.train.y, reduction="none") @ weights

    def penalty(self, theta):
        """Return 2c, the diagonal that the ridge term adds to J: shape ()."""
        return torch.tensor(2 * self.ridge, dtype=self.dtype)

    def start(self):
        """Return the first theta, one (n,) tensor, and z of shape (d,)."""
        _, z = super().start()
        n = len(self.train.y)
        return (torch.full((n,), self._theta, dtype=self.dtype),), z

    def draw(self, theta, z, k):
        """Build the equation of outer step k, starting from the last root."""
        def energy_theta(z):
            outputs = self.outputs(self.train, z)
            return self.fit(outputs, self.sample_weights(theta))

        equation = super().draw(theta, z, k)
        return replace(
            equation, g_theta=None, diagonal=None, energy_theta=energy_theta
        )

    def scores(self, z):
        """Score an inner solution on the test part: loss and accuracy."""
        with torch.no_grad():
            hits = self.outputs(self.test, z).argmax(dim=1) == self.test.y
        accuracy = float(hits.double().mean())
        return super().scores(z) | {"test_accuracy": accuracy}

    def scores_of_theta(self, theta):
        """Say how well theta tells wrong labels from right ones.

        Returns
        -------
        dict of float
            ``corrupted_auc``, the area under the ROC curve: how often a wrong
            label has a lower theta than a right one, ties counted as half.
            NaN where no label is wrong, or all are.
        """
        theta = theta[0].detach().numpy()
        return {"corrupted_auc": share_below(
            theta[self.corrupted], theta[~self.corrupted]
        )}

    def ingredients(self):
        """List what F depends on beside the code, to be hashed."""
        return super().ingredients() + [self.ridge]


def share_below(low, high):
    """Return the share of pairs with low < high, ties counted as half.

    Parameters
    ----------
    low, high : ndarray, shapes (m,) and (n,)

    Returns
    -------
    float
        NaN where there are no pairs.
    """
    if not len(low) * len(high):
        return float("nan")
    high = np.sort(high)
    not_above = np.searchsorted(high, low, side="left")
    not_below = np.searchsorted(high, low, side="right")
    return float(1 - (not_above + not_below).mean() / (2 * len(high)))
