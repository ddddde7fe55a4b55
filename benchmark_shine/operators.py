"""Linear operators: what a root finder leaves behind for the backward pass."""
from abc import ABC, abstractmethod

import torch


class LinearOperator(ABC):
    """A (d, d) matrix known by its products, ``B @ v`` and ``B.T @ v``."""

    @property
    @abstractmethod
    def T(self):
        """The transposed operator."""

    @abstractmethod
    def __matmul__(self, v):
        """Product with a vector of shape (d,); returns a new tensor."""

    def dense(self, like):
        """The matrix itself, one product per column; for tests.

        Parameters
        ----------
        like : Tensor, shape (d,)
            Gives dimension, dtype and device.

        Returns
        -------
        Tensor, shape (d, d)
        """
        columns = torch.eye(
            like.numel(), dtype=like.dtype, device=like.device
        )
        return torch.stack([self @ column for column in columns], dim=1)


class Dense(LinearOperator):
    """An explicit matrix of shape (d, d)."""

    def __init__(self, matrix):
        self.matrix = matrix

    @property
    def T(self):
        return Dense(self.matrix.T)

    def __matmul__(self, v):
        return self.matrix @ v


class LBFGSInverse(LinearOperator):
    r"""The (symmetric) inverse-Hessian estimate of L-BFGS, compact form.

    With the m pairs as rows of S and Y, oldest first, R the upper triangle of
    S Yᵀ and D its diagonal, the BFGS recursion from ``scale`` times the
    identity is (Byrd, Nocedal and Schnabel 1994, theorem 2.2; Nocedal and
    Wright 2006, equation 7.24 is its direct counterpart)

        B v = c v + Sᵀ (R⁻ᵀ ((D + c Y Yᵀ) a - c Y v)) - c Yᵀ a,
        a = R⁻¹ S v,      c = scale.

    Pairs live in the rows of two contiguous (m, d) tensors that are written
    round robin; a small array remembers the order, because the recursion is
    meaningless in any other.  (The authors' released SHINE reads the rows of
    a ring that has wrapped around as if they were ordered.)

    Parameters
    ----------
    memory : int
        m, the number of pairs kept.
    like : Tensor, shape (d,)
        Gives dimension, dtype and device.
    scale : float or None
        c.  None: sᵀy / yᵀy of the newest pair (Nocedal and Wright 7.20), and
        1 while there is none.
    """

    def __init__(self, memory, like, scale=None):
        self.memory = memory
        self.fixed_scale = scale
        self.S = like.new_empty(memory, like.numel())
        self.Y = like.new_empty(memory, like.numel())
        # Gram matrices in storage order; only entries of live rows are read.
        self._sy = like.new_zeros(memory, memory)
        self._yy = like.new_zeros(memory, memory)
        self.clear()

    def clear(self):
        """Forget all pairs, keep the memory allocated."""
        self._order = []
        self.scale = 1.0 if self.fixed_scale is None else self.fixed_scale

    def __len__(self):
        return len(self._order)

    @property
    def T(self):
        return self

    def push(self, s, y, rescale=True):
        """Store a pair, dropping the oldest when the memory is full.

        Parameters
        ----------
        s, y : Tensor, shape (d,)
            Step and change of the gradient, with sᵀy > 0.
        rescale : bool
            Whether the pair may set the scale.
        """
        n = len(self)
        slot = n if n < self.memory else self._order.pop(0)
        self.S[slot], self.Y[slot] = s, y
        self._order.append(slot)
        live = slice(0, max(n, slot + 1))
        self._sy[live, slot] = self.S[live] @ y
        self._yy[live, slot] = self._yy[slot, live] = self.Y[live] @ y
        if rescale and self.fixed_scale is None:
            self.scale = float(self._sy[slot, slot] / self._yy[slot, slot])

    def pairs(self):
        """The stored pairs, oldest first: two tensors of shape (n, d)."""
        return self.S[self._order], self.Y[self._order]

    def __matmul__(self, v):
        c, n = self.scale, len(self)
        if not n:
            return c * v
        # rows 0..n-1 are the live ones: slots fill up before they are reused
        S, Y, order = self.S[:n], self.Y[:n], self._order
        sy, yy = self._sy[order][:, order], self._yy[order][:, order]
        R = torch.triu(sy)
        a = torch.linalg.solve_triangular(
            R, (S @ v)[order].unsqueeze(1), upper=True
        )
        b = torch.diag(sy).unsqueeze(1) * a
        b += c * (yy @ a - (Y @ v)[order].unsqueeze(1))
        b = torch.linalg.solve_triangular(R.T, b, upper=False)
        coefficients = v.new_empty(2, n)
        coefficients[0, order] = b.squeeze(1)
        coefficients[1, order] = -c * a.squeeze(1)
        out = c * v
        out.addmv_(S.T, coefficients[0])
        return out.addmv_(Y.T, coefficients[1])
