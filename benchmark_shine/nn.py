"""Deep equilibrium layers: the root of z = f(z, x) as an `nn.Module`."""
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from .adjoint import (
    ConjugateGradient, Fallback, GradientDescent, JacobianFree, NormRule,
    Nystrom, Recycled, Shine,
)
from .checks import check_choice, check_number
from .equation import Equation
from .implicit import attach
from .precision import eager, without_autocast
from .root import LBFGS, Broyden

# These treat one vector, or need a symmetric J.
UNFIT = (LBFGS, ConjugateGradient, GradientDescent, Nystrom, Recycled)

# Where modules keep the probability of a fresh draw at each call.
DRAWING = {
    _DropoutNd: "p", nn.MultiheadAttention: "dropout", nn.RNNBase: "dropout",
}


@dataclass
class Info:
    """What the last forward pass of a `DEQ`, and its backward pass, took.

    Parameters
    ----------
    residual, relative_residual : Tensor, shape (B,)
        ‖z - f(z, x)‖₂ of each sample, and that over ‖f(z0, x)‖₂.
    converged : Tensor of bool, shape (B,)
        Whether the relative residual met the tolerance.
    steps : Tensor of int64, shape (B,)
        Steps of the finder before the sample was done.
    n_f, n_vjp : int
        Evaluations of the cell and products with Jᵀ so far.
    jacobian_free : Tensor of bool, shape (B,), or None
        Where q was dl/dz itself; None before the backward pass.
    """

    residual: Tensor
    relative_residual: Tensor
    converged: Tensor
    steps: Tensor
    n_f: int
    n_vjp: int
    jacobian_free: Tensor | None = None


class Dropout(nn.Module):
    """Drop entries at random, the same ones throughout a solve of a `DEQ`.

    The mask is drawn at the first evaluation of the cell and held to the end
    of the backward pass (variational dropout: Gal and Ghahramani, NeurIPS
    2016; for equilibrium networks Bai, Kolter and Koltun 2019).  Outside a
    `DEQ` each call draws a mask.

    Parameters
    ----------
    p : float
        Probability of a zero, in [0, 1).  The rest is divided by 1 - p.

    Raises
    ------
    ValueError
        Where p is out of its range; on a call, where inputs of two shapes
        meet one mask: a module serves one place of the cell.
    """

    def __init__(self, p=0.5):
        super().__init__()
        check_number("p", p, least=0, below=1)
        self.p = p
        self.held = None  # masks by module, during a solve

    def forward(self, z):
        masks = {} if self.held is None else self.held
        if self not in masks:
            masks[self] = self._draw(z)
        mask = masks[self]
        if mask.dim() and mask.shape != z.shape:
            raise ValueError(
                f"Dropout: a mask of shape {tuple(mask.shape)} is held, the "
                f"input has {tuple(z.shape)}; use one module in each place"
            )
        return z * mask

    def _draw(self, z):
        if not self.training:
            return z.new_ones(())
        keep = 1 - self.p
        return z.new_empty(z.shape).bernoulli_(keep).div_(keep)


def _apply(function, x):
    """Apply a function to each tensor in tuples, lists and dicts."""
    if isinstance(x, Tensor):
        return function(x)
    if isinstance(x, dict):
        return {name: _apply(function, part) for name, part in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)([_apply(function, part) for part in x])
    return x


def _tensors(x):
    """List the tensors in tuples, lists and dicts."""
    found = []
    _apply(found.append, x)
    return found


