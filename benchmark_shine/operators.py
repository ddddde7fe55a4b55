"""Linear operators: what a root finder leaves behind for the backward pass."""
from abc import ABC, abstractmethod

import torch


class LinearOperator(ABC):
    """A (d, d) matrix known by its products, ``B @ v`` and ``B.T @ v``.

    A batched one holds a matrix per sample and acts on the rows of v, of
    shape (B, d).
    """

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
    """An explicit matrix of shape (d, d)."""

    def __init__(self, matrix):
        self.matrix = matrix

    @property
    def T(self):
        return Dense(self.matrix.T)

    def __matmul__(self, v):
        return self.matrix @ v


class Identity(LinearOperator):
    """I: the estimate of a finder that learns nothing about J."""

    @property
    def T(self):
        return self

    def __matmul__(self, v):
        return v.clone()


class Product(LinearOperator):
    """A @ B, one after the other."""

    def __init__(self, A, B):
        self.A, self.B = A, B

    @property
    def T(self):
        return Product(self.B.T, self.A.T)

    def __matmul__(self, v):
        return self.A @ (self.B @ v)


class LowRank(LinearOperator):
    r"""c I + Lᵀ K⁻¹ R, one matrix per sample; its transpose exchanges L and R.

    A sample whose K is singular gets c I: an estimate that cannot be
    inverted says nothing.

    Parameters
    ----------
    left, right : Tensor, shape (B, m, D)
        L and R.  Rows are contiguous, so that each product is one pass over
        memory.
    middle : Tensor, shape (B, m, m)
        K.
    scale : float
        c.
    order : Tensor of int64, shape (B,), or None
        order[i] is the sample that the i-th matrices belong to; None: i.
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
    """Each row of (B, m, D) times the sample's v (B, D): shape (B, m)."""
    # v as a row: as a column it takes 3 to 5 times as long on CPU
    return torch.bmm(v.unsqueeze(1), rows.mT).squeeze(1)


def dot(u, v):
    """Inner products of the rows of two (B, D): shape (B,)."""
    return rows_times(u.unsqueeze(1), v).squeeze(1)


def combine(rows, coefficients, v, scale=1.0):
    """scale v + Σᵢ coefficientsᵢ rowsᵢ, by sample: shape (B, D)."""
    return torch.baddbmm(
        v.unsqueeze(1), coefficients.unsqueeze(1), rows, beta=scale
    ).squeeze(1)


def solve_small(matrix, x):
    """K⁻¹ x by sample, (B, m, m) and (B, m); zero where K is singular.

    Neither waits for the device nor raises: a singular matrix shows as
    entries that are not finite.
    """
    if not x.shape[1]:
        return x
    # the layout decides which factorisation is used: one for all
    solution, info = torch.linalg.solve_ex(
        matrix.contiguous(), x.unsqueeze(2)
    )
    solution = solution.squeeze(2)
    solved = (info == 0) & solution.isfinite().all(dim=1)
    return torch.where(solved.unsqueeze(1), solution, 0.0)


def transposed(B):
    """Bᵀ: what the adjoint system calls for, its matrix being Jᵀ."""
    return B.T


def untransposed(B):
    """B itself, in the authors' code where the mathematics has Bᵀ."""
    return B


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
        self._order, self._scaled_by = [], None
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
        if rescale:
            self._scaled_by = slot
        elif slot == self._scaled_by:
            self._scaled_by = None
        self._rescale()

    def _rescale(self):
        slot = self._scaled_by
        if self.fixed_scale is None and slot is not None:
            self.scale = float(self._sy[slot, slot] / self._yy[slot, slot])

    def shift(self, change, curvature=0.0):
        """Make every pair one of J + diag(change): y becomes y + change s.

        Exact for a quadratic penalty whose weight has changed.

        Parameters
        ----------
        change : Tensor, shape () or (d,)
        curvature : float
            A pair leaves unless then sᵀy > curvature ‖s‖ ‖y‖.
        """
        n = len(self)
        S, Y = self.S[:n], self.Y[:n]
        Y.addcmul_(S, change)
        self._sy[:n, :n], self._yy[:n, :n] = S @ Y.T, Y @ Y.T
        least = curvature * S.norm(dim=1) * Y.norm(dim=1)
        sound = (self._sy.diagonal()[:n] > least).tolist()
        if not all(sound):
            self._keep([slot for slot in self._order if sound[slot]])
        self._rescale()

    def _keep(self, slots):
        """Only the pairs in these slots, oldest first."""
        n = len(slots)
        for rows in self.S, self.Y:
            rows[:n] = rows[slots]
        for gram in self._sy, self._yy:
            gram[:n, :n] = gram[slots][:, slots]
        by = self._scaled_by
        self._scaled_by = slots.index(by) if by in slots else None
        self._order = list(range(n))

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
