"""NBO: a Newton step for z and the adjoint system in one block solve."""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch

from ..adjoint import ConjugateGradient
from ..adjoint.block import block_conjugate_gradients
from ..checks import check_choice, check_integer
from ..engine import RootAndAdjoint, Step, clock
from ..implicit import TransposedJacobian, hypergradient
from ..root import loss_gradient
from ..root.lbfgs import CRITERIA

# Whether the root finder is used at the first outer step alone, or at all.
INNER = {"own": 0, "shared": 1}


@dataclass(frozen=True)
class NewtonStep:
    """Solve J [v, w] = [g, J q - rhs]; then z ← z - v and q ← q - w.

    NBO: Dong, Yang, Yao and Zhang, *Efficient curvature-aware hypergradient
    approximation for bilevel optimization*, ICML 2025.  J, g and rhs are those
    of the z before the step; the hypergradient is that of the new z and q.
    The two columns share the products of block conjugate gradients; each ends
    at the relative tolerance eps of the outer optimiser, as the linear solve
    of HOAG does.  J must be positive definite.

    The first outer step is that of HOAG, from a z that is too far from the
    root for Newton's method.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, warm_start) -> Root
        Used at the first outer step alone, or at all: see ``inner``.
    n_newton : int
        Most Newton steps per outer step.  With more than one, the step that
        begins within the inner tolerance is the last.  Published: 1.
    criterion : {"energy", "gradient"}
        What the inner tolerance bounds: √(½ gᵀv / h(z)), with h the energy,
        which is what `LBFGS` bounds by a known diagonal of J; or ‖g‖₂.
    inner : {"own", "shared"}
        Newton's steps begin at the z of the outer step before, as published,
        or where the root finder ends.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    find_root: Callable
    n_newton: int = 1
    criterion: str = "energy"
    inner: str = "own"

    def __post_init__(self):
        check_integer("n_newton", self.n_newton, least=1)
        check_choice("criterion", self.criterion, CRITERIA)
        check_choice("inner", self.inner, INNER)

    @property
    def adjoint(self):
        """Return how the first outer step gets q."""
        return ConjugateGradient()

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Costs: one evaluation of g per Newton step, and one more for its
        energy where there may be several; a product with J for J q, and one
        per direction of the block solve.  Each Newton step takes a gradient
        of the outer loss beside that of the hypergradient; it is not counted.

        Returns
        -------
        Step
            After the first with inner=own without root, and with
            inner=shared with the residual before the last Newton step.  Both
            columns of the block solve are in its forward time.
        """
        if last is None or last.q is None:
            first = RootAndAdjoint(self.find_root, self.adjoint)
            return first(equation, theta, state, None)
        began = clock(equation.start)
        root, z, q, n_g, n_vjp = None, equation.start, last.q, 0, 0
        if self.inner == "shared":
            root = self.find_root(
                equation, state.atol, state.rtol, last.root
            )
            z, n_g, n_vjp = root.z, root.n_g, root.n_vjp
        for _ in range(self.n_newton):
            z, q, error, costs = self._newton(equation, z, q, state.eps)
            n_g, n_vjp = n_g + costs[0], n_vjp + costs[1]
            if not error > state.atol:
                break
        solved = clock(z)
        root = root and replace(root, z=z)
        at = root or SimpleNamespace(z=z, inverse=None)
        found = hypergradient(equation, theta, at, lambda _: q)
        return Step(
            theta, z, found.value, equation, found.grads, q, root,
            n_g=n_g + found.n_g, n_vjp=n_vjp + found.n_vjp,
            forward_time=solved - began, backward_time=clock(z) - solved,
            n_cheap=root.n_cheap if root else 0,
        )

    def _newton(self, equation, z, q, eps):
        """Make one Newton step: z, q, the error before, and (n_g, n_vjp)."""
        product = TransposedJacobian(equation.g, z)
        g, rhs = product.residual.detach(), loss_gradient(equation, z)
        wanted = torch.stack([g, product(q) - rhs])
        goals = eps * torch.stack([g.norm(), rhs.norm()])
        v, w = block_conjugate_gradients(product, wanted, goals)
        error, n_g = self._error(equation, z, g, v)
        return z - v, q - w, error, (n_g + product.n_g, product.n_vjp)

    def _error(self, equation, z, g, v):
        """Compute what the tolerance bounds, and at how many evaluations."""
        if self.n_newton == 1 or self.criterion == "gradient":
            return float(g.norm()), 0
        value, _ = equation.energy(z)
        if not value:
            return float(g.norm()), 1
        return math.sqrt(max(float(g @ v), 0.0) / abs(2 * value)), 1
