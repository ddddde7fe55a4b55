"""What the batched root finders share: settings, loop, active samples."""
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_integer
from ..operators import Identity
from ..precision import own_precision
from .base import Root

# A sample is given up where its residual has grown by this factor (the
# authors' code gives up the batch at the same factor).
EXPLODED = 1e6


def check_start(start):
    """Refuse a start that no batched finder can use.

    Raises
    ------
    ValueError
        Where it is not of shape (B, D), or neither float32 nor float64.
    """
    if start.dim() != 2 or not start.numel():
        raise ValueError(
            "start: needs shape (B, D), one row per sample, got "
            f"{tuple(start.shape)}"
        )
    if start.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"start: needs float32 or float64, got {start.dtype}; no quasi-"
            "Newton matrix survives fewer digits"
        )


class Samples:
    """Evaluate an equation on the active samples: those that are not done.

    Memory is laid out by *position*.  The active samples have the first
    positions, so that all work on them is on one leading block, without a
    copy; ``order[i]`` is the sample at position i.

    An equation with ``restrict``, a callable from the indices (n,) of samples
    to their own g on (n, D), is evaluated on the active samples alone.  Any
    other equation gets the whole batch, in which the samples that are done
    stay where they stopped.

    Parameters
    ----------
    equation : Equation
        Its ``start`` has shape (B, D).
    """

    def __init__(self, equation):
        self.equation = equation
        self._restrict = equation.restrict
        self._z = equation.start.detach()
        self.order = torch.arange(len(self._z), device=self._z.device)
        self.active = self.order
        self.n_g = self.n_vjp = 0

    def __len__(self):
        return len(self.active)

    @property
    def _whole(self):
        return len(self.active) == len(self.order)

    def scatter(self, values, others):
        """Put the active rows (n, D) among the others' (B, D), by sample."""
        if self._whole:
            return values
        return others.index_copy(0, self.active, values)

    def gather(self, values):
        """Take the rows (n, D) of the active samples out of (B, D)."""
        return values if self._whole else values[self.active]

    def through(self, function, values):
        """Apply a row-wise function of (B, D) to the active rows (n, D)."""
        others = torch.zeros_like(self._z)
        return self.gather(function(self.scatter(values, others)))

    def g(self, z):
        """Evaluate g at the active rows z, (n, D)."""
        self.n_g += 1
        if self._restrict is not None and not self._whole:
            return self._g_rows(z)
        self._z = self.scatter(z, self._z)
        return self.gather(self.equation.g(self._z))

    def linearise(self, z):
        """Evaluate g at the active rows z, (n, D), and give v ↦ Jᵀ v there.

        This takes one evaluation of g, whose graph lives as long as the
        function that is returned.
        """
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            g = self.g(z)
        # the next evaluation needs the values, not the graph
        self._z = self._z.detach()

        def vjp(v):
            self.n_vjp += 1
            return torch.autograd.grad(g, z, v, retain_graph=True)[0]

        return g.detach(), vjp

    def full(self, z):
        """Give all samples' z, (B, D), the active rows being z."""
        return self.scatter(z, self._z)

    def retire(self, done, z):
        """Remove the samples that are done from the active block.

        Parameters
        ----------
        done : list of bool, one per active position
        z : Tensor, shape (n, D)
            The active rows; `full` needs those that are done.

        Returns
        -------
        take : Tensor of int64, shape (n_left,)
            Old positions of the samples that stay, in their new order.
        holes, movers : Tensor of int64, shape (n_moves,)
            Positions whose memory has to be exchanged, pair by pair.
        """
        self._z = self.scatter(z, self._z)
        n_left = len(done) - sum(done)
        holes = [i for i in range(n_left) if done[i]]
        movers = [i for i in range(n_left, len(done)) if not done[i]]
        take = list(range(n_left))
        for hole, mover in zip(holes, movers):
            take[hole] = mover
        take, holes, movers = (
            torch.tensor(positions, dtype=torch.int64, device=z.device)
            for positions in (take, holes, movers)
        )
        self.order = self.order.clone()
        swap(self.order, holes, movers)
        self.active = self.order[:n_left]
        if self._restrict is not None and n_left:
            self._g_rows = self._restrict(self.active)
        return take, holes, movers


def swap(values, holes, movers):
    """Exchange rows of a tensor in place."""
    if len(holes):
        kept = values[holes]
        values[holes] = values[movers]
        values[movers] = kept


class FixedPointState:
    """Hold the state of a solve by z ← z - tau g, which learns nothing.

    Each finder has such a class: the state of one solve.  `iterate` calls
    ``init`` once, then ``step`` and ``update`` in turn, ``retire`` where
    samples are done, and ``inverse`` at the end.

    Parameters
    ----------
    tau : float
    """

    n_pairs = 0  # pairs learnt so far

    def __init__(self, tau=1.0):
        self.tau = tau

    def init(self, samples, z):
        """Evaluate g at the start, (B, D)."""
        self.g = samples.g(z)
        return self.g

    def step(self):
        """Compute the next step of the active samples, (n, D)."""
        return -self.tau * self.g

    def update(self, samples, z, s):
        """Evaluate g at z, where the step s has led, and learn from it."""
        self.g = samples.g(z)
        return self.g

    def retire(self, take, holes, movers):
        """Remove samples, see `Samples.retire`."""
        self.g = self.g[take]

    def inverse(self, known, total, order):
        """Give the estimate of J⁻¹ at the iterates that are returned.

        Parameters
        ----------
        known, total : Tensor of int64, shape (B,), by position
            Pairs learnt up to that iterate, and in the whole solve.
        order : Tensor of int64, shape (B,)
            Which sample is at which position.
        """
        return Identity()


