"""Solve a convex inner problem and its adjoint system nearly exactly.

Newton's method with conjugate gradients (Nocedal and Wright 2006, algorithm
7.1).  One adjoint solve then serves three ends: it gives q and dF/dtheta, and
it corrects the outer loss for what is left of g,

    F(theta) = l(z) - qᵀ g(z) + O(‖g‖²),

so that z need not be exact to the last digit.
"""
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..implicit import TransposedJacobian
from ..problems.linear import PenalisedModel
from ..root import loss_gradient
from .dense import jacobian
from .units import equilibrate, units

# Relative error of z in the norm of J.  That of F is about its square, that
# of dF/dtheta about as large.
ROOT_TOL = 1e-6

# Relative residual of the adjoint system.
ADJOINT_TOL = 1e-6

# Most steps of Newton's method, and of conjugate gradients within one.
STEPS, PRODUCTS = 100, 20_000

# The least exact solve of a step of Newton's method.
LOOSE = 0.1

# Most entries of z with which J is factorised: of a linear model, which has a
# formula for J, and of another, where J takes a product for each.  A factor
# is too old where more than d / STALE iterations are not enough with it.
DENSE, ASSEMBLED, STALE = 1000, 300, 30

# Units of z that differ by this factor are bad for iterative methods (400 in
# 20 newsgroups, and harmless there).
BAD = 1e4


@dataclass(frozen=True)
class Exact:
    """The exact solution at one theta.

    Parameters
    ----------
    z, q : Tensor, shape (d,)
        Root of g, and J⁻¹ dl/dz there.
    value : float
        F(theta); NaN where no root was found.
    grads : Tensor, shape (n_theta,)
        dF/dtheta.
    error : float
        Of the value.
    """

    z: Tensor
    q: Tensor
    value: float
    grads: Tensor
    error: float

    @property
    def slope(self):
        """Return dF/dtheta where theta is one number."""
        return float(self.grads[0])


