"""jaxopt's L-BFGS and implicit differentiation as an outer step."""
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch

from ..checks import check_integer
from ..engine import Step, clock
from ..operators import Identity
from ..problems import Logistic, Multinomial, NonlinearLeastSquares, Ridge
from ..root import Root
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
    """jax and jaxopt, on one thread where the run is."""
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
    """float64 in jax, in the threads of its callbacks too, for a while."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


class _Products:
    """X @ w for jax by the suite's own kernel: linear, and counted."""

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


@lru_cache(maxsize=1)
def _compiled(problem, memory, max_iter):
    """The inner solve and the hypergradient, and the counter of products.

    Kept for the last problem: to compile takes longer than a run.
    """
    jax, jaxopt = _jax()
    jnp, phi = jax.numpy, of_kind(PHI, problem, "jaxopt")
    products = _Products(jax, problem.train.X)
    of_validation = _Products(jax, problem.validation.X)
    y, y_validation = (
        jnp.asarray(part.y.numpy())
        for part in (problem.train, problem.validation)
    )
    groups = jnp.asarray(
        problem.groups.repeat_interleave(problem.n_outputs).numpy()
    )

    def outputs(product, z):
        return product(
            z if problem.n_outputs == 1 else z.reshape(-1, problem.n_outputs)
        )

    def inner(z, theta):
        penalty = 0.5 * jnp.vdot(jnp.exp(theta)[groups] * z, z)
        return phi(jax.nn, outputs(products, z), y) + penalty

    def outer(z):
        return phi(jax.nn, outputs(of_validation, z), y_validation)

    solver = jaxopt.LBFGS(inner, history_size=memory, maxiter=max_iter)

    @jax.jit
    def solve(z, theta, atol, rtol):
        # jaxopt starts from an infinite error, and so makes a step even
        # where the start will do
        state = solver.init_state(z, theta)
        first = jnp.linalg.norm(state.grad)
        state = state._replace(error=first)
        tol = jnp.maximum(atol, rtol * first)
        step = jax.lax.while_loop(
            lambda step: (
                (step.state.error > tol) & (step.state.iter_num < max_iter)
            ),
            lambda step: solver.update(step.params, step.state, theta),
            jaxopt.OptStep(z, state),
        )
        return step.params, first, step.state.error, step.state.iter_num

    @jax.jit
    def differentiate(z, theta, tol):
        value, rhs = jax.value_and_grad(outer)(z)
        grads, = jaxopt.implicit_diff.root_vjp(
            jax.grad(inner), z, (theta,), rhs,
            partial(jaxopt.linear_solve.solve_cg, tol=tol),
        )
        return value, grads

    return solve, differentiate, products


@dataclass(frozen=True)
class Jaxopt:
    """L-BFGS and implicit differentiation of jaxopt, on the same products.

    Blondel, Berthet, Cuturi, Frostig, Hoyer, Llinares-López, Pedregosa and
    Vert, *Efficient and modular implicit differentiation*, NeurIPS 2022:
    ``jaxopt.LBFGS`` for the root, ``implicit_diff.root_vjp`` with its
    conjugate gradients for the hypergradient, to the tolerances of the suite's
    outer optimiser, in float64.  Products with X are the suite's own, by a
    call back to the host, which counts them; jax does the rest.

    Parameters
    ----------
    problem
        Whose functions are compiled, at the first call.
    memory : int
        Pairs kept by L-BFGS, from none at each outer step.
    max_iter : int
        Most inner iterations.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or there is no such model.
    """

    problem: object
    memory: int = 30
    max_iter: int = 1000

    def __post_init__(self):
        of_kind(PHI, self.problem, "jaxopt")
        check_integer("memory", self.memory, least=1)
        check_integer("max_iter", self.max_iter, least=1)

    def __call__(self, equation, theta, state, last):
        """This outer step alone.

        Parameters
        ----------
        equation : Equation
        theta : tuple of Tensor
        state
            Of the outer optimiser: the tolerances.
        last : Step
            Where the solve begins.

        Returns
        -------
        Step
            Without q, which jaxopt does not tell.
        """
        jax, _ = _jax()
        solve, differentiate, products = _compiled(
            self.problem, self.memory, self.max_iter
        )
        on_jax, products.n_calls = theta[0].detach().numpy(), 0
        with _double(jax):
            began = clock(last.z)
            z, first, residual, n_iter = jax.block_until_ready(
                solve(last.z.numpy(), on_jax, state.atol, state.rtol)
            )
            solved, n_g = clock(last.z), products.n_calls
            value, grads = jax.block_until_ready(
                differentiate(z, on_jax, state.eps)
            )
            done = clock(last.z)
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
