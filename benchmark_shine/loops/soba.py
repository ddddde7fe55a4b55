"""Bi-level optimisation without inner loops."""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import grad

from ..checks import check_integer, check_number
from ..engine import Step, clock, leaves
from ..implicit import norm_of_jacobian


@dataclass(frozen=True)
class Soba:
    """z, q and theta move at once, each by one gradient step.

    Dagréou, Ablin, Vaiter and Moreau, *A framework for bilevel optimization
    that enables stochastic and global variance reduction algorithms*, NeurIPS
    2022, algorithm 1 with the directions of SOBA, here of all samples:

        z ← z - rho g,   q ← q - rho (Jᵀ q - rhs),   theta ← theta - gamma h,
        h = dl/dtheta - (dg/dtheta)ᵀ q,   gamma = rho / ratio.

    The paper searches for rho and ratio.  Here rho is 1 / ‖J‖, by power
    iterations at each point of the curve or, where it is larger, by the
    change of g along a step since.  z starts where the first solve of all
    other methods ends, q from zero.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, previous) -> Root
    tol : float
        Of the first solve, relative to ‖g‖ of its start.
    n_iter : int
        Such iterations per point of the curve, one evaluation of g and one
        product with Jᵀ each.
    ratio : float
        Of the inner to the outer step size.
    n_power : int
        Power iterations for ‖J‖; 0 takes 1.
    box : float
        theta stays in [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    find_root: Callable
    tol: float = 1e-3
    n_iter: int = 50
    ratio: float = 10.0
    n_power: int = 5
    box: float = 12.0

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_integer("n_iter", self.n_iter, least=1)
        check_integer("n_power", self.n_power, least=0)
        check_number("ratio", self.ratio, above=0)

    def __call__(self, problem, n_outer):
        """The run, one point each ``n_iter`` iterations.

        Parameters
        ----------
        problem, n_outer
            As in :func:`benchmark_shine.engine.run`.

        Yields
        ------
        Step
            The start first.  Ends early after a diverged one.
        """
        theta, z = problem.start()
        theta = leaves(theta)
        equation = problem.draw(theta, z, 0)
        with torch.no_grad():
            step = Step(theta, z, float(equation.loss(z)), equation)
        yield step
        began = clock(z)
        root = self.find_root(problem.draw(theta, z, 1), 0.0, self.tol, None)
        z, q = root.z, torch.zeros_like(z)
        n_g, n_vjp = root.n_g, root.n_vjp
        forward_time, backward_time = clock(z) - began, 0.0
        for k in range(1, n_outer + 1):
            began = clock(z)
            equation, last = problem.draw(theta, z, k), None
            norm, *costs = norm_of_jacobian(equation, z, self.n_power)
            n_g += costs[0] + self.n_iter
            n_vjp += costs[1] + self.n_iter
            backward_time += clock(z) - began
            for _ in range(self.n_iter):
                began = clock(z)
                leaf = z.detach().requires_grad_()
                g = equation.g(leaf)
                solved = clock(z)
                jq, = grad(g, leaf, q)
                _, rhs, h = _head(equation, theta, leaf, q)
                g = g.detach()
                if last is not None:
                    s, y = z - last[0], g - last[1]
                    norm = max(norm, float(y.norm() / s.norm()))
                last = z, g
                z, q = z - g / norm, q - (jq - rhs) / norm
                gamma = 1 / (self.ratio * norm)
                theta = leaves(
                    (t.detach() - gamma * slope).clamp(-self.box, self.box)
                    for t, slope in zip(theta, h)
                )
                equation = problem.draw(theta, z, k)
                forward_time += solved - began
                backward_time += clock(z) - solved
            leaf = z.detach().requires_grad_()
            value, _, h = _head(equation, theta, leaf, q)
            step = Step(
                theta, z, value, equation, h, q, n_outer=k, n_g=n_g,
                n_vjp=n_vjp, forward_time=forward_time,
                backward_time=backward_time,
            )
            yield step
            if step.diverged:
                return


def _head(equation, theta, z, q):
    """Outer loss, its gradient in z, and dF/dtheta with this q."""
    loss = equation.loss(z)
    lagrangian = loss - equation.g_theta(z.detach()) @ q
    rhs, *h = grad(lagrangian, (z, *theta))
    return float(loss.detach()), rhs, tuple(h)
