"""The energy of a penalised model whose outputs are linear in z.

    h(z) = fit(X z) + ½ Σⱼ Dⱼ zⱼ²

On the line z + t d the outputs are X z + t X d, and the penalty is a quadratic
function of t.  So once X z and X d are known, a trial of a line search costs
O(n), and only the gradient of the trial that is accepted takes a product with
Xᵀ: two products an iteration, whatever the number of trials.
"""
from typing import NamedTuple

import torch
from torch import Tensor

from ..root.line_search import Point

# X z is made afresh once its rounding may be that of so many products.
DRIFT = 30.0


class Fit(NamedTuple):
    """What a model's outputs say of its fit.

    Parameters
    ----------
    outputs, slope : Tensor, shape (n,) or (n, k)
        X z, and the derivative of the fit in it.
    value : float
    """

    outputs: Tensor
    slope: Tensor
    value: float


class LinearEnergy:
    """Evaluate h and its gradient, at a point or along lines.

    Parameters
    ----------
    X : Design, shape (n, p)
    n_outputs : int
        k: X multiplies z itself where k is 1, and z as a (p, k) matrix else.
    fit, slope : callable, Tensor (n,) or (n, k) -> scalar Tensor, Tensor
        The fit, and its derivative, which is shaped like its argument.
    diagonal : Tensor, shape () or (d,)
        D.
    """

    def __init__(self, X, n_outputs, fit, slope, diagonal):
        self.X, self.diagonal = X, diagonal
        self._k, self._fit, self._slope = n_outputs, fit, slope

    def __call__(self, z):
        """Evaluate at z, (d,): a float and a Tensor (d,)."""
        place = self.at(z)
        return place.value, place.gradient

    def at(self, z, last=None):
        """Evaluate where a solve begins.

        Parameters
        ----------
        z : Tensor, shape (d,)
        last : Place or None
            Where the last solve ended: if that is z itself, X z is known.

        Returns
        -------
        LinearPlace
        """
        if isinstance(last, LinearPlace) and last.is_at(self.X, z):
            return last.under(self)
        fit = self.fitted(self.outputs(z))
        return LinearPlace(self, z, fit, float(fit.outputs.norm()))

    def outputs(self, z):
        """Multiply X z: shape (n,) or (n, k)."""
        return self.X @ (z if self._k == 1 else z.view(-1, self._k))

    def fitted(self, outputs):
        """Evaluate the `Fit` of outputs."""
        return Fit(
            outputs, self._slope(outputs), float(self._fit(outputs))
        )


class LinearPlace:
    """Hold value and gradient of a `LinearEnergy` at z, and X z.

    See `benchmark_shine.root.line_search.Place`.

    Parameters
    ----------
    energy : LinearEnergy
    z : Tensor, shape (d,)
    fit : Fit
        At X z.
    drift : float
        Bound of the rounding of X z, in units of the last place: the norms of
        X z since it was a product, added up.
    gradient : Tensor, shape (d,), or None
        Where it is known already.

    Notes
    -----
    X z is carried from iterate to iterate as X z + t X d, and each sum is
    rounded in proportion to its size.  So a solve that comes from afar, where
    X z was large, needs X z afresh sooner than one that stays.  X z is made
    afresh where ``drift`` exceeds DRIFT ‖X z‖: every 30 iterations where its
    size does not change, which is one product in sixty.

    A trial's penalty is ½ zᵀDz + t zᵀDd + ½ t² dᵀDd, whose rounding is in
    proportion to its terms.  Where they cancel, the digits lost are below the
    rounding of the value at t = 0, with which the search compares; and at the
    next place the penalty is computed from z itself, so that no loss is
    handed on.
    """

    cheap_trials = True

    def __init__(self, energy, z, fit, drift, gradient=None):
        self.z, self._energy, self._fit, self._drift = z, energy, fit, drift
        self.cheap = gradient is not None
        weighted = energy.diagonal * z
        self._penalty = 0.5 * float(weighted @ z)
        self.value = fit.value + self._penalty
        self.gradient = gradient if self.cheap else weighted.add_(
            (energy.X.T @ fit.slope).reshape(-1)
        )

    def is_at(self, X, z):
        """Return whether the place is z, on these data."""
        return self._energy.X is X and self.z is z

    def under(self, energy):
        """Evaluate another energy of the same data here.

        The next outer step begins where the last one ended, and where theta
        is in the penalty alone, no product is needed there.
        """
        fit, gradient = energy.fitted(self._fit.outputs), None
        if torch.equal(fit.slope, self._fit.slope):
            change = energy.diagonal - self._energy.diagonal
            gradient = self.gradient + change * self.z
        return LinearPlace(energy, self.z, fit, self._drift, gradient)

    def along(self, direction):
        """Restrict the energy to the line z + t direction, (d,)."""
        energy, before = self._energy, self._fit.outputs
        ahead = energy.outputs(direction)
        weighted = energy.diagonal * direction
        zd, dd = float(weighted @ self.z), float(weighted @ direction)

        def trial(t):
            fit = energy.fitted(torch.add(before, ahead, alpha=t))
            value = fit.value + self._penalty + t * (zd + 0.5 * t * dd)
            slope = float(fit.slope.flatten() @ ahead.flatten()) + zd + t * dd
            return Point(
                t, value, slope, lambda: self._arrive(direction, t, fit)
            )

        return trial

    def _arrive(self, direction, t, fit):
        z = torch.add(self.z, direction, alpha=t)
        size = float(fit.outputs.norm())
        drift = self._drift + size
        if drift > DRIFT * size:
            return self._energy.at(z)
        return LinearPlace(self._energy, z, fit, drift)
