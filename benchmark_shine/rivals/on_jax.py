"""What the rivals on jax share: the problem, its products, the outer step."""
import os
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from ..checks import check_choice, check_integer
from ..engine import Step, clock
from ..operators import LinearOperator
from ..problems import Logistic, Multinomial, NonlinearLeastSquares, Ridge
from ..root import Root
from ..root.lbfgs import CRITERIA
from .base import of_kind

KEEP = {True: 1, False: 0}


def _softplus(nn, outputs, y):
    return nn.softplus(-y * outputs).sum()


def _squares_of_sigmoid(nn, outputs, y):
    return 0.5 * ((y - nn.sigmoid(outputs)) ** 2).sum()


def _squares(nn, outputs, y):
    return 0.5 * ((outputs - y) ** 2).sum()


def _cross_entropy(nn, outputs, y):
    return -(nn.log_softmax(outputs) * nn.one_hot(y, outputs.shape[1])).sum()


PHI = {
    Logistic: _softplus, NonlinearLeastSquares: _squares_of_sigmoid,
    Ridge: _squares, Multinomial: _cross_entropy,
}


def import_jax():
    """Import jax, on one thread where the run has one."""
    if torch.get_num_threads() == 1:
        # read once, when jax first computes
        os.environ.setdefault(
            "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false"
        )
    import jax

    return jax


@contextmanager
def double(jax):
    """Compute in float64 inside of a block, in jax's callbacks too."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


class _Products:
    """Multiply X @ w for jax by the suite's own kernel, and count."""

    def __init__(self, jax, X):
        self._jax, self._X, self.n_calls = jax, X, 0

    def __call__(self, w):
        (n, p), tail = self._X.shape, w.shape[1:]
        call = self._jax.pure_callback
        shaped = partial(self._jax.ShapeDtypeStruct, dtype=w.dtype)
        return self._jax.custom_derivatives.linear_call(
            lambda _, w: call(self._times, shaped((n, *tail)), w),
            lambda _, r: call(self._transposed, shaped((p, *tail)), r),
            (), w,
        )

    def _times(self, w):
        self.n_calls += 1
        return (self._X @ torch.from_dlpack(np.asarray(w))).numpy()

    def _transposed(self, r):
        return (self._X.T @ torch.from_dlpack(np.asarray(r))).numpy()


class Compiled(ABC):
    """The inner solve and the hypergradient of one problem, in jax.

    A subclass has a library's own way to both.  ``products`` counts the
    products with the training data.

    Parameters
    ----------
    problem : PenalisedModel
    criterion : {"gradient", "energy"}
        What the inner tolerances bound.
    """

    def __init__(self, problem, criterion):
        jax = self.jax = import_jax()
        self._phi, self._criterion = of_kind(PHI, problem, "jax"), criterion
        self.products = _Products(jax, problem.train.X)
        self._of_validation = _Products(jax, problem.validation.X)
        self._y, self._y_validation = (
            jax.numpy.asarray(part.y.numpy())
            for part in (problem.train, problem.validation)
        )
        self._k = problem.n_outputs
        self._groups = jax.numpy.asarray(problem.groups.numpy())
        self.zero = np.zeros(len(problem.groups))
        self.solve = jax.jit(self._solve)
        self.differentiate = jax.jit(self._differentiate)
        self.multiply = jax.jit(self._multiply)

    def _outputs(self, product, z):
        return product(z if self._k == 1 else z.reshape(-1, self._k))

    def inner(self, z, theta):
        """Compute the energy: the penalised loss on the training data."""
        jnp = self.jax.numpy
        loss = self._phi(
            self.jax.nn, self._outputs(self.products, z), self._y
        )
        return loss + 0.5 * jnp.vdot(jnp.exp(theta)[self._groups] * z, z)

    def outer(self, z):
        """Compute the outer loss."""
        outputs = self._outputs(self._of_validation, z)
        return self._phi(self.jax.nn, outputs, self._y_validation)

    def error(self, value, grad, theta):
        """Compute what the tolerances bound, see `root.LBFGS`."""
        jnp = self.jax.numpy
        if self._criterion == "gradient":
            return jnp.linalg.norm(grad)
        squared = jnp.vdot(grad / jnp.exp(theta)[self._groups], grad)
        return jnp.sqrt(squared / 2 / value)

    @property
    @abstractmethod
    def no_pairs(self):
        """Return a memory without pairs."""

    @abstractmethod
    def _solve(self, z, memory, theta, atol, rtol):
        """Minimise `inner` from z and the pairs of a memory.

        Returns
        -------
        z : Array, shape (d,)
        memory
            With the pairs of this solve.
        first, residual : Array, shape ()
            2-norms of the gradient, at the start and at z.
        n_iter : Array, shape ()
        converged : Array, shape ()
        """

    @abstractmethod
    def _differentiate(self, z, memory, theta, tol, q0):
        """Return the outer loss, its hypergradient, and q, from q0."""

    @abstractmethod
    def _multiply(self, memory, v):
        """Multiply the estimate of J⁻¹ of a memory by v."""


