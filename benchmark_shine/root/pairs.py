"""A batch's memory of secant pairs, and the matrices they make."""
import torch

from ..checks import check_integer
from ..operators import (
    HANDED_OVER, LowRank, combine, dot, rows_times, solve_small,
)
from .batched import BatchedFinder, Picard, swap


class PairsInverse(LowRank):
    """An inverse estimate that lives in a finder's memory, ``pairs``.

    ``solve`` counts the solves of that memory, up to the one it is of.

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

    def __matmul__(self, v):
        if self._solve != self.pairs.n_solves:
            raise RuntimeError(HANDED_OVER)
        return super().__matmul__(v)


def _length(v):
    """Row norms, (n, 1), to divide by: 1 where a row is zero."""
    norm = v.norm(dim=1, keepdim=True)
    return torch.where(norm > 0, norm, torch.ones_like(norm))


class Pairs:
    r"""c I + Lᵀ K⁻¹ R from the newest m pairs, by sample.

    L and R hold one row per pair, K one entry for two of them, and no entry
    of K depends on a third pair.  So a new pair may take the place of the
    oldest: what remains is the matrix of the pairs that remain, exactly.  (In
    product form, as published, each rank-one term was built on the ones
    before and none can be taken away.)

    Rows are contiguous, so are the active samples, and slots fill up in order:
    each product is one pass over the memory in use.

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
        self._allocate(like.new_empty, B, D)
        self.middle = like.new_empty(B, memory, memory)
        self.n_solves = 0
        self.clear()

    def _allocate(self, new, B, D):
        self.left, self.right = (new(B, self.memory, D) for _ in range(2))

    @classmethod
    def reuse(cls, warm_start, memory, like, scale=1.0):
        """The memory of a previous root where it fits, else a new one.

        Parameters
        ----------
        warm_start : Root or None
            Its inverse is not usable any more.
        """
        old = getattr(warm_start and warm_start.inverse, "pairs", None)
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
        """Forget all pairs, keep the memory allocated."""
        self.count, self.n = 0, len(self.left)
        self.n_solves += 1

    @property
    def held(self):
        """Pairs in memory: slots 0 to held - 1."""
        return min(self.count, self.memory)

    @property
    def slot(self):
        """Where the next pair goes."""
        return self.count % self.memory

    def L(self):
        """Left rows of the active samples, (n, held, D)."""
        return self.left[:self.n, :self.held]

    def R(self):
        """Right rows of the active samples, (n, held, D)."""
        return self.right[:self.n, :self.held]

    def K(self):
        """Middle matrices of the active samples, (n, held, held)."""
        return self.middle[:self.n, :self.held, :self.held]

    def push_secant(self, s, y, Ry=None):
        r"""Good Broyden's update: afterwards B y = s.

        B+ = B + (s - B y) sᵀB / (sᵀB y) from B = I on is (Byrd, Nocedal and
        Schnabel 1994, theorem 6.1 for its inverse, by the formula of Woodbury)

            B = I + Wᵀ M⁻¹ S,   Mᵢⱼ = sᵢᵀyⱼ - (sᵢᵀsⱼ where i is the newer),

        with rows s in S and w = s - y in W: L = W, R = S, K = M.  Each pair is
        divided by ‖s‖, which changes nothing but the rounding.  Where sᵀB y
        is 0 for sure (y is, or J is skew) B+ would be singular: ‖s‖² takes
        its place, which is the update damped by a half (Moré and Trangenstein
        1976, after Powell).

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

    def push_multisecant(self, s, y, ridge):
        r"""Anderson's update, type II: afterwards B y = s for all pairs.

        B = c I + (S - c Y)ᵀ (Y Yᵀ + ridge I)⁻¹ Y with rows s in S, y in Y.
        Each pair is divided by ‖y‖, so that the ridge is relative.

        Parameters
        ----------
        s, y : Tensor, shape (n, D)
        ridge : float
        """
        norm = _length(y)
        left, right = self._next_rows()
        border = rows_times(self.R(), y) / norm
        torch.div(y, norm, out=right)
        torch.sub(s, y, alpha=self.scale, out=left).div_(norm)
        self._border(border, border, torch.full_like(norm, 1 + ridge))

    def _next_rows(self):
        return self.left[:self.n, self.slot], self.right[:self.n, self.slot]

    def _border(self, column, row, corner):
        """Row and column of K for the new pair; both (n, held)."""
        slot, held, K = self.slot, self.held, self.middle[:self.n]
        K[:, :held, slot], K[:, slot, :held] = column, row
        K[:, slot, slot] = corner.squeeze(1)
        self.count += 1

    def operator(self):
        """The matrices of the active samples, as an operator on (n, D)."""
        return LowRank(self.L(), self.R(), self.K(), self.scale)

    def step(self, v, Rv):
        """Minus its product with v, (n, D), where R v is known already."""
        c = solve_small(self.K(), Rv)
        return combine(self.L(), -c, v, -self.scale)

    def leave(self, take, holes, movers):
        """Follow `Samples.leave`: whoever is done keeps its pairs."""
        for memory in self._in_use():
            swap(memory, holes, movers)
        self.n = len(take)

    def _in_use(self):
        held = self.held
        return self.left[:, :held], self.right[:, :held], self.middle[:, :held]

    def inverse(self, known, total, order):
        """The matrix of the pairs known at the iterates that are returned.

        Pairs learnt later are taken out.  Where the memory was full, they
        have taken the place of older ones: a matrix of fewer pairs remains,
        that of the newest of those known.

        Parameters
        ----------
        known, total, order : Tensor of int64, shape (B,)
            As for `Picard.inverse`.

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
        # by index: a mask over whole rows would touch all of the memory
        which = dead.nonzero(as_tuple=True)
        self._erase(left, right, which)
        middle = middle.masked_fill(
            dead.unsqueeze(1) | dead.unsqueeze(2), 0.0
        )
        middle.diagonal(dim1=1, dim2=2).masked_fill_(dead, 1.0)
        return PairsInverse(
            self, self.n_solves, left, right, middle, self.scale, order
        )

    def _erase(self, left, right, which):
        left[which] = right[which] = 0.0


