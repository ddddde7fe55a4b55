"""A linear model restricted to the span of a few vectors.

The Galerkin method: z and q are sought in the span of exact solutions at other
thetas (Quarteroni, Manzoni and Negri, *Reduced Basis Methods for Partial
Differential Equations*, 2016, chapters 3 and 11).  F and dF/dtheta there have
errors of the order of that of z times that of q.
"""
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Singular values of the vectors, relative to the largest, that are rounding.
RANK = 1e-6

# Newton's method in the span: most steps, and the decrease, as a part of the
# energy, below which rounding decides: one whole step more is the last.
STEPS, ROUNDING = 100, 1e-14


@dataclass(frozen=True)
class Snapshot:
    """Hold vectors of norm 1, and what a model makes of them.

    Parameters
    ----------
    problem : PenalisedModel
    vectors : Tensor, shape (m, d)
        In single precision, which is enough for a span.
    """

    problem: object
    vectors: Tensor

    @cached_property
    def outputs(self):
        """X v on the training and the validation part: (m, n) or (m, n, k)."""
        return [
            torch.stack([
                self.problem.outputs(part, v.double()) for v in self.vectors
            ]) for part in (self.problem.train, self.problem.validation)
        ]


@dataclass(frozen=True)
class Projection:
    """Hold F and its derivatives as the span has them.

    Parameters
    ----------
    value, slope : float
        F and dF/dtheta.
    z, q : Tensor, shape (m,)
        Coefficients of the vectors.
    """

    value: float
    slope: float
    z: Tensor
    q: Tensor


class Span:
    """Solve a linear model with one theta in the span of some vectors.

    Parameters
    ----------
    problem : PenalisedModel
        With one entry in theta.
    snapshots : sequence of Snapshot
    """

    def __init__(self, problem, snapshots):
        self._problem, self._snapshots = problem, snapshots
        vectors = self._vectors()
        sizes, turn = torch.linalg.eigh(vectors @ vectors.T)
        kept = sizes > RANK ** 2 * sizes[-1]
        self._turn = turn[:, kept] * sizes[kept].rsqrt()  # orthonormal
        self._train, self._validation = (
            torch.tensordot(
                self._turn.T, torch.cat([s.outputs[i] for s in snapshots]), 1
            ) for i in (0, 1)
        )

    def at(self, theta):
        """Minimise the energy over the span; return a `Projection`."""
        theta = (torch.tensor([theta], dtype=self._problem.dtype),)
        penalty = float(self._problem.penalty(theta))
        a, J = self._root(theta, penalty)
        part = self._problem.validation
        outputs = _combined(self._validation, a)
        slope = part.weight * self._problem.slope(outputs, part.y)
        b = torch.linalg.solve(J, _products(self._validation, slope))
        return Projection(
            float(part.weight * self._problem.phi(outputs, part.y)),
            -penalty * float(a @ b), self._turn @ a, self._turn @ b,
        )

    def vector(self, coefficients):
        """Return the vector with some coefficients: shape (d,)."""
        return coefficients @ self._vectors()

    def _vectors(self):
        return torch.cat([s.vectors for s in self._snapshots]).double()

    def _root(self, theta, penalty):
        """Find the root and J there by Newton's method."""
        weights = self._problem.sample_weights(theta)

        def energy(a):
            fit = self._problem.fit(_combined(self._train, a), weights)
            return float(fit) + 0.5 * penalty * float(a @ a)

        a = self._train.new_zeros(len(self._train))
        value = energy(a)
        for _ in range(STEPS):
            outputs = _combined(self._train, a)
            g = penalty * a + _products(
                self._train, self._problem.fit_slope(outputs, weights)
            )
            J = self._jacobian(theta, outputs, penalty)
            step = -torch.linalg.solve(J, g)
            decrease = -float(g @ step)
            if not decrease > ROUNDING * abs(value):
                return a + step, J
            t = 1.0
            while energy(a + t * step) > value - 1e-4 * t * decrease and (
                t > 1e-10
            ):
                t /= 2
            a = a + t * step
            value = energy(a)
        return a, J

    def _jacobian(self, theta, outputs, penalty):
        J = penalty * torch.eye(len(self._train), dtype=outputs.dtype)
        A = self._train.reshape(*self._train.shape[:2], -1)
        for i, D in enumerate(curvature(self._problem, theta, outputs)):
            J += A[:, :, i] @ (A * D).sum(2).T
        return J


def _combined(outputs, coefficients):
    return torch.tensordot(coefficients, outputs, 1)


def _products(outputs, slope):
    return outputs.flatten(1) @ slope.flatten()


def curvature(problem, theta, outputs):
    """Yield column i of D, the derivative of a model's slope, for each i.

    Parameters
    ----------
    problem : PenalisedModel
    theta : tuple of Tensor
    outputs : Tensor, shape (n,) or (n, k)
        X z on the training part.

    Yields
    ------
    Tensor, shape (n, k)
        The derivative of slope i in the k outputs, sample by sample, times
        the sample's weight.
    """
    several = outputs.ndim > 1
    outputs = outputs.detach().requires_grad_()
    with torch.enable_grad():
        slopes = problem.fit_slope(
            outputs, problem.sample_weights(theta).detach()
        )
        for i in range(outputs.shape[1] if several else 1):
            column = slopes[:, i] if several else slopes
            yield torch.autograd.grad(
                column.sum(), outputs, retain_graph=True
            )[0].reshape(len(outputs), -1)