class _Function:
    """The cell on rows (n, D), one function from first to last evaluation.

    z has the shapes and the dtype of ``start``.
    """

    def __init__(self, deq, x, start):
        self.cell, self.x, self.n_f, self.masks = deq.cell, x, 0, {}
        self.container = None if isinstance(start, Tensor) else type(start)
        parts = _tensors(start)
        self.dtype = parts[0].dtype
        if not self.dtype.is_floating_point:
            raise ValueError(f"z0: needs a floating dtype, got {self.dtype}")
        self.shapes = [part.shape[1:] for part in parts]
        self.sizes = [shape.numel() for shape in self.shapes]
        modules = list(deq.modules())
        self.dropouts = [m for m in modules if isinstance(m, Dropout)]
        norms = [
            m for m in modules if isinstance(m, _BatchNorm) and m.training
        ]
        self.norms = [m for m in norms if m.track_running_stats]
        drawn = any(m.training for m in self.dropouts)
        self.separable = deq.separable and not (norms or drawn)
        self.joint = not deq.separable  # all samples in one row
        rows = {len(parts[0]), *(len(t) for t in _tensors(x))}
        if self.separable and len(rows) > 1:
            raise ValueError(
                f"x: needs a row per sample in each tensor, got {rows} rows; "
                "close over what samples share, or set separable=False"
            )

    def pack(self, z):
        """Lay the cell's z out as rows (n, D), at least of float32."""
        rows = torch.cat([t.reshape(len(t), -1) for t in _tensors(z)], dim=1)
        rows = rows.to(torch.promote_types(self.dtype, torch.float32))
        return rows.reshape(1, -1) if self.joint else rows

    def unpack(self, rows):
        """Give the cell's z of rows (n, D)."""
        if self.joint:
            rows = rows.reshape(-1, sum(self.sizes))
        parts = [
            part.reshape(-1, *shape).to(self.dtype) for part, shape
            in zip(rows.split(self.sizes, dim=1), self.shapes)
        ]
        return self.container(parts) if self.container else parts[0]

    def __call__(self, rows, x=None, track=False):
        """Evaluate f; ``track`` updates the running statistics."""
        self.n_f += 1
        with self._as_in_this_solve(track):
            z = self.unpack(rows)
            f = self.cell(z, self.x if x is None else x)
        given, wanted = (
            [tuple(t.shape) for t in _tensors(value)] for value in (f, z)
        )
        if given != wanted:
            raise ValueError(f"cell: returned {given} for z of {wanted}")
        return self.pack(f)

    @contextmanager
    def _as_in_this_solve(self, track):
        for module in self.dropouts:
            module.held = self.masks
        for module in self.norms:
            module.track_running_stats = track
        try:
            yield
        finally:
            for module in self.dropouts:
                module.held = None
            for module in self.norms:
                module.track_running_stats = True

    def restrict(self, index):
        """Give g of some samples alone."""
        x = _apply(lambda t: t[index], self.x)
        return lambda rows: rows - self(rows, x)


def _check_same(f, root):
    """Refuse a cell whose f at the root is not that of the solve."""
    residuals = (root.z - f).norm(dim=1)
    change = (residuals - root.residuals).abs()
    if (change > 0.1 * (residuals + f.norm(dim=1))).any():
        raise ValueError(
            "cell: f(z, x) at the root is not what it was in the solve; set "
            "separable=False if samples depend on each other, and let "
            "benchmark_shine.nn.Dropout draw all random numbers"
        )


def _no_loss(z):
    raise ValueError(
        "finder: OPA asks for the outer loss, which a layer does not know; "
        "use attach"
    )


