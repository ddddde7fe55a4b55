"""Design matrices whose two products are equally fast and differentiable."""
import warnings

import numpy as np
import torch


# From here on the entries of a matrix are counted in 64 bits.
LARGE = 2 ** 31


class _Product(torch.autograd.Function):
    """Multiply A @ w; Aᵀ serves the backward pass, to any order."""

    @staticmethod
    def forward(ctx, w, A, At):
        ctx.A, ctx.At = A, At
        return A @ w

    @staticmethod
    def backward(ctx, grad):
        return _Product.apply(grad, ctx.At, ctx.A), None, None


class Design:
    """Hold a matrix X (n, p), dense or sparse, for X @ w and X.T @ r.

    A sparse X is kept twice: X and Xᵀ are both stored as CSR, because torch
    computes a transposed CSR product a hundred times more slowly.  Indices
    have 32 bits, with which products are half again as fast as with 64, or
    64 bits where there are 2³¹ or more entries, rows or columns.

    Parameters
    ----------
    X : ndarray or scipy.sparse matrix, shape (n, p)
    dtype : torch.dtype
    """

    def __init__(self, X, dtype=torch.float64):
        if is_sparse(X):
            X = X.tocsr(copy=True)
            self._A, self._At = _csr(X, dtype), _csr(X.T.tocsr(), dtype)
        else:
            self._A = torch.tensor(np.asarray(X), dtype=dtype)
            self._At = self._A.T
        self.shape = tuple(X.shape)

    @property
    def T(self):
        transposed = object.__new__(Design)
        transposed._A, transposed._At = self._At, self._A
        transposed.shape = self.shape[::-1]
        return transposed

    def numpy(self):
        """Show X as an ndarray or SciPy CSR matrix that shares its memory."""
        A = self._A
        if A.layout != torch.sparse_csr:
            return A.numpy()
        import scipy.sparse  # who gave a sparse X has it

        parts = A.values(), A.col_indices(), A.crow_indices()
        return scipy.sparse.csr_matrix(
            tuple(part.numpy() for part in parts), shape=self.shape
        )

    def __matmul__(self, w):
        """Multiply X @ w, w of shape (p,) or (p, k); differentiable in w."""
        return _Product.apply(w, self._A, self._At)


def index_dtype(n_entries, shape):
    """Choose the integers that hold every index of a CSR matrix."""
    return np.int32 if max(n_entries, *shape) < LARGE else np.int64


def is_sparse(X):
    """Say whether X is a SciPy sparse matrix or array."""
    return hasattr(X, "tocsr")


def _csr(X, dtype):
    X.sort_indices()
    integers = index_dtype(X.nnz, X.shape)
    # unchecked: SciPy has already built a valid CSR matrix
    unchecked = torch.sparse.check_sparse_tensor_invariants(False)
    with warnings.catch_warnings(), unchecked:
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            torch.from_numpy(X.indptr.astype(integers)),
            torch.from_numpy(X.indices.astype(integers)),
            torch.from_numpy(X.data).to(dtype),
            size=X.shape,
        )