@dataclass
class Iterate:
    """Hold an iterate of some samples: one row per sample in each field.

    Parameters
    ----------
    z : Tensor, shape (n, D)
    residual : Tensor, shape (n,)
        ‖g‖₂ there.
    n_pairs : Tensor of int64, shape (n,)
        Pairs that had been learnt.
    """

    z: Tensor
    residual: Tensor
    n_pairs: Tensor

    def improve(self, z, residual, n_pairs):
        """Take another iterate in the samples where its residual is lower."""
        better = residual < self.residual
        torch.where(better.unsqueeze(1), z, self.z, out=self.z)
        self.residual = torch.where(better, residual, self.residual)
        self.n_pairs = torch.where(better, n_pairs, self.n_pairs)

    def take(self, index):
        """Give the iterate of some of the samples."""
        return Iterate(self.z[index], self.residual[index],
                       self.n_pairs[index])


class Trace:
    """Record what became of each sample, by sample.

    Parameters
    ----------
    z : Tensor, shape (B, D)
        Gives shape, dtype and device.
    residual : Tensor, shape (B,)
    """

    def __init__(self, z, residual):
        counts = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        self.z, self.residual = torch.empty_like(z), torch.empty_like(residual)
        self.best_pairs, self.n_pairs, self.n_steps = (
            counts.clone() for _ in range(3)
        )
        self.met, self.exploded = (counts.bool() for _ in range(2))

    def record(self, here, best, met, exploded, n_steps, n_pairs):
        """Record the active samples, those at ``here``, as they are now."""
        self.z[here], self.residual[here] = best.z, best.residual
        self.best_pairs[here] = best.n_pairs
        self.met[here], self.exploded[here] = met, exploded
        self.n_steps[here], self.n_pairs[here] = n_steps, n_pairs


def iterate(equation, state, max_iter, atol, rtol):
    """Step until every sample meets its own tolerance.

    A sample that meets its tolerance, or explodes, leaves the batch: it is not
    moved any more, no product is made for it, and the others are not
    affected.  The iterate of lowest residual is returned for each sample,
    with the estimate of J⁻¹ at that iterate.  The host waits for the device
    once a step, to learn which samples are done.

    Parameters
    ----------
    equation : Equation
        ``start`` of shape (B, D), float32 or float64.
    state : FixedPointState or like it
    max_iter : int
    atol, rtol : float, or Tensor of shape (B,)
        Sample i is done where ‖gᵢ‖₂ ≤ max(atol, rtol ‖gᵢ(start)‖₂).

    Returns
    -------
    Root

    Notes
    -----
    The authors' rule on the whole batch, ‖g‖_F < 1e-5 √(B D), is met where
    atol = 1e-5 √D.
    """
    samples = Samples(equation)
    z = equation.start.detach()
    residual = first = state.init(samples, z).norm(dim=1)
    tol = torch.maximum(
        rtol * first,
        torch.as_tensor(atol, dtype=first.dtype, device=first.device),
    )
    limit = (EXPLODED * first).clamp(max=torch.finfo(first.dtype).max)
    best = Iterate(z.clone(), residual, torch.zeros_like(samples.order))
    trace, n_iter = Trace(z, residual), 0
    while True:
        met = residual <= tol
        # a residual that is not a number is below no limit
        exploded = ~(met | (residual <= limit))
        done = (met | exploded).tolist()
        if n_iter == max_iter:
            done = [True] * len(done)
        if any(done):
            trace.record(
                samples.active, best, met, exploded, n_iter, state.n_pairs
            )
            if all(done):
                break
            take, holes, movers = samples.retire(done, z)
            state.retire(take, holes, movers)
            z, tol, limit, best = z[take], tol[take], limit[take], best.take(
                take
            )
        n_iter += 1
        s = state.step()
        z = z + s
        residual = state.update(samples, z, s).norm(dim=1)
        best.improve(z, residual, state.n_pairs)
    order = samples.order
    inverse = state.inverse(
        trace.best_pairs[order], trace.n_pairs[order], order
    )
    return Root(
        trace.z, inverse, residual=float(trace.residual.norm()),
        first_residual=float(first.norm()), n_iter=n_iter, n_g=samples.n_g,
        converged=bool(trace.met.all()), n_vjp=samples.n_vjp,
        residuals=trace.residual, solved=trace.met, diverged=trace.exploded,
        steps=trace.n_steps,
    )


class BatchedFinder(ABC):
    """Solve g(z) = 0 for a batch, each sample by itself.

    A subclass is a frozen dataclass of settings.  It has the field
    ``max_iter``, the most steps, and makes the state of a solve.
    """

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)

    @abstractmethod
    def init_state(self, equation, warm_start):
        """Make the state of one solve, a `FixedPointState` or like it."""

    @own_precision
    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Solve g(z) = 0, see :func:`iterate`.

        Parameters
        ----------
        equation : Equation
            ``start`` of shape (B, D), float32 or float64; ``loss`` is
            evaluated with OPA only.
        atol, rtol : float, or Tensor of shape (B,)
            Per sample, on the 2-norm.
        warm_start : Root or None
            A root of this finder, whose memory is taken over: its inverse
            cannot be used afterwards.

        Returns
        -------
        Root

        Raises
        ------
        RuntimeError
            Where the memory of ``warm_start`` was taken over before.
        ValueError
            Where the start has another shape or dtype.
        """
        check_start(equation.start)
        state = self.init_state(equation, warm_start)
        return iterate(equation, state, self.max_iter, atol, rtol)
