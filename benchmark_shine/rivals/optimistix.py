"""optimistix's L-BFGS and implicit differentiation as an outer step."""
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from .on_jax import Compiled, OuterStep, import_jax

# Trials of the line search per iteration, on average over a solve.
MAX_TRIALS = 20


@cache
def _cg_from():
    """Make lineax's conjugate gradients with a first guess of their own."""
    import lineax

    class CgFrom(lineax.CG):
        """Start lineax's conjugate gradients from y0.

        optimistix hands its linear solver no options, which would have y0.
        The last iterate counts where it does not meet the tolerance, as in
        all methods; lineax would end the run.
        """

        y0: object = None

        def compute(self, state, vector, options):
            found, _, told = super().compute(
                state, vector, options | {"y0": self.y0}
            )
            return found, lineax.RESULTS.successful, told

    return CgFrom


def _at_root(inputs):
    z, *_ = inputs
    return z, None


def _gradient(z, _, inputs):
    """Compute g at z, and a shift of it, whose derivative in F is -q."""
    _, grad, theta, shift, _ = inputs
    return grad(z, theta) + shift


class _Compiled(Compiled):
    """optimistix's way to the root, and with lineax to the hypergradient."""

    def __init__(self, problem, memory, max_iter, criterion):
        super().__init__(problem, criterion)
        import equinox
        import lineax
        import optimistix
        from optimistix._solver import limited_memory_bfgs as lbfgs

        self._equinox, self._lineax = equinox, lineax
        self._implicit = optimistix.ImplicitAdjoint
        self._two_norm = optimistix.two_norm
        self._two_loops = lbfgs._lbfgs_inverse_hessian_operator_fn
        self._max_iter = max_iter
        # its own stopping rule remains for solves at the limit of rounding
        eps = float(np.finfo(np.float64).eps)
        self._lbfgs = optimistix.LBFGS(eps, eps, history_length=memory)

    @cached_property
    def no_pairs(self):
        """Return the arrays of optimistix's memory, without pairs."""
        return self._arrays(self._no_pairs)

    @cached_property
    def _no_pairs(self):
        return self._lbfgs.init_hessian(self.zero, 0.0, None)[1]

    def _arrays(self, tree):
        return self._equinox.filter(tree, self._equinox.is_array)

    def _complete(self, arrays, like):
        """Add what a tree has beside its arrays, such as a memory's size."""
        rest = self._equinox.filter(
            like, self._equinox.is_array, inverse=True
        )
        return self._equinox.combine(arrays, rest)

    def _pairs(self, memory):
        """Complete the arrays of a memory, as optimistix wants them."""
        return self._complete(memory, self._no_pairs)

    def _multiply(self, memory, v):
        return self._two_loops(v, self._pairs(memory))

    def _operator(self, pairs):
        # as optimistix makes it, which compares the two
        return self._lineax.FunctionLinearOperator(
            lambda v: self._two_loops(v, pairs),
            self.jax.eval_shape(lambda: pairs.y_diff_history[0]),
            tags=self._lineax.positive_semidefinite_tag,
        )

    def _solve(self, z, memory, theta, atol, rtol):
        """Minimise the inner loss by L-BFGS, step by step.

        The first step of optimistix evaluates at the start alone.
        """
        jax, jnp, lbfgs = self.jax, self.jax.numpy, self._lbfgs
        double = jax.ShapeDtypeStruct((), z.dtype)

        def energy(z, theta):
            return self.inner(z, theta), None

        def step(z, state):
            z, state, _ = lbfgs.step(energy, z, theta, {}, state, frozenset())
            return z, state

        pairs = self._pairs(memory)
        z, state = step(z, self._equinox.tree_at(
            lambda s: (s.hessian_update_state, s.f_info.hessian_inv),
            lbfgs.init(energy, z, theta, {}, double, None, frozenset()),
            (pairs, self._operator(pairs)),
        ))
        first = jnp.linalg.norm(state.f_info.grad)
        tol = jnp.maximum(atol, rtol * self._error(state, theta))

        def goes_on(carry):
            _, now, n_steps = carry
            return (
                (self._error(now, theta) > tol) & ~now.terminate
                & (now.num_accepted_steps <= self._max_iter)
                & (n_steps < MAX_TRIALS * self._max_iter)
            )

        def body(carry):
            z, now, n_steps = carry
            z, now = step(z, self._complete(now, state))
            return z, self._arrays(now), n_steps + 1

        z, end, _ = jax.lax.while_loop(
            goes_on, body, (z, self._arrays(state), 0)
        )
        return (
            z, end.hessian_update_state, first,
            jnp.linalg.norm(end.f_info.grad), end.num_accepted_steps - 1,
            self._error(end, theta) <= tol,
        )

    def _error(self, state, theta):
        return self.error(state.f_info.f, state.f_info.grad, theta)

    def _differentiate(self, z, memory, theta, tol, q0):
        """Differentiate the outer loss through `ImplicitAdjoint`.

        lineax solves Jᵀ w = -∂ℓ/∂z, from -q0, until the 2-norms of the
        residual and of the last step are below tol ‖∂ℓ/∂z‖.
        """
        jax = self.jax
        bound = tol * jax.numpy.linalg.norm(jax.grad(self.outer)(z))
        adjoint = self._implicit(_cg_from()(
            rtol=0.0, atol=bound, norm=self._two_norm,
            max_steps=self._max_iter, y0=-q0,
        ))
        symmetric = frozenset({self._lineax.positive_semidefinite_tag})

        def loss(theta, shift):
            inputs = z, jax.grad(self.inner), theta, shift
            root, _ = adjoint.apply(_at_root, _gradient, inputs, symmetric)
            return self.outer(root)

        value, (grads, minus_q) = jax.value_and_grad(loss, (0, 1))(
            theta, jax.numpy.zeros_like(z)
        )
        return value, grads, -minus_q


@dataclass(frozen=True)
class Optimistix(OuterStep):
    """Solve and differentiate by optimistix and lineax.

    Rader, Lyons and Kidger, *Optimistix: modular optimisation in JAX and
    Equinox*, 2024, and *Lineax: unified linear solves and linear
    least-squares in JAX and Equinox*, 2023: ``optimistix.LBFGS`` with its
    Armijo line search for the root, ``optimistix.ImplicitAdjoint`` with
    ``lineax.CG`` for the hypergradient.  The tolerances are those of the
    suite's outer optimiser; of the linear solve, lineax holds the last step
    to the same bound as the residual.

    The parameters are those of `OuterStep`.
    """

    def _compile(self):
        import_jax()
        return _Compiled(
            self.problem, self.memory, self.max_iter, self.criterion
        )
