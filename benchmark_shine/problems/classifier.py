"""Deep equilibrium classifiers: the outer loss of a network's fixed point.

A network is three maps: ``stem`` turns the input x into an injection, ``cell``
is f, ``head`` turns the equilibrium into class scores.  With one row of z per
sample,

    g(z) = z - f(z, stem(x)),      loss(z) = mean cross-entropy of head(z),

so J = I - df/dz (Bai, Kolter and Koltun, *Deep equilibrium models*, NeurIPS
2019, section 3; Bai, Koltun and Kolter, *Multiscale deep equilibrium models*,
NeurIPS 2020, section 3).  Theta are all trainable tensors.

Nothing here depends on what ran before: batch, augmentation and dropout of
step k are functions of (seed, k), everything else of theta.  Solvers can
share one problem, and a run resumes from theta and k alone.
"""
import math
from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from ..checks import check_integer, check_number
from ..equation import Equation
from ..evaluate.memory import peak_memory
from ..evaluate.reference import measure_batch, n_affordable
from ..implicit import hypergradient
from ..root import Broyden
from .base import NetworkProblem

# What a stream of random numbers is for: the second word of its seed.
INIT, ORDER, AUGMENT, DROPOUT, PENALTY, PROBE, CALIBRATION = range(7)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, in numbers.

    Parameters
    ----------
    batch_size, epochs : int
    optimizer : callable, (list of Tensor, lr) -> torch.optim.Optimizer
    rate, last_rate : float
        Learning rate, and where its cosine ends.
    forward_steps, backward_steps : int
        Most iterations of the root finder and of the exact adjoint solve.
    tol : float
        The root finder stops where ‖g‖ ≤ tol √d.  Published (code): 1e-5,
        over the whole batch.
    backward_tol : float
        The exact adjoint solve stops at this relative residual.  Published
        (code): an absolute one that single precision does not reach, so that
        all steps are made.
    unrolled_steps, unrolled_layers : int
        The first so many outer steps differentiate through so many
        applications of f from z = 0 instead.  A method's evaluations of g
        are then of z minus the result, and none of f.
    jacobian_weight : float
        Of the penalty ‖df/dz‖² / d in the loss (Bai, Koltun and Kolter,
        *Stabilizing equilibrium models by Jacobian regularization*, ICML
        2021), whose evaluations of f and products with Jᵀ no solver counts.
    """

    batch_size: int
    epochs: int
    optimizer: Callable = torch.optim.Adam
    rate: float = 1e-3
    last_rate: float = 1e-6
    forward_steps: int = 20
    backward_steps: int = 20
    tol: float = 1e-5
    backward_tol: float = 1e-5
    unrolled_steps: int = 0
    unrolled_layers: int = 10
    jacobian_weight: float = 0.0

    def __post_init__(self):
        for name, least in (
            ("batch_size", 1), ("epochs", 1), ("forward_steps", 1),
            ("backward_steps", 0), ("unrolled_steps", 0),
            ("unrolled_layers", 1),
        ):
            check_integer(name, getattr(self, name), least)
        check_number("jacobian_weight", self.jacobian_weight, least=0)

    def rate_at(self, k, n_steps):
        """Learning rate of outer step k, from 1, of n_steps: a cosine."""
        share = min(k - 1, n_steps) / n_steps
        swing = (1 + math.cos(math.pi * share)) / 2
        return self.last_rate + (self.rate - self.last_rate) * swing


class _Deferred(torch.autograd.Function):
    """Known values of compute(*theta), derived only if someone asks.

    Stem and weight normalisation do not depend on z.  They are worked out
    once per equation, and once more for each derivative in theta, through
    however many evaluations of f; an iteration of the root finder or a
    product with Jᵀ costs f alone.
    """

    @staticmethod
    def forward(ctx, compute, values, *theta):
        ctx.compute = compute
        # not save_for_backward: an equation may be derived more than once
        ctx.theta = theta
        return tuple(value.detach() for value in values)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        theta = tuple(t.detach().requires_grad_() for t in ctx.theta)
        with torch.enable_grad():
            values = ctx.compute(*theta)
        found = torch.autograd.grad(values, theta, grads, allow_unused=True)
        return None, None, *found


def _part(name, tensors):
    """The tensors of one part of a network, under their names within it."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items() if key.startswith(prefix)
    }


