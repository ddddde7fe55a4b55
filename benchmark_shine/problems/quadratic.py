"""A quadratic bi-level problem whose solution is a formula.

Inner problem and outer loss:

    h(z, theta) = ½ zᵀ J z - (b + C theta)ᵀ z,    l(z) = ½ ‖z - t‖².

J = Q diag(lambda) Qᵀ has a chosen spectrum, lambda, and is the same at every
theta: what a method has learnt of J stays true from one outer step to the
next.  (A J that changes with theta, as a penalty does, would leave no formula
for the optimum over theta.)  Then

    z*(theta) = J⁻¹ (b + C theta),    q = J⁻¹ (z* - t),    dF/dtheta = Cᵀ q,

and F is a quadratic function of theta, whose minimum is a linear least squares
problem with one unknown for each entry of theta.  All entries of C are drawn
at random, so that dF/dtheta depends on every entry of q.
"""
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import check_integer, check_number, check_seed
from ..equation import Equation
from .base import BilevelProblem

# The target t belongs to a theta that is drawn between -DRAWN and DRAWN, and
# so in the box of the outer optimisers, [-BOX, BOX].
DRAWN, BOX = 4.0, 12.0


def spectrum(d, condition, clusters=None):
    """Space eigenvalues evenly on a logarithmic scale.

    The lowest is condition^-½ and the highest condition^½.

    Parameters
    ----------
    d : int
        Eigenvalues.
    condition : float
        Highest over lowest.
    clusters : int or None
        Distinct eigenvalues, each d / clusters times, more or less; None: d.

    Returns
    -------
    Tensor of float64, shape (d,)
        In ascending order.
    """
    n = d if clusters is None else clusters
    end = math.log10(condition) / 2
    distinct = torch.logspace(-end, end, n, dtype=torch.float64)
    return distinct[torch.arange(d) * n // d]


def hartley(x):
    """Apply the discrete Hartley transform to the columns of x, (d, …).

    Its matrix, (cos + sin)(2 pi jk / d) / √d, is orthogonal and symmetric, and
    so its own inverse (Bracewell, *The Hartley Transform*, 1986).  It costs
    O(d log d).
    """
    found = torch.fft.fft(x, dim=0, norm="ortho")
    return found.real - found.imag


def scaled(weights, x):
    """Multiply the rows of x, (d,) or (d, n), by weights, (d,)."""
    return (weights * x.mT).mT if x.ndim > 1 else weights * x


class Spectral:
    """Multiply by f(J), where J = Q diag(lambda) Qᵀ and Q = diag(signs) H.

    H is the `hartley` transform.  The signs, and the order of the eigenvalues,
    are random: the diagonal of J tells nothing about its eigenvalues.

    Parameters
    ----------
    eigenvalues, signs : Tensor, shape (d,)
    """

    def __init__(self, eigenvalues, signs):
        self.eigenvalues, self._signs = eigenvalues, signs

    def times(self, v, power=1.0):
        """Compute J^power v, shape (d,)."""
        return self.rotated(self.eigenvalues ** power * self.coordinates(v))

    def rotated(self, coordinates):
        """Compute Q u of the coordinates u, (d,) or (d, n)."""
        return scaled(self._signs, hartley(coordinates))

    def coordinates(self, v):
        """Compute Qᵀ v, (d,) or (d, n)."""
        return hartley(scaled(self._signs, v))


class Solution(NamedTuple):
    """Hold what a formula says of one theta.

    Parameters
    ----------
    z, q : Tensor, shape (d,)
        z*(theta), and J⁻¹ dl/dz there.
    value : float
        F(theta).
    grads : Tensor, shape (n_theta,)
        dF/dtheta.
    """

    z: Tensor
    q: Tensor
    value: float
    grads: Tensor


class Quadratic(BilevelProblem):
    """Simulated quadratic problem, see the module for its formulas.

    The forces b and C theta are J^½ times white noise: at z*, each direction
    has the same share of the inner energy.  The target is t = z*(theta') +
    J^-½ × white noise, for a random theta'.

    The lowest eigenvalue, times the identity, is the diagonal of J that the
    equation makes known, as the weight of a ridge penalty would be.

    Parameters
    ----------
    dimension : int
        d, entries of z; at least 2.
    condition : float
        Highest over lowest eigenvalue of J, at least 1.
    clusters : int or None
        Distinct eigenvalues, see `spectrum`.
    n_theta : int
        Entries of theta, at most d / 2.
    theta : float
        Start of every entry of theta, in the box [-12, 12].
    seed : int
        Of all that is random, and of the normal start z.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or the optimum is out of the box.
    """

    unique_root = True

    def __init__(self, dimension, condition, clusters=None, n_theta=10,
                 theta=0.0, seed=0):
        check_integer("dimension", dimension, least=2)
        check_integer("n_theta", n_theta, least=1, most=dimension // 2)
        check_number("condition", condition, least=1)
        if clusters is not None:
            check_integer("clusters", clusters, least=1, most=dimension)
            if clusters == 1 < condition:
                raise ValueError(
                    "clusters: 1 eigenvalue has the condition 1; give "
                    "clusters=2 or more"
                )
        check_number("theta", theta, least=-BOX, most=BOX)
        check_seed(seed)
        self._theta, self.seed = theta, seed
        rng = np.random.RandomState(seed)

        def normal(*shape):
            return torch.as_tensor(rng.randn(*shape))

        eigenvalues = spectrum(dimension, condition, clusters)
        order = torch.as_tensor(rng.permutation(dimension))
        self.J = Spectral(eigenvalues[order], normal(dimension).sign())
        self._start = normal(dimension)
        # in the eigenvectors: z* = root + slope theta
        soft = self.J.eigenvalues.rsqrt()
        root = soft * normal(dimension)
        slope = scaled(soft, normal(dimension, n_theta))
        known = torch.as_tensor(rng.uniform(-DRAWN, DRAWN, n_theta))
        target = root + slope @ known + soft * normal(dimension)
        self._best = torch.linalg.lstsq(
            slope, (target - root)[:, None]
        ).solution[:, 0]
        if not self._best.abs().max() <= BOX:
            raise ValueError(
                "n_theta: the optimum is out of the box of theta; give fewer "
                "entries or a larger dimension"
            )
        self.target = self.J.rotated(target)
        self.b, self.C = (
            self.J.rotated(scaled(self.J.eigenvalues, part))
            for part in (root, slope)
        )

    def start(self):
        """First theta, a tuple of one (n_theta,) tensor, and z (d,)."""
        return (torch.full_like(self._best, self._theta),), self._start

    def force(self, theta):
        """Compute b + C theta, shape (d,)."""
        return self.b + self.C @ theta[0]

    def draw(self, theta, z, k):
        """The equation of outer step k, starting from the last root z."""
        fixed = self.force(theta).detach()

        def g(z):
            return self.J.times(z) - self.force(theta)

        def g_theta(z):
            return -(self.C @ theta[0])

        def energy(z):
            slope = self.J.times(z) - fixed
            return float(0.5 * (z @ (slope - fixed))), slope

        return Equation(
            g, self.loss, z, energy, g_theta, k,
            diagonal=self.J.eigenvalues.min(),
            energy_theta=lambda z: g_theta(z) @ z,
        )

    def loss(self, z):
        """Outer loss: ½ ‖z - t‖²."""
        return 0.5 * (z - self.target).square().sum()

    def solution(self, theta):
        """Return the `Solution` at theta, a tuple of one tensor."""
        z = self.J.times(self.force(theta).detach(), -1.0)
        q = self.J.times(z - self.target, -1.0)
        return Solution(z, q, float(self.loss(z)), self.C.T @ q)

    def optimum(self):
        """Return the least value of F, and the theta where F has it."""
        return self.solution((self._best,)).value, self._best
