"""Solve an inner problem and its adjoint system nearly exactly.

Newton's method with conjugate gradients (Nocedal and Wright 2006, algorithm
7.1).  One adjoint solve then serves three ends: it gives q and dF/dtheta, and
it corrects the outer loss for what is left of g,

    F(theta) = l(z) - qᵀ g(z) + O(‖g‖²),

so that z need not be exact to the last digit.
"""
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
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

# Largest part of the outer loss that the correction may be, and how often the
# root is solved again, more tightly and in the units of the new z.
CORRECTED, ROUNDS = 1e-5, 5

# Relative residual of the adjoint system.
ADJOINT_TOL = 1e-6

# Most steps of Newton's method, and of conjugate gradients within one.
STEPS, PRODUCTS = 100, 20_000

# The least exact solve of a step of Newton's method.
LOOSE = 0.1

# A step that is so short, and lowers no energy, is rounding.
HIDDEN = 1e-5

# Most entries of z with which J is factorised: of a linear model, which has a
# formula for J, and of another, where J takes a product for each.  A factor
# is too old where more than d / STALE iterations are not enough with it.
DENSE, ASSEMBLED, STALE = 1000, 300, 30

# Units of a long z that differ by this factor are bad for conjugate gradients;
# below it they do more harm than good (in 20 newsgroups).
BAD = 1e3