def _call(shell, buffers, part, weights, *inputs):
    """A part of a network with these weights and its share of buffers."""
    tensors = weights | _part(part, buffers)
    return functional_call(getattr(shell, part), tensors, inputs, strict=True)


def _prepare(call, effective, names, cell_names, x, *values):
    """Injection and effective weights of the cell: all that is not of z."""
    theta = dict(zip(names, values))
    injection = call("stem", _part("stem", theta), x)
    weights = effective(_part("cell", theta))
    return injection, *(weights[name] for name in cell_names)


class _Bound:
    """A network's maps with everything but z filled in.

    Parameters
    ----------
    shell : nn.Module
        With parts stem, cell and head; its own tensors are not used.
    effective : callable, dict -> dict
        The cell's weights from theta's.
    theta, buffers : dict of name and Tensor
    x : Tensor, shape (B, ...)
    mask : Tensor or None
    """

    def __init__(self, shell, effective, theta, buffers, x, mask):
        self._mask = mask
        self._head = _part("head", theta)
        self._theta = {
            name: t for name, t in theta.items()
            if not name.startswith("head.")
        }
        self._cell_names = [name for name, _ in shell.cell.named_parameters()]
        self._call = partial(_call, shell, buffers)
        # Holds no self: the graph holds it, self the graph, and a ring through
        # autograd is never freed.
        self._prepare = partial(
            _prepare, self._call, effective, tuple(self._theta),
            self._cell_names, x,
        )
        theta = tuple(self._theta.values())
        with torch.no_grad():
            self._known = self._prepare(*theta)
        with torch.enable_grad():
            self._prepared = _Deferred.apply(
                self._prepare, self._known, *theta
            )

    def _f(self, z, mask, injection, *weights):
        weights = dict(zip(self._cell_names, weights))
        return self._call("cell", weights, z, injection, mask)

    def f(self, z):
        """The map whose fixed point is sought, (B, d) -> (B, d)."""
        return self._f(z, self._mask, *self._prepared)

    def restrict(self, indices):
        """g of these samples alone, (n, d) -> (n, d); not derived in theta.

        What a root finder needs that has done with the others.
        """
        injection, *weights = self._known
        injection = injection[indices]
        mask = None if self._mask is None else self._mask[indices]
        return lambda z: z - self._f(z, mask, injection, *weights)

    def g(self, z):
        """z - f(z)."""
        return z - self.f(z)

    def unrolled(self, start, n_layers):
        """The equation z - f(f(… f(start))) = 0, a function g.

        J = I: the root is the unrolled network's output and takes one step,
        whatever the method q = dl/dz, and the hypergradient is plain
        back-propagation through the layers.
        """
        def compute(*values):
            z, prepared = start, self._prepare(*values)
            for _ in range(n_layers):
                z = self._f(z, self._mask, *prepared)
            return z,

        theta = tuple(self._theta.values())
        with torch.no_grad():
            known = compute(*theta)
        # one node for every g: a method that goes back through k of them
        # goes back through the layers once
        with torch.enable_grad():
            out, = _Deferred.apply(compute, known, *theta)
        return lambda z: z - out

    def logits(self, z):
        """Class scores of shape (B, n_classes)."""
        return self._call("head", self._head, z)


def jacobian_penalty(f, z, generator):
    """Estimate ‖df/dz‖² / d at z, mean over samples, from one product.

    Hutchinson's estimator with a normal vector (Bai, Koltun and Kolter,
    ICML 2021).  Differentiable in theta; z is held fixed, as
    published.

    Parameters
    ----------
    f : callable, Tensor (B, d) -> Tensor (B, d)
    z : Tensor, shape (B, d)
    generator : torch.Generator

    Returns
    -------
    Tensor, a scalar
    """
    v = torch.randn(z.shape, generator=generator).to(z)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        product, = torch.autograd.grad(f(z), z, v, create_graph=True)
    return product.square().sum() / z.numel()


