"""Linear operators, such as a root finder's estimate of J⁻¹."""
from abc import ABC, abstractmethod

import torch

from .precision import finite_rows

HANDED_OVER = (
    "the memory of this root's inverse was handed to another solve, as its "
    "argument `warm_start`"
)


class LinearOperator(ABC):
    """Represent a (d, d) matrix by its products, ``B @ v`` and ``B.T @ v``.

    A batched operator holds one matrix per sample and acts on the rows of v,
    of shape (B, d).
    """

    @property
    @abstractmethod
    def T(self):
        """The transposed operator."""

    @abstractmethod
    def __matmul__(self, v):
        """Multiply a vector of shape (d,); the result is a new tensor."""

    def dense(self, like):
        """Compute the matrix itself, one product per column; for tests.

        Parameters
        ----------
        like : Tensor, shape (d,) or (B, d)
            Gives dimension, dtype and device.

        Returns
        -------
        Tensor, shape (d, d) or (B, d, d)
        """
        columns = torch.eye(
            like.shape[-1], dtype=like.dtype, device=like.device
        )
        return torch.stack(
            [self @ column.expand(like.shape) for column in columns], dim=-1
        )


class Dense(LinearOperator):
    """Hold an explicit matrix of shape (d, d)."""

    def __init__(self, matrix):
        self.matrix = matrix

    @property
    def T(self):
        return Dense(self.matrix.T)

    def __matmul__(self, v):
        return self.matrix @ v


class Identity(LinearOperator):
    """Represent I, the estimate of a finder that learns nothing about J."""

    @property
    def T(self):
        return self

    def __matmul__(self, v):
        return v.clone()


class Product(LinearOperator):
    """Represent the product A @ B of two operators."""

    def __init__(self, A, B):
        self.A, self.B = A, B

    @property
    def T(self):
        return Product(self.B.T, self.A.T)

    def __matmul__(self, v):
        return self.A @ (self.B @ v)


class LowRank(LinearOperator):
    r"""Represent c I + Lᵀ K⁻¹ R, one matrix per sample.

    The transpose exchanges L and R.  A sample whose K is singular gets c I:
    an estimate that cannot be inverted says nothing.

    Parameters
    ----------
    left, right : Tensor, shape (B, m, D)
        L and R.  Rows are contiguous, so that each product reads the memory
        once.
    middle : Tensor, shape (B, m, m)
        K.
    scale : float
        c.
    order : Tensor of int64, shape (B,), or None
        order[i] is the sample to which the i-th matrices belong; None: i.
    """

    def __init__(self, left, right, middle, scale=1.0, order=None):
        self.left, self.right, self.middle = left, right, middle
        self.scale, self.order = scale, order

    @property
    def T(self):
        return LowRank(
            self.right, self.left, self.middle.mT, self.scale, self.order
        )

    def __matmul__(self, v):
        if self.order is not None:
            v = v[self.order]
        coefficients = solve_small(self.middle, rows_times(self.right, v))
        out = combine(self.left, coefficients, v, self.scale)
        if self.order is None:
            return out
        return torch.empty_like(out).index_copy_(0, self.order, out)


def rows_times(rows, v):
    """Multiply the rows of (B, m, D) by the sample's v (B, D): (B, m)."""
    # with v as a column the product takes 3 to 5 times as long on a CPU
    return torch.bmm(v.unsqueeze(1), rows.mT).squeeze(1)


def dot(u, v):
    """Compute the inner products of the rows of two (B, D): (B,)."""
    return rows_times(u.unsqueeze(1), v).squeeze(1)


def combine(rows, coefficients, v, scale=1.0):
    """Compute scale v + Σᵢ coefficientsᵢ rowsᵢ, by sample: (B, D)."""
    return torch.baddbmm(
        v.unsqueeze(1), coefficients.unsqueeze(1), rows, beta=scale
    ).squeeze(1)


def solve_small(matrix, x):
    """Solve K y = x by sample, (B, m, m) and (B, m); 0 where K is singular.

    The solve neither waits for the device nor raises an error: a singular
    matrix shows as entries that are not finite.  Where x itself is not
    finite, y is NaN.
    """
    if not x.shape[1]:
        return x
    # the layout decides which factorisation is used: always the same one
    solution, info = torch.linalg.solve_ex(
        matrix.contiguous(), x.unsqueeze(2)
    )
    solution = solution.squeeze(2)
    solved = (info == 0) & solution.isfinite().all(dim=1)
    solution = torch.where(solved.unsqueeze(1), solution, 0.0)
    return torch.where(finite_rows(x), solution, torch.nan)


def transposed(B):
    """Give Bᵀ, which the adjoint system needs because its matrix is Jᵀ."""
    return B.T


def untransposed(B):
    """Give B itself, as the authors' code does where Bᵀ is right."""
    return B
