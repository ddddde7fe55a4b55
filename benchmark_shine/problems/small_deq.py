"""A small deep equilibrium classifier whose contraction is known."""
import math

import torch
from torch import nn

from ..checks import check_integer, check_number
from .classifier import EquilibriumClassifier


class _Cell(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d, d))

    def forward(self, z, injection, mask):
        u = z @ self.weight.T + injection
        return (u + torch.tanh(u)) / 2


class _Network(nn.Module):
    def __init__(self, n_features, d, n_classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(n_features, d))
        self.cell = _Cell(d)
        self.head = nn.Linear(d, n_classes)


class SmallDEQ(EquilibriumClassifier):
    """f(z, x) = a(W z + U x + b), W a contraction times an orthogonal matrix.

    a(u) = (u + tanh u) / 2 has slopes in [½, 1], and W = c (I + A)⁻¹(I - A)
    with A = V - Vᵀ, the Cayley map of a free matrix V, so that ‖W z‖ = c ‖z‖.
    For every theta, then, f is a contraction with factor c: the root exists
    and is unique, and ‖q‖ ≤ ‖dl/dz‖ / (1 - c).  No training can turn f into
    something easy either: all eigenvalues of df/dz have modulus in [c/2, c].
    (Merely dividing V by its norm, digits train to a spectral radius of 0.3,
    where all methods are alike.)  df/dz is smooth and not symmetric.

    Parameters
    ----------
    train, test, recipe, seed, dtype, device
        See `EquilibriumClassifier`.
    d : int
        Width.
    contraction : float
        c, in (0, 1).

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    def __init__(self, train, test, recipe, d=64, contraction=0.95,
                 **settings):
        check_integer("width", d, least=1, most=2 ** 14)  # d² weights
        check_number("contraction", contraction, above=0, below=1)
        self.contraction = contraction
        super().__init__(d, train, test, recipe, **settings)

    def network(self):
        n_features = math.prod(self.train.shape)
        return _Network(n_features, self.d, self.train.n_classes)

    def initial(self, network, generator):
        # unit variance in, unit variance out; biases from zero
        return {
            name: torch.zeros(p.shape) if p.ndim == 1 else
            torch.randn(p.shape, generator=generator) / p.shape[1] ** 0.5
            for name, p in network.named_parameters()
        }

    def effective(self, weights):
        V = weights["weight"]
        A, eye = V - V.T, torch.eye(len(V), dtype=V.dtype, device=V.device)
        return {
            "weight": self.contraction * torch.linalg.solve(eye + A, eye - A)
        }
