"""Deep equilibrium networks: the outer loss of a network's fixed point.

A network is three maps: ``stem`` turns the input x into an injection, ``cell``
is f, ``head`` turns the equilibrium into what is compared with the targets.
With one row of z per sample,

    g(z) = z - f(z, stem(x)),      loss(z) = mean over targets of head(z),

so that J = I - df/dz (Bai, Kolter and Koltun, *Deep equilibrium models*,
NeurIPS 2019, section 3; Bai, Koltun and Kolter, *Multiscale deep equilibrium
models*, NeurIPS 2020, section 3).  Theta are all trainable tensors.

Nothing here depends on what ran before: batch, augmentation and dropout of
step k are functions of (seed, k), and everything else is a function of theta.
Solvers can share one problem, and a run resumes from theta and k alone.
"""
import math
from abc import abstractmethod
from copy import copy

import numpy as np
import torch

from ..equation import Equation
from .base import NetworkProblem
from .functional import BoundNetwork, part

# What a stream of random numbers is for: the second word of its seed.
INIT, ORDER, AUGMENT, DROPOUT, PENALTY, PROBE, CALIBRATION = range(7)


def jacobian_penalty(f, z, generator):
    """Estimate ‖df/dz‖² / d at z, mean over samples, from one product.

    Hutchinson's estimator with a normal vector (Bai, Koltun and Kolter,
    *Stabilizing equilibrium models by Jacobian regularization*, ICML 2021,
    section 4.1).  Differentiable in theta; z is held fixed, as published.

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


class EquilibriumNetwork(NetworkProblem):
    """Base of the deep equilibrium problems: mini-batches and equations.

    A subclass says what the network is, in ``network`` and ``initial``, and
    what its targets are compared by, in ``loss`` and ``tally``.

    Parameters
    ----------
    d : int
        Entries of z per sample.
    train, test
        Samples with their targets, as `benchmark_shine.data.pictures` and
        `benchmark_shine.data.text` have them: ``len``, and
        ``batch(indices, generator)`` for inputs x (B, ...) and targets y
        (B, ...); without a generator, no augmentation.
    recipe : Recipe
    seed : int
        Seed of initial weights, batch order, augmentation and dropout.
    dtype : torch.dtype
        float32, the default, or float64.
    device : str or torch.device

    Attributes
    ----------
    names : tuple of str
        Names of the entries of theta; the part comes first, as in
        "stem.weight".
    atol : float
        Tolerance of the root finder on ‖g‖ of each sample.
    device : torch.device

    Raises
    ------
    ValueError
        Where there are fewer training samples than a batch has, or the
        dtype is neither float32 nor float64.

    Notes
    -----
    Running statistics of batch normalisation are no part of theta and no
    state of the problem.  A training equation normalises by its own batch;
    a score belongs to statistics over fixed training batches at the theta
    that is scored, see `benchmark_shine.evaluate.networks.statistics`.
    (Published: exponential averages along the run.)
    """

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
        # Both shells are on the meta device: their own tensors have shapes
        # but no values, so that nothing can depend on them by mistake.
        with torch.device("meta"):
            self._training = self.network().train()
            self._scoring = self.network().eval()
        initial = self.initial(self._training, self.generator(INIT))
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
        """Return this problem (data, network, first theta) with a recipe.

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
        """Build a module with parts ``stem`` (x), ``cell`` (z, injection,
        mask) and ``head`` (z, ...); z has shape (B, d)."""

    @abstractmethod
    def initial(self, network, generator):
        """Draw the first theta of a network: a dict of name and Tensor."""

    @abstractmethod
    def loss(self, network, z, y):
        """Compute the mean loss over the targets y of a bound network."""

    @abstractmethod
    def tally(self, network, z, y):
        """Sum up a batch of test data.

        Returns
        -------
        loss : Tensor, a scalar
            Sum of the losses of all targets in y.
        hits : Tensor, a scalar
            How many targets the network finds most likely.
        """

    def further_scores(self, test_loss):
        """Return what else follows from the test loss, a dict of float."""
        return {}

    def placed(self, x, like):
        """Give an input the device of theta, and the dtype for the stem."""
        return x.to(like)

    def head_weights(self, theta):
        """Select the head's weights from theta, a dict of name and Tensor."""
        return part("head", theta)

    def effective(self, weights):
        """Compute the cell's weights from those in theta."""
        return weights

    def mask(self, like, generator):
        """Draw the dropout mask of one solve, or return None.

        The mask has one row for each of the samples in ``like``.
        """
        return None

    def generator(self, *key):
        """Return the random stream of a key: its purpose, then numbers."""
        words = np.random.SeedSequence((self.seed, *key))
        seed, = words.generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed))

    # ------------------------------------------------------- mini-batches

    @property
    def steps_per_epoch(self):
        """Whole batches in the training data; the rest of them waits."""
        return len(self.train) // self.recipe.batch_size

    def parameter_counts(self):
        """Count the entries of theta, a dict: stem, cell, head."""
        return {
            part: sum(
                t.numel() for name, t in zip(self.names, self._theta)
                if name.startswith(f"{part}.")
            )
            for part in ("stem", "cell", "head")
        }

    def start(self):
        """Return the first theta, and z = 0 of shape (batch_size, d)."""
        z = self._theta[0].new_zeros(self.recipe.batch_size, self.d)
        return tuple(t.clone() for t in self._theta), z

    def batch(self, k):
        """Read inputs and targets of outer step k; each epoch shuffles."""
        epoch, i = divmod(max(k, 1) - 1, self.steps_per_epoch)
        order = torch.randperm(
            len(self.train), generator=self.generator(ORDER, epoch)
        )
        size = self.recipe.batch_size
        return self.train.batch(
            order[i * size:(i + 1) * size], self.generator(AUGMENT, k)
        )

    def fixed_batch(self, stream, index, most=None):
        """Read training samples that do not depend on the outer step.

        Parameters
        ----------
        stream : int
            ``PROBE`` or ``CALIBRATION``: what the batch is for.
        index : int
            Number of the batch within the stream.
        most : int or None
            Most samples; None: a batch.

        Returns
        -------
        x : Tensor, shape (B, ...)
            Without augmentation.
        y : Tensor of int64, shape (B, ...)
        """
        order = torch.randperm(
            len(self.train), generator=self.generator(stream, index)
        )
        return self.train.batch(order[:self.recipe.batch_size][:most])

    # ----------------------------------------------------------- equation

    def bind(self, theta, x, mask=None, buffers=None):
        """Bind the network, in training mode, to theta and a batch.

        Parameters
        ----------
        theta : tuple of Tensor
        x : Tensor, shape (B, ...)
        mask : Tensor or None
        buffers : dict of name and Tensor, or None
            Receive the batch statistics of a pass; None: they are dropped.

        Returns
        -------
        BoundNetwork
        """
        if buffers is None:
            buffers = self.blank_buffers(theta[0])
        return self._bound(self._training, theta, x, mask, buffers)

    def bind_for_scores(self, theta, x, buffers):
        """Bind the network, in evaluation mode, with batch statistics.

        Parameters and result are those of `bind`; the ``buffers`` are read.
        """
        return self._bound(self._scoring, theta, x, None, buffers)

    def _bound(self, shell, theta, x, mask, buffers):
        named = dict(zip(self.names, theta))
        return BoundNetwork(
            shell, self.effective, named, self.head_weights(named), buffers,
            self.placed(x, theta[0]), mask,
        )

    def blank_buffers(self, like):
        """Make buffers of zeros for batch statistics, in dtype of `like`.

        Returns
        -------
        dict of name and Tensor
            Empty for a network without batch normalisation.
        """
        return {
            name: like.new_zeros(b.shape)
            for name, b in self._training.named_buffers()
        }

    def draw(self, theta, z, k):
        """Build the equation of outer step k on its mini-batch, from z = 0."""
        x, y = self.batch(k)
        like = theta[0].new_empty(len(x), 1)
        mask = self.mask(like, self.generator(DROPOUT, k))
        return self.equation(self.bind(theta, x, mask), x, y, k)

    def equation(self, network, x, y, k):
        """Build the equation of a bound network, its loss for targets y.

        Parameters
        ----------
        network : BoundNetwork
            To theta and x.
        x : Tensor, shape (B, ...)
        y : Tensor of int64, shape (B, ...)
        k : int
            Outer step; 0 for no step of the training, then without its
            unrolled layers and without its penalty.

        Returns
        -------
        Equation
        """
        recipe, start = self.recipe, network.zeros(len(x), self.d)
        y = y.to(start.device)
        g, restrict, parts = network.g, network.restrict, network.prepared
        if 1 <= k <= recipe.unrolled_steps:
            out = network.unrolled(start, recipe.unrolled_layers)
            g, restrict, parts = lambda z: z - out, None, (out,)

        def loss(z):
            return self.loss(network, z, y)

        def penalised(z):
            generator = self.generator(PENALTY, k, 1)
            penalty = jacobian_penalty(network.f, z, generator)
            return loss(z) + recipe.jacobian_weight * penalty

        return Equation(
            g, penalised if self._has_penalty(k) else loss, start, step=k,
            restrict=restrict, warm_startable=False, theta_parts=parts,
        )

    def _has_penalty(self, k):
        if k < 1 or not self.recipe.jacobian_weight:
            return False
        drawn = torch.rand((), generator=self.generator(PENALTY, k, 0))
        return float(drawn) < self.recipe.jacobian_frequency
