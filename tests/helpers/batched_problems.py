"""Batches of small equations with known Jacobians, for the tests."""
import torch

from benchmark_shine.equation import Equation

from helpers.problems import normal


def times(A, v):
    """A (B, D, D) times v (B, D), by sample, the same for any B."""
    # with v as a column MKL's result depends on B
    return torch.bmm(v.unsqueeze(1), A.mT).squeeze(1)


def matrices(seed, norms, D, dtype=torch.float64):
    """Non-symmetric matrices of the given spectral norms."""
    A = normal(seed, len(norms), D, D)
    norms = torch.as_tensor(norms, dtype=A.dtype)
    A = A * (norms / torch.linalg.matrix_norm(A, 2))[:, None, None]
    return A.to(dtype)


class Tanh:
    """g(z) = z - tanh(A z + b), a non-symmetric smooth equation per sample.

    Counts evaluations and the rows in them, and records the places.
    """

    def __init__(self, norms, D=12, seed=0, dtype=torch.float64, start=None):
        self.A = matrices(seed, norms, D, dtype)
        self.b = normal(seed + 1, len(norms), D, dtype=dtype)
        self.first = torch.zeros_like(self.b) if start is None else start
        self.weights = normal(seed + 2, len(norms), D, dtype=dtype)
        self.forget()

    def forget(self):
        """Start counting anew."""
        self.n_calls = self.n_rows = 0
        self.places = []

    def f(self, z, index):
        return torch.tanh(times(self.A[index], z) + self.b[index])

    def g(self, z, index=slice(None)):
        self.n_calls += 1
        self.n_rows += len(z)
        self.places.append(z.detach())
        return z - self.f(z, index)

    def loss(self, z):
        return (self.weights * z).sum() + 0.5 * (z ** 2).sum()

    def rhs(self, z):
        """The gradient of the loss."""
        return self.weights + z

    def jacobian(self, z):
        slope = 1 - self.f(z, slice(None)) ** 2
        eye = torch.eye(z.shape[1], dtype=z.dtype)
        return eye - slope.unsqueeze(2) * self.A

    def equation(self, restrict=False):
        def part(index):
            return lambda z: self.g(z, index)

        return Equation(
            self.g, self.loss, self.first, restrict=part if restrict else None
        )

    def alone(self, i):
        """The problem of one sample."""
        one = object.__new__(type(self))
        one.A, one.b = self.A[i:i + 1], self.b[i:i + 1]
        one.first, one.weights = self.first[i:i + 1], self.weights[i:i + 1]
        one.forget()
        return one


class Linear(Tanh):
    """g(z) = z - A z - b."""

    def f(self, z, index):
        return times(self.A[index], z) + self.b[index]

    def jacobian(self, z):
        return torch.eye(z.shape[1], dtype=z.dtype) - self.A


def broyden_matrix(pairs, D):
    """Good Broyden's matrix of one sample's (s, y), from I, in dense form."""
    B = torch.eye(D, dtype=torch.float64)
    for s, y in pairs:
        B = B + torch.outer(s - B @ y, s @ B) / (s @ B @ y)
    return B


def relative(a, b):
    """Largest relative distance of rows (or matrices) of a batch."""
    a, b = a.flatten(1), b.flatten(1)
    return float(((a - b).norm(dim=1) / b.norm(dim=1)).max())
