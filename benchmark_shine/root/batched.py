"""What the batched root finders share: settings, loop, samples in it."""
from abc import ABC, abstractmethod

import torch

from ..checks import check_integer
from ..operators import Identity
from .base import Root

# A sample is given up where its residual has grown by this factor (the
# authors' code gives up the batch at the same factor).
EXPLODED = 1e6


def check_start(start):
    """Say what is wrong with a start that no batched finder can use.

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
    """The equation on the samples that are not done yet.

    Memory is laid out by *position*.  Those still at work have the first
    positions, so that all work on them is on one leading block, without a
    copy; ``order[i]`` is the sample at position i.

    An equation with ``rows``, a callable from the indices (n,) of samples to
    their own g on (n, D), is evaluated on nothing else.  Any other gets the
    whole batch, with the samples that are done where they stopped.

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
        """Active rows (n, D) among the others' (B, D), by sample."""
        if self._whole:
            return values
        return others.index_copy(0, self.active, values)

    def gather(self, values):
        """Rows (n, D) of the active samples, out of (B, D)."""
        return values if self._whole else values[self.active]

    def through(self, function, values):
        """A row-wise function of (B, D), on the active rows (n, D)."""
        others = torch.zeros_like(self._z)
        return self.gather(function(self.scatter(values, others)))

    def g(self, z):
        """g at the active rows z, (n, D)."""
        self.n_g += 1
        if self._restrict is not None and not self._whole:
            return self._g_rows(z)
        self._z = self.scatter(z, self._z)
        return self.gather(self.equation.g(self._z))

    def linearise(self, z):
        """g at the active rows z, (n, D), and v ↦ Jᵀ v there.

        One evaluation of g, with its graph, which lives as long as the
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
        """All samples' z, (B, D): the active rows and where others stopped."""
        return self.scatter(z, self._z)

    def leave(self, done, z):
        """Take the positions in ``done`` off the active block.

        Parameters
        ----------
        done : list of bool, one per active position
        z : Tensor, shape (n, D)
            The active rows; those done are remembered for `full`.

        Returns
        -------
        take : Tensor of int64, shape (n_left,)
            Old positions of what stays, in its new order.
        holes, movers : Tensor of int64, shape (n_moves,)
            Memory at these positions has to be swapped.
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
    """Exchange rows of a tensor, in place."""
    if len(holes):
        kept = values[holes]
        values[holes] = values[movers]
        values[movers] = kept


class Picard:
    """z ← z - tau g: the rule of a finder that learns nothing.

    A rule is one solve's memory.  `iterate` calls ``start`` once, then
    ``step`` and ``visit`` in turn, ``leave`` where samples are done, and
    ``inverse`` at the end.

    Parameters
    ----------
    tau : float
    """

    known = 0  # pairs learnt so far

    def __init__(self, tau=1.0):
        self.tau = tau

    def start(self, samples, z):
        """g at the start, (B, D)."""
        self.g = samples.g(z)
        return self.g

    def step(self):
        """The next step of the active samples, (n, D)."""
        return -self.tau * self.g

    def visit(self, samples, z, s):
        """g at z, where step s has led; learn from it."""
        self.g = samples.g(z)
        return self.g

    def leave(self, take, holes, movers):
        """Follow `Samples.leave`."""
        self.g = self.g[take]

    def inverse(self, known, total, order):
        """The estimate at the iterates that are returned.

        Parameters
        ----------
        known, total : Tensor of int64, shape (B,), by position
            Pairs learnt by the time of the iterate, and in all.
        order : Tensor of int64, shape (B,)
            Which sample is at which position.
        """
        return Identity()


@torch.no_grad()
def iterate(equation, rule, max_iter, atol, rtol):
    """Step until every sample meets its own tolerance.

    A sample that meets it, or explodes, leaves the batch: it is not moved any
    more, no product is made for it, and the others do not feel it.  Each
    sample's lowest residual is returned, with the estimate of that iterate.
    The host waits for the device once a step, to learn who is done.

    Parameters
    ----------
    equation : Equation
        ``start`` of shape (B, D), float32 or float64.
    rule : Picard or like it
    max_iter : int
    atol, rtol : float, or Tensor of shape (B,)
        Sample i is done where ‖gᵢ‖₂ ≤ max(atol, rtol ‖gᵢ(start)‖₂).  The
        authors' rule on the whole batch, ‖g‖_F < 1e-5 √(B D), is met where
        atol = 1e-5 √D.

    Returns
    -------
    Root
    """
    samples = Samples(equation)
    z = equation.start.detach()
    residual = first = rule.start(samples, z).norm(dim=1)
    tol = torch.maximum(
        rtol * first,
        torch.as_tensor(atol, dtype=first.dtype, device=first.device),
    )
    limit = EXPLODED * first
    # z, residual and pairs known of the best iterate, and of all at the end
    known = torch.zeros_like(samples.order)
    best = [z.clone(), residual, known]
    ends = [torch.empty_like(t) for t in best]
    # by sample: whether converged, whether exploded; steps, pairs in all
    flags = torch.zeros(2, len(z), dtype=torch.bool, device=z.device)
    counts = torch.zeros(2, len(z), dtype=torch.int64, device=z.device)
    n_iter = 0
    while True:
        met = residual <= tol
        exploded = ~((residual <= limit) & residual.isfinite() | met)
        done = (met | exploded).tolist()
        if n_iter == max_iter:
            done = [True] * len(done)
        if any(done):
            here = samples.active
            flags[:, here] = torch.stack([met, exploded])
            counts[0, here], counts[1, here] = n_iter, rule.known
            for end, value in zip(ends, best):
                end[here] = value
            if all(done):
                break
            moves = samples.leave(done, z)
            rule.leave(*moves)
            z, tol, limit, *best = (
                t[moves[0]] for t in (z, tol, limit, *best)
            )
        n_iter += 1
        s = rule.step()
        z = z + s
        residual = rule.visit(samples, z, s).norm(dim=1)
        better = residual < best[1]
        torch.where(better.unsqueeze(1), z, best[0], out=best[0])
        best[1] = torch.where(better, residual, best[1])
        best[2] = torch.where(better, rule.known, best[2])
    z, residuals, known = ends
    order = samples.order
    inverse = rule.inverse(known[order], counts[1, order], order)
    return Root(
        z, inverse, float(residuals.norm()), float(first.norm()), n_iter,
        samples.n_g, bool(flags[0].all()), samples.n_vjp, residuals,
        flags[0], flags[1], counts[0],
    )


class BatchedFinder(ABC):
    """A root finder of a batch: its settings, a frozen dataclass.

    A subclass has the field ``max_iter``, the most steps, and says which
    rule a solve follows.
    """

    def __post_init__(self):
        check_integer("max_iter", self.max_iter, least=0)

    @abstractmethod
    def rule(self, equation, warm_start):
        """One solve's memory, a `Picard` or like it."""

    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Solve g(z) = 0, see :func:`iterate`.

        Parameters
        ----------
        equation : Equation
            ``start`` of shape (B, D), float32 or float64; ``loss`` is asked
            only with OPA.
        atol, rtol : float, or Tensor of shape (B,)
            Per sample, on the 2-norm.
        warm_start : Root or None
            A root of this finder, whose memory is taken over.

        Returns
        -------
        Root
        """
        check_start(equation.start)
        rule = self.rule(equation, warm_start)
        return iterate(equation, rule, self.max_iter, atol, rtol)
