"""The limited-memory matrix of L-BFGS, an estimate of J⁻¹."""
import math
from copy import copy

import torch

from ..operators import HANDED_OVER, LinearOperator

# A pair enters the memory where sᵀy > CURVATURE ‖s‖ ‖y‖: below, B would not
# safely stay positive definite.
CURVATURE = 1e-10


class LBFGSInverse(LinearOperator):
    r"""Represent the (symmetric) inverse Hessian of L-BFGS in compact form.

    With the m pairs as rows of S and Y, oldest first, R the upper triangle of
    S Yᵀ and D its diagonal, the BFGS recursion from ``scale`` times the
    identity is (Byrd, Nocedal and Schnabel 1994, theorem 2.2; Nocedal and
    Wright 2006, equation 7.24 is its direct counterpart)

        B v = c v + Sᵀ (R⁻ᵀ ((D + c Y Yᵀ) a - c Y v)) - c Yᵀ a,
        a = R⁻¹ S v,      c = scale.

    Each pair is two rows, s and y, of one contiguous array that is written
    round robin; the small matrices are kept in the order of age, because the
    recursion has no meaning in any other order.  (The authors' released SHINE
    reads the rows of a ring that has wrapped around as if they were ordered.)

    A product reads the memory twice, once in `project` and once in `combine`.
    During a solve the matrix keeps the inner products of the newest gradient
    with its pairs: they give the next direction, and their differences those
    of the next y (Byrd, Nocedal and Schnabel 1994, algorithm 3.1), so that an
    iteration reads the memory no more often than one product does.

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
        self._gradient = None
        self.clear()

    @classmethod
    def reuse(cls, old, memory, like, scale=None):
        """Take over an old estimate's memory and pairs, where they fit.

        Parameters
        ----------
        old : LinearOperator or None
            It cannot be used any more where its memory was taken.
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
            and (old.fixed_scale is None) == (scale is None)
        )
        if not fits:
            return cls(memory, like, scale)
        new = copy(old)
        old._rows = None
        if scale is not None:
            new.scale = new.fixed_scale = scale
        return new

    @property
    def handed_over(self):
        """Whether another solve has taken the memory."""
        return self._rows is None

    def begin(self, gradient):
        """Begin a solve at a point with this gradient, (d,)."""
        self._gradient, self._products = gradient, self.project(gradient)

    def direction(self):
        """Compute the quasi-Newton direction -B g of the newest gradient."""
        return self.combine(self._gradient, self._products).neg_()

    def update(self, step, gradient):
        """Move to the next gradient, and learn its pair where it is sound.

        Parameters
        ----------
        step, gradient : Tensor, shape (d,)
            The step made, and the gradient where it has led.
        """
        products = self.project(gradient)
        y, products_y = gradient - self._gradient, products - self._products
        self._gradient, self._products = gradient, products
        self._learn(step, y, products_y, rescale=True)

    def learn(self, e, change):
        """Learn a pair beside the steps, where it is sound.

        Its direction is one of low curvature: as the scale it would make the
        next steps far too long, so it does not set the scale.

        Parameters
        ----------
        e, change : Tensor, shape (d,)
            A displacement from the present point, and the change of the
            gradient.
        """
        self._learn(e, change, self.project(change), rescale=False)

    def _learn(self, s, y, products, rescale):
        if float(s @ y) > CURVATURE * math.sqrt(float(s @ s) * float(y @ y)):
            self.push(s, y, rescale, products)
            self._products = self.refresh(self._products, self._gradient)

    def clear(self):
        """Forget all pairs; the memory stays allocated."""
        self._products = self._gram.new_empty(0, 2)
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
        """Correct every pair for J + diag(change): y becomes y + change s.

        This is exact where the weights of a quadratic penalty have changed by
        that.  A pair is dropped where its curvature is not safely positive
        any more.

        Parameters
        ----------
        change : Tensor, shape () or (d,)
        """
        S, Y = self._rows[:self._n].unbind(dim=1)
        Y.addcmul_(S, change)
        self._recount()

    def fill(self, pairs):
        """Forget all pairs and store others, at the cost of a few pushes.

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
        """Recompute the inner products of the pairs; drop unsound pairs."""
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
        """Give the stored pairs, oldest first: two tensors of shape (n, d)."""
        return self._by_age(self._live()).unbind(dim=1)

    def project(self, v):
        """Compute the inner products sᵢᵀv and yᵢᵀv: shape (n, 2)."""
        rows = self._live().flatten(0, 1)
        return self._by_age((rows @ v).view(-1, 2))

    def refresh(self, products, v):
        """Compute ``project(v)`` from what it was before the last push."""
        newest = (self._oldest - 1) % self._n
        kept = products[len(products) - self._n + 1:]
        return torch.cat([kept, (self._rows[newest] @ v).unsqueeze(0)])

    def combine(self, v, products):
        """Compute B v from ``project(v)``."""
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
        rows = self._live().flatten(0, 1)
        return torch.addmv(v, rows.mT, coefficients.view(-1), beta=c)

    def __matmul__(self, v):
        return self.combine(v, self.project(v))

    def _live(self):
        if self._rows is None:
            raise RuntimeError(HANDED_OVER)
        # slots fill up before they are reused
        return self._rows[:self._n]

    def _by_age(self, rows):
        return rows.roll(-self._oldest, 0)
