"""Secant pairs of a batch, and the matrices that they make."""
import torch

from ..checks import check_integer
from ..operators import (
    HANDED_OVER, LowRank, combine, dot, rows_times, solve_small,
)
from ..precision import finite_rows
from .base import inherited
from .batched import BatchedFinder, FixedPointState, swap


class PairsInverse(LowRank):
    """Represent an estimate of J⁻¹ that lives in a finder's memory.

    Parameters
    ----------
    pairs : Pairs
        The memory.
    solve : int
        The solve of that memory to which the estimate belongs.
    factors
        As for `LowRank`.

    Raises
    ------
    RuntimeError
        On use after the memory has been taken over by another solve.
    """

    def __init__(self, pairs, solve, *factors):
        super().__init__(*factors)
        self.pairs, self._solve = pairs, solve

    @property
    def T(self):
        transposed = super().T
        return PairsInverse(
            self.pairs, self._solve, transposed.left, transposed.right,
            transposed.middle, transposed.scale, transposed.order,
        )

    @property
    def handed_over(self):
        """Whether another solve has taken the memory."""
        return self._solve != self.pairs.n_solves

    def __matmul__(self, v):
        if self.handed_over:
            raise RuntimeError(HANDED_OVER)
        return super().__matmul__(v)


def _length(v):
    """Compute row norms, (n, 1), to divide by: 1 where a row is zero."""
    norm = v.norm(dim=1, keepdim=True)
    return torch.where(norm > 0, norm, torch.ones_like(norm))


