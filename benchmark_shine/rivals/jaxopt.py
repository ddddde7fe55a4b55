"""jaxopt's L-BFGS and implicit differentiation as an outer step."""
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from ..checks import check_choice, check_integer
from ..engine import Step, clock
from ..operators import Identity
from ..problems import Logistic, Multinomial, NonlinearLeastSquares, Ridge
from ..root import Root
from ..root.lbfgs import CRITERIA
from .base import of_kind


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


def _jax():
    """Import jax and jaxopt, on one thread where the run has one."""
    if torch.get_num_threads() == 1:
        # read once, when jax first computes
        os.environ.setdefault(
            "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false"
        )
    with warnings.catch_warnings():
        # jaxopt says on import that nobody maintains it any more
        warnings.filterwarnings("ignore", "JAXopt", DeprecationWarning)
        import jax
        import jaxopt
    return jax, jaxopt


@contextmanager
def _double(jax):
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


class _Compiled:
    """The inner solve and the hypergradient of one problem, in jax.

    ``products`` counts the products with the training data.
    """

    def __init__(self, problem, memory, max_iter, criterion):
        jax, self._jaxopt = _jax()
        self._criterion = criterion
        self._jax, self._phi = jax, of_kind(PHI, problem, "jaxopt")
        self.products = _Products(jax, problem.train.X)
        self._of_validation = _Products(jax, problem.validation.X)
        self._y, self._y_validation = (
            jax.numpy.asarray(part.y.numpy())
            for part in (problem.train, problem.validation)
        )
        self._k, self._max_iter = problem.n_outputs, max_iter
        self._groups = jax.numpy.asarray(problem.groups.numpy())
        self._lbfgs = self._jaxopt.LBFGS(
            self._inner, history_size=memory, maxiter=max_iter
        )
        self.solve = jax.jit(self._solve)
        self.differentiate = jax.jit(self._differentiate)

    def _outputs(self, product, z):
        return product(z if self._k == 1 else z.reshape(-1, self._k))

    def _inner(self, z, theta):
        jnp = self._jax.numpy
        loss = self._phi(
            self._jax.nn, self._outputs(self.products, z), self._y
        )
        return loss + 0.5 * jnp.vdot(jnp.exp(theta)[self._groups] * z, z)

    def _outer(self, z):
        outputs = self._outputs(self._of_validation, z)
        return self._phi(self._jax.nn, outputs, self._y_validation)

    def _solve(self, z, theta, atol, rtol):
        """Minimise the inner loss by L-BFGS.

        jaxopt starts from an infinite error, and so makes a step even where
        the start meets the tolerance; here the error is that of the start.
        """
        jnp, lbfgs = self._jax.numpy, self._lbfgs
        state = lbfgs.init_state(z, theta)
        first = jnp.linalg.norm(state.grad)
        tol = jnp.maximum(atol, rtol * self._error(state, theta))
        step = self._jax.lax.while_loop(
            lambda step: (
                (self._error(step.state, theta) > tol)
                & (step.state.iter_num < self._max_iter)
            ),
            lambda step: lbfgs.update(step.params, step.state, theta),
            self._jaxopt.OptStep(z, state._replace(error=first)),
        )
        return step.params, first, step.state.error, step.state.iter_num

    def _error(self, state, theta):
        """Compute what the tolerances bound, see `LBFGS`."""
        jnp, grad = self._jax.numpy, state.grad
        if self._criterion == "gradient":
            return jnp.linalg.norm(grad)
        squared = jnp.vdot(grad / jnp.exp(theta)[self._groups], grad)
        return jnp.sqrt(squared / 2 / state.value)

    def _differentiate(self, z, theta, tol):
        """Return the outer loss and its hypergradient, by jaxopt's CG."""
        value, rhs = self._jax.value_and_grad(self._outer)(z)
        grads, = self._jaxopt.implicit_diff.root_vjp(
            self._jax.grad(self._inner), z, (theta,), rhs,
            partial(self._jaxopt.linear_solve.solve_cg, tol=tol),
        )
        return value, grads


@dataclass(frozen=True)
class Jaxopt:
    """Solve and differentiate by jaxopt, on the suite's own products.

    Blondel, Berthet, Cuturi, Frostig, Hoyer, Llinares-López, Pedregosa and
    Vert, *Efficient and modular implicit differentiation*, NeurIPS 2022:
    ``jaxopt.LBFGS`` for the root, ``implicit_diff.root_vjp`` with its
    conjugate gradients for the hypergradient, to the tolerances of the suite's
    outer optimiser, in float64.  Products with X are the suite's, by a call
    back to the host, which counts them; jax does the rest.  The linearisation
    at the root counts as an evaluation, as it does for all methods, although
    jax leaves out its product with Xᵀ.  An outer step for
    `benchmark_shine.engine.Method`.

    Parameters
    ----------
    problem
        Its functions are compiled at the first call, and again where the
        problem is another one.
    memory : int
        Pairs that L-BFGS keeps; each outer step begins with none.
    max_iter : int
        Most inner iterations.
    criterion : {"gradient", "energy"}
        What the inner tolerances bound, as in `benchmark_shine.root.LBFGS`.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or there is no such model.
    """

    problem: object
    memory: int = 30
    max_iter: int = 1000
    criterion: str = "gradient"

    def __post_init__(self):
        of_kind(PHI, self.problem, "jaxopt")
        check_integer("memory", self.memory, least=1)
        check_integer("max_iter", self.max_iter, least=1)
        check_choice("criterion", self.criterion, CRITERIA)

    @cached_property
    def _compiled(self):
        return _Compiled(
            self.problem, self.memory, self.max_iter, self.criterion
        )

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Returns
        -------
        Step
            Without q, which jaxopt does not tell.
        """
        jax, _ = _jax()
        on_jax, z0 = theta[0].detach().numpy(), equation.start
        with _double(jax):
            compiled = self._compiled
            products = compiled.products
            products.n_calls = 0
            began = clock(z0)
            z, first, residual, n_iter = jax.block_until_ready(
                compiled.solve(z0.numpy(), on_jax, state.atol, state.rtol)
            )
            solved, n_g = clock(z0), products.n_calls
            value, grads = jax.block_until_ready(
                compiled.differentiate(z, on_jax, state.eps)
            )
            done = clock(z0)
        root = Root(
            torch.tensor(np.asarray(z)), Identity(), float(residual),
            float(first), int(n_iter), n_g, int(n_iter) < self.max_iter,
        )
        # one product linearises, each of the others is one with J
        return Step(
            theta, root.z, float(value), equation,
            (torch.tensor(np.asarray(grads)),), root=root, n_g=n_g + 1,
            n_vjp=products.n_calls - n_g - 1, forward_time=solved - began,
            backward_time=done - solved,
        )
