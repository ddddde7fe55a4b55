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
    outputs : callable, Tensor (d,) -> Tensor (n,) or (n, k)
        The linear map X.
    transposed : callable, Tensor (n,) or (n, k) -> Tensor (d,)
        Xᵀ.
    fit, slope : callable, Tensor (n,) or (n, k) -> scalar Tensor, Tensor
        The fit, and its derivative, which is shaped like its argument.
    diagonal : Tensor, shape () or (d,)
        D.
    """

    def __init__(self, outputs, transposed, fit, slope, diagonal):
        self.outputs, self.transposed = outputs, transposed
        self.diagonal = diagonal
        self._fit, self._slope = fit, slope

    def __call__(self, z):
        """Evaluate at z, (d,): a float and a Tensor (d,)."""
        place = self.at(z)
        return place.value, place.gradient

    def at(self, z):
        """Evaluate where a solve begins, z of shape (d,): a `LinearPlace`."""
        return LinearPlace(self, z, self.fitted(self.outputs(z)))

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
        Bound of the rounding of X z, in units of its last place: the sum of
        the norms of X z since X z was a product.

    Notes
    -----
    X z is carried from iterate to iterate as X z + t X d, and each sum is
    rounded in proportion to its size.  So a solve that comes from afar, where
    X z was large, needs X z afresh sooner than one that stays; it is made
    afresh where ``drift`` exceeds DRIFT ‖X z‖, which is every 30 iterations
    where the size does not change, and takes 1.5 products in a hundred.

    A trial's penalty is ½ zᵀDz + t zᵀDd + ½ t² dᵀDd, whose rounding is in
    proportion to its terms.  Where they cancel, the digits lost are below the
    rounding of the value at t = 0, with which the search compares; and at the
    next place the penalty is computed from z itself, so that no loss is
    handed on.
    """

    cheap_trials = True

    def __init__(self, energy, z, fit, drift=0.0):
        self.z, self._energy, self._fit, self._drift = z, energy, fit, drift
        weighted = energy.diagonal * z
        self._penalty = 0.5 * float(weighted @ z)
        self.value = fit.value + self._penalty
        self.gradient = weighted.add_(energy.transposed(fit.slope))

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