@dataclass(frozen=True)
class Exact:
    """The exact solution at one theta.

    Parameters
    ----------
    z, q : Tensor, shape (d,)
        Root of g, and J⁻¹ dl/dz there; a q of NaN where J is too nearly
        singular.
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
    """Solve the equations of one problem at any theta.

    A small J is factorised, and the factor preconditions the solves at
    other z and theta as long as it does so well.  A long z has units.

    Parameters
    ----------
    problem : BilevelProblem, or None
        `PenalisedModel` have a formula for J.  With None, or another, a
        column of J takes a product.
    """

    def __init__(self, problem=None):
        self._problem = problem
        self._factor = self._columns = None

    def at(self, theta, z, q=None):
        """Solve at theta, a tuple of Tensor; see `__call__`."""
        theta = tuple(t.detach().clone().requires_grad_() for t in theta)
        return self(self._problem.draw(theta, z, 1), theta, z, q)

    def __call__(self, equation, theta, z, q=None):
        """Solve an equation from guesses of z and q.

        Parameters
        ----------
        equation : Equation
            With an energy, which has positive curvature along the way.
        theta : tuple of Tensor
            The leaves that the equation closes over.
        z : Tensor, shape (d,)
        q : Tensor, shape (d,), or None

        Returns
        -------
        Exact
        """
        tol = ROOT_TOL
        for _ in range(ROUNDS):
            solve = partial(self._by_factor, theta)
            if len(z) > self._most:
                solve = _preconditioned(
                    self._units(theta, equation, z).square())
            z, g, found = _newton(equation, z, solve, tol)
            rhs = loss_gradient(equation, z)
            q, solved = solve(
                equation, z, TransposedJacobian(equation.g, z), rhs, q,
                ADJOINT_TOL,
            )
            outer = float(equation.loss(z).detach())
            correction = float(q @ g)
            if abs(correction) <= CORRECTED * max(abs(outer), 1e-12):
                break
            tol /= 100
        else:
            found = False
        return Exact(
            z, q if solved else q * math.nan,
            outer - correction if found else math.nan,
            _grads(equation, theta, z, q),
            1e-2 * abs(correction) + 1e-12 * abs(outer),
        )

    def _by_factor(self, theta, equation, z, vjp, rhs, start, tol):
        """Solve J x = rhs at z; return x and whether it is one."""
        if self._factor is not None:
            x, solved = _conjugate_gradients(
                vjp, rhs, start, self._factor, tol, max(2, len(z) // STALE)
            )
            if solved:
                return x, True
        self._factor = _Factor(self._assemble(theta, equation, z))
        return _conjugate_gradients(
            vjp, rhs, start, self._factor, tol, len(z)
        )

    @property
    def _linear(self):
        return isinstance(self._problem, PenalisedModel)

    @property
    def _most(self):
        return DENSE if self._linear else ASSEMBLED

    def _assemble(self, theta, equation, z):
        if self._linear:
            return hessian(self._problem, theta, z)
        return jacobian(equation.g, z)

    def _units(self, theta, equation, z):
        """Choose the units of a long z."""
        if not self._linear:
            return equilibrate(TransposedJacobian(equation.g, z), z)
        s = self._rough_diagonal(theta, z).rsqrt()
        several = self._problem.penalty(theta).ndim > 0
        if several or float(s.max() / s.min()) > BAD:
            return s
        return torch.ones_like(z)

    def _rough_diagonal(self, theta, z):
        """The diagonal of Xᵀ D X as if all samples had the mean D."""
        D = torch.stack([
            column[:, i].mean().abs() for i, column in enumerate(
                curvature(self._problem, theta, z)
            )
        ])
        if self._columns is None:
            X = self._problem.train.X.numpy()
            self._columns = torch.as_tensor(
                np.asarray(X.multiply(X).sum(axis=0)).ravel()
                if hasattr(X, "multiply") else (X * X).sum(axis=0)
            )
        diagonal = self._problem.penalty(theta).detach()
        return (self._columns[:, None] * D).reshape(-1) + diagonal


def _grads(equation, theta, z, q):
    """dF/dtheta, flat, of the Lagrangian l - qᵀ g."""
    with torch.enable_grad():
        in_theta = (equation.g_theta or equation.g)(z)
        lagrangian = equation.loss(z) - q @ in_theta
    grads = torch.autograd.grad(lagrangian, theta)
    return torch.cat([t.reshape(-1) for t in grads])


def _preconditioned(diagonal):
    def solve(equation, z, vjp, rhs, start, tol):
        return _conjugate_gradients(
            vjp, rhs, start, lambda r: diagonal * r, tol, PRODUCTS
        )

    return solve


def _newton(equation, z, solve, goal):
    """Return the root next to z, what is left of g there, whether it is one.

    The linear solves are as exact as Newton's method can use: their error is
    the square of the last step's (Nocedal and Wright 2006, section 7.1), or
    what the ``goal`` asks for where that is more.
    """
    (value, g), tol = equation.energy(z), LOOSE
    for _ in range(STEPS):
        vjp = TransposedJacobian(equation.g, z)
        step, _ = solve(equation, z, vjp, -g, None, tol)
        slope, size = float(g @ step), float(z @ vjp(z))
        if not slope < 0:
            return z, g, not g.any()
        moved = math.sqrt(-slope / size) if size > 0 else math.inf
        t, following = _searched(equation, z, step, value, slope)
        if t == 0:  # rounding hides the descent, or there is none
            return z, g, moved <= HIDDEN
        z, (value, g) = z + t * step, following
        error = max(tol * moved, moved ** 2)
        if t == 1 and error <= goal:
            return z, g, True
        tol = min(LOOSE, max(goal / error / 2, error))
    return z, g, False


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
    """Apply the inverse of a matrix, by Cholesky in units of its diagonal.

    The inverse is formed: triangular solves are ten times as slow as a
    product, and conjugate gradients correct for the rounding.
    """

    def __init__(self, J):
        self._s = units(J)
        scaled = self._s[:, None] * J * self._s
        L, info = torch.linalg.cholesky_ex((scaled + scaled.T) / 2)
        self._inverse = None if int(info) else torch.cholesky_inverse(L)

    def __call__(self, r):
        u = self._s * r
        if self._inverse is not None:
            u = self._inverse @ u
        return self._s * u


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


def hessian(problem, theta, z):
    """Assemble J of a `PenalisedModel` at z: Xᵀ D X, and the penalty.

    Returns
    -------
    Tensor, shape (d, d)
    """
    X = problem.train.X
    X = X @ torch.eye(X.shape[1], dtype=problem.dtype)
    p, k = X.shape[1], problem.n_outputs
    J = X.new_empty(p, k, p, k)
    for i, D in enumerate(curvature(problem, theta, z)):
        for j in range(i + 1):
            block = X.T @ (D[:, j, None] * X)
            J[:, i, :, j] = J[:, j, :, i] = block
    J = J.view(p * k, p * k)
    J.diagonal().add_(problem.penalty(theta).detach())
    return J


def curvature(problem, theta, z):
    """Yield column i of D, the derivative of a model's slope, for each i.

    Yields
    ------
    Tensor, shape (n, k)
        The derivative of slope i in the k outputs, sample by sample, times
        the sample's weight.
    """
    k = problem.n_outputs
    outputs = problem.outputs(problem.train, z.detach()).reshape(-1, k)
    outputs.requires_grad_()
    with torch.enable_grad():
        slopes = problem.fit_slope(
            outputs[:, 0] if k == 1 else outputs,
            problem.sample_weights(theta).detach(),
        ).reshape(-1, k)
    for i in range(k):
        yield torch.autograd.grad(
            slopes[:, i].sum(), outputs, retain_graph=True
        )[0]
