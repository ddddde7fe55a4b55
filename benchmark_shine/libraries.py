"""Rivals from other libraries, each imported where it is used.

A library that is missing costs nobody else: its solver says what to install,
see `benchmark_shine.solver`.
"""
import math
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as RidgeRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from .checks import check_integer, check_number
from .engine import Step, clock
from .operators import Identity
from .problems import Logistic, Multinomial, NonlinearLeastSquares, Ridge
from .root import Root


# ------------------------------------------------------------------- Optuna


@dataclass(frozen=True)
class TpeState:
    """Where `Tpe` stands: the trial that Optuna waits for."""

    theta: tuple[Tensor, ...]
    study: object
    trial: object
    eps: float
    rtol: float
    atol: float = 0.0


@dataclass(frozen=True)
class Tpe:
    """Optuna's tree-structured Parzen estimator, asked and told.

    Bergstra, Bardenet, Bengio and Kégl, NeurIPS 2011; Akiba et al., *Optuna*,
    KDD 2019.  An outer optimiser: one value for all entries of theta a step.

    Parameters
    ----------
    tol : float
        Inner solves stop at tol × ‖g‖ of their own warm start, as those of
        :class:`benchmark_shine.outer.Search`.
    n_startup : int
        Values drawn uniformly at first; Optuna's default is 10.
    seed : int
    box : float
        Values are of [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    tol: float = 1e-3
    n_startup: int = 10
    seed: int = 0
    box: float = 12.0

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_integer("n_startup", self.n_startup, least=0)

    def start(self, theta):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.n_startup, seed=self.seed
        )
        return self._ask(optuna.create_study(sampler=sampler), theta)

    def _ask(self, study, theta):
        trial = study.ask()
        value = trial.suggest_float("theta", -self.box, self.box)
        theta = tuple(torch.full_like(t, value) for t in theta)
        return TpeState(theta, study, trial, self.tol, self.tol)

    def step(self, state, value, grads, first_residual):
        state.study.tell(state.trial, value)
        return self._ask(state.study, state.theta)


# ------------------------------------------------------------- scikit-learn


def _logistic(theta):
    return LogisticRegression, {"C": math.exp(-theta), "warm_start": True}


def _ridge(theta):
    return RidgeRegression, {"alpha": math.exp(theta)}


ESTIMATORS = {Logistic: _logistic, Multinomial: _logistic, Ridge: _ridge}


def of_kind(table, problem, library):
    """What a table has for a problem's kind.

    Raises
    ------
    ValueError
        Where it has nothing, naming the library.
    """
    if type(problem) not in table:
        raise ValueError(
            f"{library}: no model here for {type(problem).__name__}"
        )
    return table[type(problem)]


@dataclass(frozen=True)
class ScikitLearn:
    """Fits of scikit-learn's own model, each from the last one.

    What ``LogisticRegressionCV`` does along its Cs = exp(-theta), on the one
    split of the problem: the model with its L-BFGS, its stopping rule and
    zero as its start (Pedregosa et al., JMLR 2011), scored on the validation
    part.  ``n_g`` counts the iterations that it reports and one more a fit;
    trials of its line searches are not told, so that the true number is
    somewhat higher.  An outer step for `benchmark_shine.engine.descend`.

    Parameters
    ----------
    problem
        Whose training part is fitted.
    tol : float
        ``tol`` of the estimator: its default is 1e-4.
    max_iter : int
        Of each fit.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or there is no such model, or
        scikit-learn's has other coefficients on these data.
    """

    problem: object
    tol: float = 1e-4
    max_iter: int = 1000

    def __post_init__(self):
        of_kind(ESTIMATORS, self.problem, "scikit-learn")
        self._check_classes()
        check_number("tol", self.tol, above=0)
        check_integer("max_iter", self.max_iter, least=1)

    def _check_classes(self):
        """Its logistic regression is ours for all of two or 3+ classes."""
        n_classes = {Logistic: 2, Multinomial: self.problem.n_outputs}.get(
            type(self.problem)
        )
        if n_classes is None:
            return
        found = len(self.problem.train.y.unique())
        if found < n_classes:
            raise ValueError(
                f"scikit-learn: fits no class that it has not seen, and the "
                f"training data have {found} of {n_classes}"
            )
        if n_classes == self.problem.n_outputs == 2:
            raise ValueError(
                "scikit-learn: has one row of coefficients for two classes, "
                "Multinomial has two"
            )

    def __call__(self, equation, theta, state, last):
        """This outer step alone; theta has one value for all its entries.

        Parameters
        ----------
        equation : Equation
        theta : tuple of Tensor
        state
            Of no use.
        last : Step
            Where the fit begins.

        Returns
        -------
        Step
        """
        began = clock(last.z)
        kind = of_kind(ESTIMATORS, self.problem, "scikit-learn")
        make, penalty = kind(float(theta[0].detach().reshape(-1)[0]))
        estimator = make(
            fit_intercept=False, tol=self.tol, max_iter=self.max_iter,
            **penalty,
        )
        train, k = self.problem.train, self.problem.n_outputs
        if last.n_outer:
            estimator.coef_ = last.z.view(-1, k).T.numpy()
        with threadpool_limits(torch.get_num_threads()):
            estimator.fit(train.X.numpy(), train.y.numpy())
        z = torch.as_tensor(estimator.coef_).reshape(k, -1).T.reshape(-1)
        with torch.no_grad():
            value = float(equation.loss(z))
        n_iter = 0 if estimator.n_iter_ is None else estimator.n_iter_
        return Step(
            theta, z, value, equation, n_g=1 + int(np.max(n_iter)),
            forward_time=clock(z) - began,
        )


# ------------------------------------------------------------------- jaxopt


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
            n_jvp=products.n_calls - n_g - 1, forward_time=solved - began,
            backward_time=done - solved,
        )
