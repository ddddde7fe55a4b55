"""jaxopt's L-BFGS and implicit differentiation as an outer step."""
import warnings
from dataclasses import dataclass
from functools import cached_property

from ..checks import check_choice
from .on_jax import Compiled, OuterStep, import_jax


def _import_jaxopt():
    import_jax()
    with warnings.catch_warnings():
        # jaxopt says on import that nobody maintains it any more
        warnings.filterwarnings("ignore", "JAXopt", DeprecationWarning)
        import jaxopt
        from jaxopt._src.lbfgs import inv_hessian_product
    return jaxopt, inv_hessian_product


class _Compiled(Compiled):
    """jaxopt's way to the root and to the hypergradient."""

    def __init__(self, problem, memory, max_iter, criterion, q):
        super().__init__(problem, criterion)
        self._jaxopt, self._inv_hessian_product = _import_jaxopt()
        self._max_iter, self._find_q = max_iter, Q[q]
        self._lbfgs = self._jaxopt.LBFGS(
            self.inner, history_size=memory, maxiter=max_iter
        )

    @cached_property
    def no_pairs(self):
        """Return the state with which jaxopt's L-BFGS begins."""
        jax, jnp = self.jax, self.jax.numpy
        theta = jnp.zeros(self._groups.max() + 1)
        shapes = jax.eval_shape(self._lbfgs.init_state, self.zero, theta)
        state = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        one = jnp.ones_like(state.gamma)
        return state._replace(gamma=one, stepsize=one)

    def _solve(self, z, memory, theta, atol, rtol):
        """Minimise the inner loss by L-BFGS.

        jaxopt starts from an infinite error, and so makes a step even where
        the start meets the tolerance; here the error is that of the start.
        """
        jnp, lbfgs = self.jax.numpy, self._lbfgs
        state = lbfgs.init_state(self._jaxopt.OptStep(z, memory), theta)
        first, began = jnp.linalg.norm(state.grad), state.iter_num
        tol = jnp.maximum(atol, rtol * self._error(state, theta))
        z, state = self.jax.lax.while_loop(
            lambda step: (
                (self._error(step.state, theta) > tol)
                & (step.state.iter_num < began + self._max_iter)
            ),
            lambda step: lbfgs.update(step.params, step.state, theta),
            self._jaxopt.OptStep(z, state._replace(error=first)),
        )
        return (
            z, state, first, state.error, state.iter_num - began,
            self._error(state, theta) <= tol,
        )

    def _error(self, state, theta):
        return self.error(state.value, state.grad, theta)

    def _multiply(self, memory, v):
        return self._inv_hessian_product(
            v, memory.s_history, memory.y_history, memory.rho_history,
            memory.gamma, memory.iter_num % len(memory.rho_history),
        )

    def _differentiate(self, z, memory, theta, tol, q0):
        value, rhs = self.jax.value_and_grad(self.outer)(z)
        found = []

        def solve(matvec, minus_rhs):
            found.append(self._find_q(self, matvec, minus_rhs, memory, tol,
                                      -q0))
            return found[0]

        grads, = self._jaxopt.implicit_diff.root_vjp(
            self.jax.grad(self.inner), z, (theta,), rhs, solve
        )
        return value, grads, -found[0]

    def by_cg(self, matvec, rhs, memory, tol, init):
        """Solve Jᵀ q = rhs by jaxopt's conjugate gradients."""
        return self._jaxopt.linear_solve.solve_cg(
            matvec, rhs, init=init, tol=tol
        )

    def by_pairs(self, matvec, rhs, memory, tol, init):
        """Multiply rhs by the estimate of J⁻¹ that L-BFGS leaves."""
        return self._multiply(memory, rhs)


Q = {"cg": _Compiled.by_cg, "shine": _Compiled.by_pairs}


@dataclass(frozen=True)
class Jaxopt(OuterStep):
    """Solve and differentiate by jaxopt, on the suite's own products.

    Blondel, Berthet, Cuturi, Frostig, Hoyer, Llinares-López, Pedregosa and
    Vert, *Efficient and modular implicit differentiation*, NeurIPS 2022:
    ``jaxopt.LBFGS`` for the root, ``implicit_diff.root_vjp`` for the
    hypergradient, to the tolerances of the suite's outer optimiser.  The
    linearisation at the root counts as an evaluation, as it does for all
    methods, although jax leaves out its product with Xᵀ.

    Parameters
    ----------
    q : {"cg", "shine"}
        "cg": the library's conjugate gradients.  "shine": q = B ∂ℓ/∂z with
        the B of the library's L-BFGS, by its own two-loop recursion (Ramzi
        et al., ICLR 2022, section 2.1).

    The others are those of `OuterStep`.
    """

    q: str = "cg"

    def __post_init__(self):
        super().__post_init__()
        check_choice("q", self.q, Q)

    def _compile(self):
        return _Compiled(
            self.problem, self.memory, self.max_iter, self.criterion, self.q
        )