class Chain(Pairs):
    r"""Broyden's matrix from its own steps: half the memory of `Pairs`.

    As long as every step is s = -B g and no pair is dropped, g at the end of
    a step is all that the update needs, and B+ g follows from B g (Kelley,
    *Iterative Methods for Linear and Nonlinear Equations*, 1995, section 7.3):

        B+ = (I + s+ sᵀ / ‖s‖²) B,   s+ = -B+ g = -B g / (1 + sᵀB g / ‖s‖²).

    The product of these factors is L, R and a lower triangular K again,

        L = (s₁, …, sₖ₊₁),  R = (s₀, …, sₖ),  Kⱼⱼ = ‖sⱼ‖²,  Kⱼᵢ = -sⱼᵀsᵢ₊₁,

    where L and R are one array of steps, read from its second or first row.
    """

    def _allocate(self, new, B, D):
        self.steps = new(B, self.memory + 1, D)
        self.left, self.right = self.steps[:, 1:], self.steps[:, :-1]

    def begin(self, b):
        """Take the first step, -b, from g = b, (B, D)."""
        torch.neg(b, out=self.steps[:, 0])

    def newest(self):
        """The step to be made, (n, D)."""
        return self.steps[:self.n, self.count]

    def advance(self, b):
        """Learn from the newest step, which has led to g = b: the next one."""
        s = self.newest()
        Bb, squared = self.operator() @ b, dot(s, s).unsqueeze(1)
        factor = -1 / (1 + dot(s, Bb).unsqueeze(1) / squared)
        # damped as in push_secant where B+ would be singular
        damped = factor.isinf()
        squared = torch.where(damped, 2 * squared, squared)
        factor = torch.where(damped, -2.0, factor)
        # no update by an empty pair: an infinite K leaves B alone
        sound = factor.isfinite()
        row = -rows_times(self.L(), s)
        self._border(
            torch.zeros_like(row), row, torch.where(sound, squared, torch.inf)
        )
        torch.mul(Bb, torch.where(sound, factor, -1.0), out=self.newest())

    def _in_use(self):
        held = self.held
        return self.steps[:, :held + 1], self.middle[:, :held]

    def _erase(self, left, right, which):
        # of right only rows that are left's too; what L erases, R may keep
        left[which] = 0.0


class PairsRule(Picard):
    """Steps -B g with the matrix of the pairs learnt so far."""

    def __init__(self, pairs):
        self.pairs = pairs

    @property
    def known(self):
        return self.pairs.count

    def leave(self, take, holes, movers):
        super().leave(take, holes, movers)
        self.pairs.leave(take, holes, movers)

    def inverse(self, known, total, order):
        return self.pairs.inverse(known, total, order)


class PairsFinder(BatchedFinder):
    """A finder that learns: it has the field ``memory``, pairs kept."""

    def __post_init__(self):
        super().__post_init__()
        check_integer("memory", self.memory, least=1)