class DEQ(nn.Module):
    r"""A deep equilibrium layer: z with z = f(z, x), its gradient implicit.

    The forward pass solves g(z) = z - f(z, x) = 0 by sample and without a
    graph (Bai, Kolter and Koltun, *Deep equilibrium models*, NeurIPS 2019,
    section 3.1).  The backward pass asks ``adjoint`` for q ~ J⁻ᵀ dl/dz and
    hands it to the parameters of the cell, to x and to all that the cell
    closes over (their theorem 1).  SHINE takes q from the finder's estimate
    of J⁻¹ (Ramzi et al., ICLR 2022, sections 2.1 and 3).

    Parameters
    ----------
    cell : nn.Module or callable, (z, x) -> f of z's shape
        z is a tensor (B, ...), or a tuple or list of such; x anything.
    finder : callable
        One of :mod:`benchmark_shine.root` that works on batches.
    adjoint : callable, AdjointSystem (B, D) -> Tensor (B, D)
        One of :mod:`benchmark_shine.adjoint`.  Default: SHINE, Jacobian-free
        where its q is longer than 1.3 ‖dl/dz‖.
    tol : float
        A sample is done where ‖z - f(z, x)‖₂ ≤ tol ‖f(z0, x)‖₂.  Iterative
        adjoints are asked for this relative residual, too.
    fallback : callable, AdjointSystem -> Tensor (B, D), or None
        The adjoint of samples that did not converge; None: ``adjoint``.
    start : {"zero", "last"}
        z0 where none is given: zeros, or the last call's z if it had these
        shapes (otherwise zeros).
    shape : tuple of int, tuple or list of such, or None
        Shape of a sample's z, for zeros; None: that of x, which then is a
        tensor.
    separable : bool
        Whether f of a sample depends on that sample alone, and all tensors
        in x have B rows: then samples that are done are not evaluated any
        more (unless `Dropout` or a batch norm is in training).  False: the
        batch is one system, and counts as one sample in ``info``.

    Attributes
    ----------
    info : Info or None
        The last call's.

    Raises
    ------
    ValueError
        Where a setting is unfit, or, on a call, f(z0, x) is not finite or
        not of z's shape, or the cell draws anew at each evaluation.

    Notes
    -----
    During a solve f is one function.  Dropout must be this module's.
    Parametrised weights (weight norm, orthogonal, …) are computed once per
    forward pass.  A batch norm in training normalises by the batch at hand,
    and updates its running statistics once per call, at the root.

    A call is not traced by ``torch.compile``; compile the cell, if at all.
    """

    def __init__(
        self, cell, finder=Broyden(), adjoint=Fallback(Shine(), NormRule()),
        tol=1e-3, fallback=JacobianFree(), start="zero", shape=None,
        separable=True,
    ):
        super().__init__()
        check_number("tol", tol, least=0)
        for name, part in ("finder", finder), ("adjoint", adjoint):
            if isinstance(part, UNFIT):
                raise ValueError(
                    f"{name}: {type(part).__name__} has no meaning for a "
                    "batch of equations with unsymmetric J"
                )
        check_choice("start", start, {"zero": None, "last": None})
        self.cell, self.finder, self.adjoint = cell, finder, adjoint
        self.tol, self.fallback, self.start = tol, fallback, start
        self.shape, self.separable = shape, separable
        self.info = self.last = None

    @eager
    def forward(self, x, z0=None):
        """Solve z = f(z, x).

        Parameters
        ----------
        x : input of the cell
        z0 : like z, or None
            Where the finder begins; no gradient goes there.  None: see
            ``start``.

        Returns
        -------
        Tensor, or tuple or list of Tensor
            z, of the cell's shape; to be differentiated once.
        """
        self._refuse_fresh_draws()
        start = self._start(x) if z0 is None else z0
        f = _Function(self, x, start)
        rows = f.pack(start)
        with parametrize.cached():
            with without_autocast(rows):
                self._compute_weights()
            root, self.info = self._solve(f, rows)
            z = self._attach(f, root, self.info)
        self.info.n_f = f.n_f
        z = f.unpack(z)
        if self.start == "last":
            self.last = _apply(Tensor.detach, z)
        return z

    @torch.no_grad()
    def _solve(self, f, z):
        """Find the root from rows z; return it and what it took."""
        first = f(z)
        scale = first.norm(dim=1)
        bad = (~scale.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"cell: f(z0, x) is not finite in samples {bad}; look at x, "
                "z0 and the parameters"
            )
        known = [z - first]
        equation = Equation(
            # the finder's first evaluation is the one above
            lambda z: known.pop() if known else z - f(z), _no_loss, z,
            restrict=f.restrict if f.separable else None,
        )
        root = self.finder(equation, atol=self.tol * scale)
        # 0 / 0 is a root
        relative = (root.residuals / scale).nan_to_num(0, posinf=torch.inf)
        return root, Info(
            root.residuals, relative, root.solved, root.steps, f.n_f,
            root.n_vjp,
        )

    def _attach(self, f, root, info):
        """Give the root's rows with gradients, if there are to be any."""
        if not torch.is_grad_enabled():
            if f.norms:
                f(root.z, track=True)
            return root.z

        def adjoint(system):
            before = f.n_f
            q = self.adjoint(system)
            if self.fallback is not None:
                solved = root.solved.unsqueeze(1)
                q = torch.where(solved, q, self.fallback(system))
            info.n_f += f.n_f - before
            info.n_vjp += system.vjp.n_vjp
            info.jacobian_free = (q == system.rhs).all(dim=1)
            return q

        def g_theta(z):
            value = f(z, track=True)
            _check_same(value.detach(), root)
            return -value

        return attach(
            lambda z: z - f(z), root, adjoint, g_theta, tol=self.tol
        )

    def _start(self, x):
        """Choose z0 where none is given."""
        zero = self._zero(x)
        if self.start == "zero" or self.last is None:
            return zero
        now, then = (
            [(t.shape, t.dtype, t.device) for t in _tensors(z)]
            for z in (zero, self.last)
        )
        return self.last if now == then else zero

    def _zero(self, x):
        like, shape = _tensors(x), self.shape
        if shape is None and isinstance(x, Tensor):
            shape = tuple(x.shape[1:])
        if not like or shape is None:
            raise ValueError("shape: is needed, or z0, where x is no tensor")
        # in single precision under autocast, in half in a model of half
        dtype = next(
            (p.dtype for p in self.parameters() if p.is_floating_point()),
            torch.promote_types(like[0].dtype, torch.float32),
        )

        def zeros(shape):
            return like[0].new_zeros(len(like[0]), *shape, dtype=dtype)

        if all(isinstance(n, int) for n in shape):
            return zeros(shape)
        return type(shape)(zeros(part) for part in shape)

    def _compute_weights(self):
        """Put parametrised weights, with their graph, into the cache."""
        for module in self.modules():
            if parametrize.is_parametrized(module):
                for name in module.parametrizations:
                    getattr(module, name)

    def _refuse_fresh_draws(self):
        for name, module in self.named_modules():
            draws = module.training and any(
                getattr(module, p) for kind, p in DRAWING.items()
                if isinstance(module, kind)
            )
            if draws:
                raise ValueError(
                    f"{name}: {type(module).__name__} draws anew at each "
                    "evaluation of the cell; set its p to 0 and use "
                    "benchmark_shine.nn.Dropout"
                )