class Pairs:
    r"""Keep the newest m pairs of each sample, as c I + Lᵀ K⁻¹ R.

    L and R hold one row per pair, K one entry for each two pairs, and no entry
    of K depends on a third pair.  So a new pair can take the place of the
    oldest: what remains is exactly the matrix of the pairs that remain.  (In
    product form, as published, each rank-one term was built on the terms
    before it, and none can be removed.)

    Rows and active samples are contiguous, and slots fill up in order: each
    product is one pass over the memory in use.

    Parameters
    ----------
    memory : int
        m, the number of pairs kept.
    like : Tensor, shape (B, D)
        Gives shape, dtype and device.
    scale : float
        c.
    """

    def __init__(self, memory, like, scale=1.0):
        B, D = like.shape
        self.memory, self.scale = memory, scale
        self._allocate(like.new_zeros, B, D)
        self.middle = like.new_zeros(B, memory, memory)
        self.n_solves = 0
        self.clear()

    def _allocate(self, new, B, D):
        self.left, self.right = (new(B, self.memory, D) for _ in range(2))

    @classmethod
    def reuse(cls, warm_start, memory, like, scale=1.0):
        """Take over the memory of an earlier root where it fits, or make one.

        Parameters
        ----------
        warm_start : Root or None
            Its inverse cannot be used any more where its memory was taken.
        memory, like, scale
            As for the class.
        """
        old = getattr(inherited(warm_start), "pairs", None)
        shape = (len(like), memory, like.shape[1])
        if (
            type(old) is not cls or old.left.shape != shape
            or old.left.dtype != like.dtype or old.left.device != like.device
        ):
            return cls(memory, like, scale)
        old.clear()
        old.scale = scale
        return old

    def clear(self):
        """Forget all pairs; the memory stays allocated."""
        self.count, self.n = 0, len(self.left)
        self.n_solves += 1

    @property
    def held(self):
        """Number of pairs in memory, in slots 0 to held - 1."""
        return min(self.count, self.memory)

    @property
    def slot(self):
        """Slot of the next pair."""
        return self.count % self.memory

    def L(self):
        """Give the left rows of the active samples, (n, held, D)."""
        return self.left[:self.n, :self.held]

    def R(self):
        """Give the right rows of the active samples, (n, held, D)."""
        return self.right[:self.n, :self.held]

    def K(self):
        """Give K of the active samples, (n, held, held)."""
        return self.middle[:self.n, :self.held, :self.held]

    def push_secant(self, s, y, Ry=None):
        r"""Make good Broyden's update: afterwards B y = s.

        B+ = B + (s - B y) sᵀB / (sᵀB y) from B = I on is (Byrd, Nocedal and
        Schnabel 1994, theorem 6.1 for its inverse, by the formula of Woodbury)

            B = I + Wᵀ M⁻¹ S,   Mᵢⱼ = sᵢᵀyⱼ - (sᵢᵀsⱼ where i is the newer),

        with rows s in S and w = s - y in W: L = W, R = S, K = M.  Each pair is
        divided by ‖s‖, which changes nothing but the rounding.  Where sᵀB y
        is exactly 0 (because y is 0, or J is skew) B+ would be singular: ‖s‖²
        replaces it, which is the update damped by a half (Moré and
        Trangenstein 1976, after Powell).

        Parameters
        ----------
        s, y : Tensor, shape (n, D)
        Ry : Tensor, shape (n, held), or None
            R y, where it is known already.
        """
        if Ry is None:
            Ry = rows_times(self.R(), y)
        norm = _length(s)
        left, right = self._next_rows()
        column, row = Ry / norm, rows_times(self.L(), s) / -norm
        corner = dot(s, y).unsqueeze(1) / norm ** 2
        torch.div(s, norm, out=right)
        torch.sub(s, y, out=left).div_(norm)
        # sᵀB y / ‖s‖² is corner - row K⁻¹ column
        vanishes = (corner == 0) & (
            (column == 0).all(dim=1, keepdim=True)
            | (row == 0).all(dim=1, keepdim=True)
        )
        self._border(column, row, corner.masked_fill(vanishes, 1.0))

    def push_multisecant(self, s, before, after, ridge):
        r"""Make Anderson's update of type II: then B y = s for all pairs.

        B = c I + (S - c Y)ᵀ (Y Yᵀ + ridge I)⁻¹ Y with rows s in S, y in Y.
        Each pair is divided by ‖y‖, so that the ridge is relative.

        Parameters
        ----------
        s, before, after : Tensor, shape (n, D)
            The step, and g before and after it: y is their difference.
        ridge : float
        """
        left, y = self._next_rows()
        torch.sub(after, before, out=y)
        torch.sub(s, y, alpha=self.scale, out=left)
        norm = _length(y)
        y.div_(norm), left.div_(norm)
        border = rows_times(self.R(), y)
        self._border(border, border, torch.full_like(norm, 1 + ridge))

    def _next_rows(self):
        return self.left[:self.n, self.slot], self.right[:self.n, self.slot]

    def _border(self, column, row, corner):
        """Write the new pair's row and column of K, both (n, held)."""
        slot, held, K = self.slot, self.held, self.middle[:self.n]
        K[:, :held, slot], K[:, slot, :held] = column, row
        K[:, slot, slot] = corner.squeeze(1)
        self.count += 1

    def operator(self):
        """Give the matrices of the active samples, an operator on (n, D)."""
        return LowRank(self.L(), self.R(), self.K(), self.scale)

    def step(self, v, Rv):
        """Compute -B v, (n, D), from v and R v."""
        c = solve_small(self.K(), Rv)
        return combine(self.L(), -c, v, -self.scale)

    def retire(self, take, holes, movers):
        """Remove samples, see `Samples.retire`; they keep their pairs."""
        for memory in self._in_use():
            swap(memory, holes, movers)
        self.n = len(take)

    def _in_use(self):
        held = self.held
        return self.left[:, :held], self.right[:, :held], self.middle[:, :held]

    def inverse(self, known, total, order):
        """Give the matrix of the pairs known at the returned iterates.

        Pairs that were learnt later are removed.  Where the memory was full,
        they had replaced older pairs: then a matrix of fewer pairs remains,
        made of the newest pairs known at that iterate.

        Parameters
        ----------
        known, total, order : Tensor of int64, shape (B,)
            As for `FixedPointState.inverse`.

        Returns
        -------
        PairsInverse
        """
        held, m = self.held, self.memory
        slots = torch.arange(held, device=total.device)
        # the newest pair that a sample has in a slot; negative: none
        pair = slots + m * ((total.unsqueeze(1) - 1 - slots) // m)
        left, right, middle = (
            memory[:, :held] for memory in (self.left, self.right, self.middle)
        )
        middle = middle[:, :, :held]
        dead = (pair < 0) | (pair >= known.unsqueeze(1))
        middle = middle.masked_fill(
            dead.unsqueeze(1) | dead.unsqueeze(2), 0.0
        )
        # 0 / inf: the coefficient of a dead pair is 0
        middle.diagonal(dim1=1, dim2=2).masked_fill_(dead, torch.inf)
        # A step or a g that is not finite ends its sample: only rows of the
        # last two pairs may hold one, and the others need not be touched.
        last = dead & (pair >= total.unsqueeze(1) - 2)
        self._erase(left, right, last.nonzero(as_tuple=True))
        return PairsInverse(
            self, self.n_solves, left, right, middle, self.scale, order
        )

    def _erase(self, left, right, which):
        left[which] = right[which] = 0.0


def _safe(squared, factor):
    """Return the corner of K and the factor of a new step, (n, 1)."""
    # damped as in push_secant where B+ would be singular
    damped = factor.isinf()
    squared = torch.where(damped, 2 * squared, squared)
    factor = torch.where(damped, -2.0, factor)
    # no update by an empty pair: an infinite K leaves B alone
    empty = factor.isnan()
    return squared.masked_fill(empty, torch.inf), factor.masked_fill(empty, -1)


class Chain(Pairs):
    r"""Keep Broyden's matrix as its own steps: half the memory of `Pairs`.

    As long as every step is s = -B g and no pair is dropped, g at the end of
    a step is all that the update needs, and B+ g follows from B g (Kelley,
    *Iterative Methods for Linear and Nonlinear Equations*, 1995, section 7.3):

        B+ = (I + s+ sᵀ / ‖s‖²) B,   s+ = -B+ g = -B g / (1 + sᵀB g / ‖s‖²).

    The product of these factors is L, R and a lower triangular K again,

        L = (s₁, …, sₖ₊₁),  R = (s₀, …, sₖ),  Kⱼⱼ = ‖sⱼ‖²,  Kⱼᵢ = -sⱼᵀsᵢ₊₁,

    where L and R are one array of steps, read from its second and first row.
    """

    def _allocate(self, new, B, D):
        self.steps = new(B, self.memory + 1, D)
        self.left, self.right = self.steps[:, 1:], self.steps[:, :-1]

    def begin(self, b):
        """Make the first step, -b, from g = b, (B, D)."""
        # a sample without a number is given up; its rows must not say NaN
        self.steps[:, 0] = torch.where(finite_rows(b), -b, 0.0)

    def newest(self):
        """Give the step to be made, (n, D)."""
        return self.steps[:self.n, self.count]

    def advance(self, b):
        """Learn from the newest step, which led to g = b; make the next.

        Two passes over the steps: all inner products with s and with b, and
        their combination.
        """
        k = self.count
        steps = self.steps[:self.n, :k + 2]
        s_and_b = steps[:, k:]
        steps[:, k + 1] = b  # where the next step will be
        with_s, with_b = torch.bmm(s_and_b, steps.mT).unbind(1)
        c = torch.linalg.solve_triangular(
            self.K(), with_b[:, :k].unsqueeze(2), upper=False
        ).squeeze(2)
        squared, with_L = with_s[:, k:k + 1], with_s[:, 1:k + 1]
        sBb = with_b[:, k:k + 1] + dot(with_L, c).unsqueeze(1)
        corner, factor = _safe(squared, -1 / (1 + sBb / squared))
        self._border(-with_L, corner)
        # in place: b becomes B b, and that the step
        Bb = steps[:, k + 1:].baddbmm_(c.unsqueeze(1), steps[:, 1:k + 1])
        Bb.mul_(factor.unsqueeze(1))

    def _border(self, row, corner):
        """Write the new row of K, whose upper triangle stays zero."""
        k = self.count
        self.middle[:self.n, k, :k + 1] = torch.cat([row, corner], dim=1)
        self.count += 1

    def _in_use(self):
        held = self.held
        return self.steps[:, :held + 1], self.middle[:, :held]

    def _erase(self, left, right, which):
        # of right only rows that are left's too; what L erases, R may keep
        left[which] = 0.0


class PairsState(FixedPointState):
    """Hold the state of a solve with steps -B g, B made of secant pairs."""

    def __init__(self, pairs):
        self.pairs = pairs

    @property
    def n_pairs(self):
        return self.pairs.count

    def retire(self, take, holes, movers):
        super().retire(take, holes, movers)
        self.pairs.retire(take, holes, movers)

    def inverse(self, known, total, order):
        return self.pairs.inverse(known, total, order)


class PairsFinder(BatchedFinder):
    """Solve g(z) = 0 with pairs; the field ``memory`` is their number."""

    def __post_init__(self):
        super().__post_init__()
        check_integer("memory", self.memory, least=1)