class TightSolver:
    """Solve a problem whose z*(theta) is unique at any theta.

    A small J is factorised, and the factor preconditions the solves at
    other z and theta as long as it does so well.  A long z has units.

    Parameters
    ----------
    problem : BilevelProblem
        Its equations have an energy, which is convex.
    """

    def __init__(self, problem):
        self._problem = problem
        self._factor = None

    def __call__(self, theta, z, q=None):
        """Solve at theta, a tuple of Tensor, from guesses of z and q.

        Returns
        -------
        Exact
        """
        theta = tuple(t.detach().clone().requires_grad_() for t in theta)
        equation = self._problem.draw(theta, z, 1)
        solve = self._by_factor
        if len(z) > self._most:
            solve = _in_units(TransposedJacobian(equation.g, z), z)
        z, g = _newton(equation, z, solve)
        q, solved = solve(
            equation, z, TransposedJacobian(equation.g, z),
            loss_gradient(equation, z), q, ADJOINT_TOL,
        )
        with torch.enable_grad():
            outer = equation.loss(z)
            in_theta = (equation.g_theta or equation.g)(z)
            lagrangian = outer - q @ in_theta
        grads = torch.autograd.grad(lagrangian, theta)
        correction = float(q @ g)
        value = float(outer.detach()) - correction
        if not (solved and math.isfinite(value)):
            value = math.nan
        return Exact(
            z, q, value, torch.cat([t.reshape(-1) for t in grads]),
            1e-2 * abs(correction) + 1e-12 * abs(value),
        )

    def _by_factor(self, equation, z, vjp, rhs, start, tol):
        """Solve J x = rhs at z; return x and whether it is one."""
        if self._factor is not None:
            x, solved = _conjugate_gradients(
                vjp, rhs, start, self._factor, tol, max(2, len(z) // STALE)
            )
            if solved:
                return x, True
        self._factor = _Factor(self._assemble(equation, z))
        return _conjugate_gradients(
            vjp, rhs, start, self._factor, tol, len(z)
        )

    @property
    def _most(self):
        linear = isinstance(self._problem, PenalisedModel)
        return DENSE if linear else ASSEMBLED

    def _assemble(self, equation, z):
        if isinstance(self._problem, PenalisedModel):
            return hessian(self._problem, equation, z)
        return jacobian(equation.g, z)


def _in_units(vjp, z):
    """Make the solver of a long z, in units that are good at this z."""
    rough = equilibrate(vjp, z, 10)
    good = float(rough.max() / rough.min()) < BAD
    square = (torch.ones_like(z) if good else equilibrate(vjp, z)).square()

    def solve(equation, z, vjp, rhs, start, tol):
        return _conjugate_gradients(
            vjp, rhs, start, lambda r: square * r, tol, PRODUCTS
        )

    return solve


def _newton(equation, z, solve):
    """Return the root next to z, and what is left of g there.

    The linear solves are as exact as Newton's method can use: their error is
    the square of the last step's (Nocedal and Wright 2006, section 7.1), or
    what ``ROOT_TOL`` asks for where that is more.
    """
    (value, g), tol = equation.energy(z), LOOSE
    for _ in range(STEPS):
        vjp = TransposedJacobian(equation.g, z)
        step, _ = solve(equation, z, vjp, -g, None, tol)
        slope = float(g @ step)
        if not slope < 0:
            break
        t, following = _searched(equation, z, step, value, slope)
        if t == 0:
            break
        z, (value, g) = z + t * step, following
        size = abs(float(z @ vjp(z)))  # of J before, which is near
        moved = math.sqrt(-slope / size) if size > 0 else math.inf
        error = max(tol * moved, moved ** 2)
        if t == 1 and error <= ROOT_TOL:
            break
        tol = min(LOOSE, max(ROOT_TOL / error / 2, error))
    return z, g


def _searched(equation, z, step, value, slope):
    """Halve a step until the energy falls enough, or rounding hides it."""
    t = 1.0
    while t > 1e-10:
        following = equation.energy(z + t * step)
        if following[0] <= value + 1e-4 * t * slope + 1e-13 * abs(value):
            return t, following
        t /= 2
    return 0.0, None


class _Factor:
    """The inverse of a matrix, by Cholesky in the units of its diagonal."""

    def __init__(self, J):
        self._s = units(J)
        scaled = self._s[:, None] * J * self._s
        self._L, info = torch.linalg.cholesky_ex((scaled + scaled.T) / 2)
        self._works = not int(info)

    def __call__(self, r):
        if not self._works:
            return self._s ** 2 * r
        solved = torch.cholesky_solve((self._s * r)[:, None], self._L)
        return self._s * solved[:, 0]


def _conjugate_gradients(vjp, rhs, x, precondition, tol, most):
    """Solve J x = rhs; return x, and whether the residual is small enough.

    Nocedal and Wright 2006, algorithm 5.3.  The residual is measured in the
    norm of the preconditioner, in which units do not matter.
    """
    goal = tol ** 2 * float(rhs @ precondition(rhs))
    r = rhs if x is None else rhs - vjp(x)
    x = torch.zeros_like(rhs) if x is None else x
    p = precondition(r)
    size = float(r @ p)
    for _ in range(most):
        if not size > goal:
            break
        Jp = vjp(p)
        curvature = float(p @ Jp)
        if not curvature > 0:
            break
        a = size / curvature
        x, r = x + a * p, r - a * Jp
        Pr = precondition(r)
        size, before = float(r @ Pr), size
        p = Pr + (size / before) * p
    return x, size <= goal


def hessian(problem, equation, z):
    """Assemble J of a `PenalisedModel` at z: Xᵀ D X, and the penalty.

    D is the derivative of the model's slope in its outputs, sample by
    sample.

    Returns
    -------
    Tensor, shape (d, d)
    """
    part, k = problem.train, problem.n_outputs
    X = part.X @ torch.eye(part.X.shape[1], dtype=problem.dtype)
    outputs = problem.outputs(part, z).reshape(-1, k).requires_grad_()
    with torch.enable_grad():
        shape = outputs[:, 0] if k == 1 else outputs
        slopes = problem.slope(shape, part.y).reshape(-1, k)
    p = X.shape[1]
    J = X.new_empty(p, k, p, k)
    for i in range(k):
        D, = torch.autograd.grad(
            slopes[:, i].sum(), outputs, retain_graph=True
        )
        for j in range(i + 1):
            block = X.T @ (D[:, j, None] * X)
            J[:, i, :, j] = J[:, j, :, i] = block
    J = J.view(p * k, p * k)
    J.diagonal().add_(equation.diagonal)
    return J