class KeptPairs(LinearOperator):
    """Represent a library's estimate of J⁻¹ by its kept pairs.

    Parameters
    ----------
    compiled : Compiled
    memory
        The pairs, as the library holds them.
    """

    def __init__(self, compiled, memory):
        self._compiled, self.memory = compiled, memory

    @property
    def T(self):
        return self

    def __matmul__(self, v):
        with double(self._compiled.jax):
            return _torch(self._compiled.multiply(self.memory, v.numpy()))


def _torch(array):
    return torch.tensor(np.asarray(array))


@dataclass(frozen=True)
class OuterStep(ABC):
    """Make an outer step for `benchmark_shine.engine.Method`, on jax.

    Products with X are the suite's, by a call back to the host, which counts
    them; jax does the rest, in float64.

    Parameters
    ----------
    problem
        Its functions are compiled at the first call, and again where the
        problem is another one.
    memory : int
        Pairs that L-BFGS keeps.
    max_iter : int
        Most inner iterations.
    criterion : {"gradient", "energy"}
        What the inner tolerances bound, as in `benchmark_shine.root.LBFGS`.
    keep : bool
        Whether L-BFGS begins with the pairs of the last outer step, and the
        linear solve with its q.  Without, both begin anew.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or there is no such model.
    """

    problem: object
    memory: int = 30
    max_iter: int = 1000
    criterion: str = "gradient"
    keep: bool = True

    def __post_init__(self):
        of_kind(PHI, self.problem, type(self).__name__.lower())
        check_integer("memory", self.memory, least=1)
        check_integer("max_iter", self.max_iter, least=1)
        check_choice("criterion", self.criterion, CRITERIA)
        check_choice("keep", self.keep, KEEP)

    @abstractmethod
    def _compile(self):
        """Return the `Compiled` of the problem."""

    @cached_property
    def _compiled(self):
        return self._compile()

    def _kept(self, equation, last):
        """Return the memory and the q with which this step begins."""
        if self.keep and last and last.root and equation.warm_startable:
            return last.root.inverse.memory, last.q.numpy()
        return self._compiled.no_pairs, self._compiled.zero

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Returns
        -------
        Step
        """
        on_jax, z0 = theta[0].detach().numpy(), equation.start
        jax = import_jax()
        with double(jax):
            compiled = self._compiled
            products = compiled.products
            pairs, q0 = self._kept(equation, last)
            products.n_calls = 0
            began = clock(z0)
            z, pairs, first, residual, n_iter, converged = (
                jax.block_until_ready(compiled.solve(
                    z0.numpy(), pairs, on_jax, state.atol, state.rtol
                ))
            )
            solved, n_g = clock(z0), products.n_calls
            value, grads, q = jax.block_until_ready(
                compiled.differentiate(z, pairs, on_jax, state.eps, q0)
            )
            done = clock(z0)
        root = Root(
            _torch(z), KeptPairs(compiled, pairs), float(residual),
            float(first), int(n_iter), n_g, bool(converged),
        )
        # of the products with X at the root the first one linearises
        made = products.n_calls - n_g
        linearised = min(made, 1)
        return Step(
            theta, root.z, float(value), equation, (_torch(grads),),
            _torch(q), root, n_g + linearised, made - linearised,
            solved - began, done - solved,
        )