def spectral_radius(g, z, generator, n_iter=50):
    """Estimate the spectral radius of df/dz = I - J at z, per sample.

    Power method on the transpose, which has the same eigenvalues; the mean
    growth over the second half of the iterations also serves where the
    leading pair is complex.

    Parameters
    ----------
    g : callable, Tensor (B, d) -> Tensor (B, d)
    z : Tensor, shape (B, d)
    generator : torch.Generator
    n_iter : int

    Returns
    -------
    Tensor, shape (B,)
    """
    v = torch.randn(z.shape, generator=generator).to(z)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        residual = g(z)
    logs = []
    for _ in range(n_iter):
        v = v / v.norm(dim=1, keepdim=True)
        v = v - torch.autograd.grad(residual, z, v, retain_graph=True)[0]
        logs.append(v.norm(dim=1).log())
    return torch.stack(logs[n_iter // 2:]).mean(dim=0).exp()


class EquilibriumClassifier(NetworkProblem):
    """Base of the DEQ problems: mini-batches, equation, scores.

    Parameters
    ----------
    d : int
        Entries of z per sample.
    train, test
        Labelled pictures, see :mod:`benchmark_shine.data.pictures`: ``len``,
        and ``batch(indices, generator)`` for float pictures (B, C, H, W) and
        class numbers (B,); without a generator, no augmentation.
    recipe : Recipe
    seed : int
        Of initial weights, batch order, augmentation and dropout.
    dtype : torch.dtype
    device : str or torch.device

    Attributes
    ----------
    names : tuple of str
        Of the entries of theta; the part comes first, as in "stem.weight".
    atol : float
        Where the root finder stops, ‖g‖ per sample.

    Raises
    ------
    ValueError
        Where there are fewer training samples than a batch has, or the
        dtype is neither float32 nor float64.

    Notes
    -----
    Running statistics of batch normalisation are no part of theta and no
    state of the problem.  A training equation normalises by its own batch;
    before scoring, `statistics` averages over a fixed set of training
    batches at the theta to be scored, so that theta alone determines a
    score.  (Published: exponential averages along the run.)
    """

    n_calibration = 10

    def __init__(self, d, train, test, recipe, seed=0, dtype=torch.float32,
                 device="cpu"):
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"dtype: needs float32 or float64, got {dtype}; neither the "
                "root finders nor their estimates survive fewer digits"
            )
        self.d, self.train, self.test = d, train, test
        self._follow(recipe)
        self.seed, self.device = seed, torch.device(device)
        # Both are shells on the meta device: their own tensors have shapes
        # but no values, so nothing can depend on them by mistake.
        with torch.device("meta"):
            self._training = self.network().train()
            self._scoring = self.network().eval()
        initial = self.initial(self._training, self._generator(INIT))
        self.names = tuple(initial)
        self._theta = tuple(
            t.to(self.device, dtype) for t in initial.values()
        )

    def _follow(self, recipe):
        if len(self.train) < recipe.batch_size:
            raise ValueError(
                f"batch_size: {recipe.batch_size} is more than the "
                f"{len(self.train)} training samples"
            )
        self.recipe = recipe
        self.atol = recipe.tol * math.sqrt(self.d)

    def under(self, recipe):
        """The same pictures, network, first theta and seed, other recipe.

        Raises
        ------
        ValueError
            As the class.
        """
        other = copy(self)
        other._follow(recipe)
        return other

    @abstractmethod
    def network(self):
        """A module with parts ``stem`` (x), ``cell`` (z, injection, mask)
        and ``head`` (z); z of shape (B, d)."""

    @abstractmethod
    def initial(self, network, generator):
        """First theta for a network: a dict of name and tensor."""

    def effective(self, weights):
        """The cell's weights as the network uses them, from theta's."""
        return weights

    def mask(self, like, generator):
        """What stays the same along one solve (dropout), or None.

        One row for each of the samples in ``like``.
        """
        return None

    def _generator(self, *key):
        words = np.random.SeedSequence((self.seed, *key))
        seed, = words.generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed))

    # ------------------------------------------------------- mini-batches

    @property
    def steps_per_epoch(self):
        """Whole batches in the training data; what is left over waits."""
        return len(self.train) // self.recipe.batch_size

    @property
    def n_steps(self):
        """Outer steps of the whole recipe."""
        return self.recipe.epochs * self.steps_per_epoch

    def parameter_counts(self):
        """Entries of theta in each part, a dict: stem, cell, head."""
        return {
            part: sum(
                t.numel() for name, t in zip(self.names, self._theta)
                if name.startswith(f"{part}.")
            )
            for part in ("stem", "cell", "head")
        }

    def start(self):
        """First theta, and z = 0 of shape (batch_size, d)."""
        z = self._theta[0].new_zeros(self.recipe.batch_size, self.d)
        return tuple(t.clone() for t in self._theta), z

    def batch(self, k):
        """Pictures and classes of outer step k, shuffled anew each epoch."""
        epoch, i = divmod(max(k, 1) - 1, self.steps_per_epoch)
        order = torch.randperm(
            len(self.train), generator=self._generator(ORDER, epoch)
        )
        size = self.recipe.batch_size
        return self.train.batch(
            order[i * size:(i + 1) * size], self._generator(AUGMENT, k)
        )

    def draw(self, theta, z, k):
        """The equation of outer step k on its mini-batch, from z = 0."""
        x, y = self.batch(k)
        x = x.to(theta[0])
        mask = self.mask(x, self._generator(DROPOUT, k))
        return self._equation(self._bind(theta, x, mask), x, y, k)

    def probe(self, theta, dtype=None, index=0):
        """A fixed equation, to measure inverses on: no dropout, no crops.

        Of a batch of samples, or of as many as the exact reference can
        afford, `benchmark_shine.evaluate.reference.n_affordable`.

        Parameters
        ----------
        theta : tuple of Tensor
        dtype : torch.dtype or None
            To which theta and pictures are cast; None: theta's.
        index : int
            Which of the fixed batches.

        Returns
        -------
        Equation
        """
        theta = tuple(t.to(dtype=dtype) for t in theta)
        x, y = self._fixed_batch(PROBE, index, n_affordable(self.d))
        x = x.to(theta[0])
        return self._equation(self._bind(theta, x), x, y, 0)

    def _fixed_batch(self, stream, index, most=None):
        order = torch.randperm(
            len(self.train), generator=self._generator(stream, index)
        )
        return self.train.batch(order[:self.recipe.batch_size][:most])

    # ----------------------------------------------------------- equation

    def _bind(self, theta, x, mask=None, shell=None, buffers=None):
        named = dict(zip(self.names, theta))
        return _Bound(
            shell or self._training, self.effective, named,
            buffers or self._blank(x), x, mask,
        )

    def _blank(self, like):
        """Where a pass over pictures leaves its batch statistics."""
        return {
            name: like.new_zeros(b.shape)
            for name, b in self._training.named_buffers()
        }

    def _equation(self, network, x, y, k):
        recipe, y = self.recipe, y.to(x.device)
        start = x.new_zeros(len(x), self.d)
        g, restrict = network.g, network.restrict
        if 1 <= k <= recipe.unrolled_steps:
            g = network.unrolled(start, recipe.unrolled_layers)
            restrict = None

        def loss(z):
            return cross_entropy(network.logits(z), y)

        def penalised(z):
            generator = self._generator(PENALTY, k, 1)
            penalty = jacobian_penalty(network.f, z, generator)
            return loss(z) + recipe.jacobian_weight * penalty

        asked = k > 0 and recipe.jacobian_weight > 0
        return Equation(
            g, penalised if asked else loss, start, step=k, restrict=restrict,
            warm_startable=False,
        )

    # ------------------------------------------------------------ running

    def every(self, n_outer):
        """Outer steps from one evaluation to the next.

        An epoch, less where the run has fewer than ten.
        """
        return max(1, min(self.steps_per_epoch, n_outer // 10))

    # ------------------------------------------------------------- scores

    def statistics(self, theta, find_root):
        """Batch-normalisation statistics that go with theta.

        Means over ``n_calibration`` fixed training batches, each passed
        through stem and head as in training but without dropout or
        augmentation.

        Parameters
        ----------
        theta : tuple of Tensor
        find_root : callable, (Equation, atol, rtol, previous) -> Root

        Returns
        -------
        dict of name and Tensor
            Empty for a network without such buffers.
        """
        total = self._blank(theta[0])
        for index in range(self.n_calibration if total else 0):
            x, y = self._fixed_batch(CALIBRATION, index)
            x, buffers = x.to(theta[0]), self._blank(theta[0])
            network = self._bind(theta, x, buffers=buffers)
            equation = self._equation(network, x, y, 0)
            network.logits(find_root(equation, self.atol, 0.0, None).z)
            for name, buffer in buffers.items():
                total[name] += buffer
        return {name: t / self.n_calibration for name, t in total.items()}

    @torch.no_grad()
    def scores(self, theta, find_root):
        """How good theta is on the test data.

        Parameters
        ----------
        theta : tuple of Tensor
        find_root : callable, (Equation, atol, rtol, previous) -> Root
            Solves the forward problem of each test batch, the same for
            every method that is compared.

        Returns
        -------
        dict of float
            ``test_loss`` mean cross-entropy, ``test_accuracy`` top-1 share,
            ``test_residual`` the root mean square of ‖g‖ / ‖z‖.
        """
        theta = tuple(t.detach() for t in theta)
        buffers = self.statistics(theta, find_root)
        loss = hits = squared = 0.0
        for indices in torch.arange(len(self.test)).split(
                self.recipe.batch_size):
            x, y = self.test.batch(indices)
            x = x.to(theta[0])
            network = self._bind(theta, x, None, self._scoring, buffers)
            equation = self._equation(network, x, y, 0)
            z = find_root(equation, self.atol, 0.0, None).z
            logits, y = network.logits(z), y.to(x.device)
            loss += float(cross_entropy(logits, y, reduction="sum"))
            hits += float((logits.argmax(dim=1) == y).sum())
            gap = equation.g(z).norm(dim=1) / z.norm(dim=1)
            squared += float(gap.square().sum())
        n = len(self.test)
        return {
            "test_loss": loss / n,
            "test_accuracy": hits / n,
            "test_residual": math.sqrt(squared / n),
        }

    def metrics(self, step):
        """What this family has to say of a `Step`, floats.

        The finder of the scores is the same whatever the method under test.
        """
        n_steps = self.recipe.forward_steps
        if step.root is None:
            with torch.no_grad():
                residual = float(step.equation.g(step.z).norm())
        else:
            residual = step.root.residual
        return {
            **self.scores(step.theta, Broyden(n_steps, n_steps)),
            "inner_residual": residual,
        }

    def compare(self, step, find_root, adjoint):
        """The method's q at the step's theta, on a probe it never chose.

        ``peak_memory``: bytes that a forward solve and a backward pass need
        on the probe, beyond theta and the data, with all that a solver keeps
        from call to call.  ``spectral_radius`` of df/dz is the largest over
        the probe's samples.  See
        `benchmark_shine.evaluate.reference.measure_batch` for the rest.
        """
        if step.diverged:
            return {}
        theta, tol = step.theta, self.recipe.backward_tol
        # of the step's number: what a finder does may depend on it
        equation, double = (
            replace(self.probe(theta, dtype), step=max(1, step.n_outer))
            for dtype in (None, torch.float64)
        )

        def solve():
            root = find_root(equation, self.atol, 0.0, None)
            return root, hypergradient(equation, theta, root, adjoint, tol=tol)

        (root, found), n_bytes = peak_memory(solve, self.device)
        radius = spectral_radius(
            double.g, root.z.double(), self._generator(PROBE, 0, 1)
        )
        return {
            "peak_memory": float(n_bytes),
            "spectral_radius": float(radius.max()),
            **measure_batch(found, double, theta, root.z),
        }
