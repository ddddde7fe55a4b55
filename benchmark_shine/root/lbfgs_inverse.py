"""The limited-memory matrix of L-BFGS, an estimate of J⁻¹."""
from copy import copy

import torch

from ..operators import HANDED_OVER, LinearOperator

# A pair enters the memory where sᵀy > CURVATURE ‖s‖ ‖y‖: below, B would not
# safely stay positive definite.
CURVATURE = 1e-10


class LBFGSInverse(LinearOperator):
    r"""The (symmetric) inverse-Hessian estimate of L-BFGS, compact form.

    With the m pairs as rows of S and Y, oldest first, R the upper triangle of
    S Yᵀ and D its diagonal, the BFGS recursion from ``scale`` times the
    identity is (Byrd, Nocedal and Schnabel 1994, theorem 2.2; Nocedal and
    Wright 2006, equation 7.24 is its direct counterpart)

        B v = c v + Sᵀ (R⁻ᵀ ((D + c Y Yᵀ) a - c Y v)) - c Yᵀ a,
        a = R⁻¹ S v,      c = scale.

    Each pair is two rows, s and y, of one contiguous array that is written
    round robin; the small matrices are kept in the order of age, because the
    recursion is meaningless in any other.  (The authors' released SHINE reads
    the rows of a ring that has wrapped around as if they were ordered.)

    A product reads the memory twice, once in `project` and once in `combine`.
    A solver whose y are differences of gradients need not read it any more
    often than that: its y's inner products are differences too (Byrd, Nocedal
    and Schnabel 1994, algorithm 3.1).

    Parameters
    ----------
    memory : int
        m, the number of pairs kept.
    like : Tensor, shape (d,)
        Gives dimension, dtype and device.
    scale : float or None
        c.  None: sᵀy / yᵀy of the newest pair (Nocedal and Wright 7.20), and
        1 while there is none.

    Raises
    ------
    RuntimeError
        On use after the memory has been taken over by another solve.
    """

    def __init__(self, memory, like, scale=None):
        self.memory = memory
        self.fixed_scale = scale
        self._rows = like.new_empty(memory, 2, like.numel())
        # S Yᵀ, of which the upper triangle is read, and Y Yᵀ
        self._gram = like.new_zeros(2, memory, memory)
        self.clear()

    @classmethod
    def reuse(cls, old, memory, like, scale=None):
        """An old estimate's memory with its pairs, where it fits; else none.

        Parameters
        ----------
        old : LinearOperator or None
            Not usable any more where its memory was taken.
        memory, like, scale
            As for the class: what the old estimate has to fit.

        Returns
        -------
        LBFGSInverse
        """
        fits = isinstance(old, cls) and (
            old._rows.shape == (memory, 2, like.numel())
            and old._rows.dtype == like.dtype
            and old._rows.device == like.device
            and old.fixed_scale == scale
        )
        if not fits:
            return cls(memory, like, scale)
        new = copy(old)
        old._rows = None
        return new

    def clear(self):
        """Forget all pairs, keep the memory allocated."""
        self._n = self._oldest = 0
        self._scaling = []  # whether a pair may set the scale, by age
        self.scale = 1.0 if self.fixed_scale is None else self.fixed_scale

    def __len__(self):
        return self._n

    @property
    def T(self):
        return self

    def push(self, s, y, rescale=True, products=None):
        """Store a pair, dropping the oldest when the memory is full.

        Parameters
        ----------
        s, y : Tensor, shape (d,)
            Step and change of the gradient, with sᵀy > 0.
        rescale : bool
            Whether the pair may set the scale.
        products : Tensor, shape (n, 2), or None
            ``project(y)``, where it is known already.
        """
        if products is None:
            products = self.project(y)
        slot = self._n
        if slot == self.memory:
            slot, self._oldest = self._oldest, (self._oldest + 1) % slot
            self._scaling.pop(0)
            self._gram[:, :-1, :-1] = self._gram[:, 1:, 1:].clone()
        else:
            self._n += 1
        self._rows[slot, 0], self._rows[slot, 1] = s, y
        n = self._n
        products = self.refresh(products, y)
        sy, yy = products.unbind(dim=1)
        self._gram[0, :n, n - 1] = sy
        self._gram[1, :n, n - 1] = self._gram[1, n - 1, :n] = yy
        self._scaling.append(rescale)
        self._rescale()

    def _rescale(self):
        if self.fixed_scale is None and True in self._scaling:
            newest = self._n - 1 - self._scaling[::-1].index(True)
            sy, yy = self._gram[:, newest, newest]
            self.scale = float(sy / yy)

    def shift(self, change):
        """Make every pair one of J + diag(change): y becomes y + change s.

        Exact where a quadratic penalty has changed its weights by that.  A
        pair whose curvature is not safely positive then leaves.

        Parameters
        ----------
        change : Tensor, shape () or (d,)
        """
        S, Y = self._rows[:self._n].unbind(dim=1)
        Y.addcmul_(S, change)
        self._recount()

    def fill(self, pairs):
        """Forget all pairs and store these, at the price of a few pushes.

        Parameters
        ----------
        pairs : sequence of (Tensor, Tensor), each of shape (d,)
            At most ``memory``, oldest first; those of safely positive
            curvature are kept.
        """
        self.clear()
        for row, (s, y) in zip(self._rows[:len(pairs)], pairs, strict=True):
            row[0], row[1] = s, y
        self._n, self._scaling = len(pairs), [True] * len(pairs)
        self._recount()

    def _recount(self):
        """Inner products of pairs that were written, less the unsound."""
        S, Y = self._rows[:self._n].unbind(dim=1)
        gram = torch.stack([S @ Y.T, Y @ Y.T])
        least = CURVATURE * S.norm(dim=1) * gram[1].diagonal().sqrt()
        order = self._by_age(torch.arange(self._n))
        sound = (gram[0].diagonal() > least).cpu()[order]
        self._scaling = [
            scaling for scaling, stays in zip(self._scaling, sound) if stays
        ]
        if not sound.all():
            order, self._oldest = order[sound], 0
            self._rows[:len(order)] = self._rows[order]
        self._n = n = len(order)
        self._gram[:, :n, :n] = gram[:, order][:, :, order]
        if n:
            self._rescale()
        else:
            self.clear()

    def pairs(self):
        """The stored pairs, oldest first: two tensors of shape (n, d)."""
        return self._by_age(self._rows[:self._n]).unbind(dim=1)

    def project(self, v):
        """Inner products with the pairs, sᵢᵀv and yᵢᵀv: shape (n, 2)."""
        return self._by_age((self._live() @ v).view(-1, 2))

    def refresh(self, products, v):
        """``project(v)``, from what it was before the last push."""
        newest = (self._oldest - 1) % self._n
        kept = products[len(products) - self._n + 1:]
        return torch.cat([kept, (self._rows[newest] @ v).unsqueeze(0)])

    def combine(self, v, products):
        """B v, from ``project(v)``."""
        c, n = self.scale, self._n
        if not n:
            return c * v
        R, yy = self._gram[:, :n, :n]
        sv, yv = products.split(1, dim=1)
        a = torch.linalg.solve_triangular(R, sv, upper=True)
        b = torch.addmm(yv, yy, a, beta=-c, alpha=c)
        b.addcmul_(R.diagonal().unsqueeze(1), a)
        b = torch.linalg.solve_triangular(R.mT, b, upper=False)
        coefficients = torch.cat([b, -c * a], dim=1).roll(self._oldest, 0)
        return torch.addmv(v, self._live().mT, coefficients.view(-1), beta=c)

    def __matmul__(self, v):
        return self.combine(v, self.project(v))

    def _live(self):
        if self._rows is None:
            raise RuntimeError(HANDED_OVER)
        # slots fill up before they are reused
        return self._rows[:self._n].flatten(0, 1)

    def _by_age(self, rows):
        return rows.roll(-self._oldest, 0)
