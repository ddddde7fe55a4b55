"""Methods with an outer loop of their own.

Each is a frozen set of settings; called with a problem and a number of outer
steps it yields what :func:`benchmark_shine.engine.run` yields, the start
first, then one `Step` an outer step.
"""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import grad

from .adjoint import spectral_norm
from .checks import check_integer, check_number
from .engine import Step, clock
from .implicit import TransposedJacobian


def start_step(problem):
    """The point before the first outer step.

    Returns
    -------
    Step
    """
    theta, z = problem.start()
    equation = problem.draw(theta, z, 0)
    with torch.no_grad():
        return Step(theta, z, float(equation.loss(z)), equation)


def leaves(theta):
    """Theta to differentiate in, apart from what made it."""
    return tuple(t.detach().clone().requires_grad_() for t in theta)


def _norm_of_jacobian(equation, z, n_power):
    """‖J‖ by power iterations from dl/dz, and their true costs."""
    z = z.detach().requires_grad_()
    rhs, = grad(equation.loss(z), z)
    jt = TransposedJacobian(equation.g, z)
    return spectral_norm(jt, rhs, n_power), jt.n_g, jt.n_calls


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
    n_iter: int = 100
    ratio: float = 10.0
    n_power: int = 5
    box: float = 12.0

    def __post_init__(self):
        check_number("tol", self.tol, above=0)
        check_integer("n_iter", self.n_iter, least=1)
        check_integer("n_power", self.n_power, least=0)
        check_number("ratio", self.ratio, above=0)

    def __call__(self, problem, n_outer):
        step = start_step(problem)
        yield step
        theta = leaves(step.theta)
        began = clock(step.z)
        equation = problem.draw(theta, step.z, 1)
        root = self.find_root(equation, 0.0, self.tol, None)
        z, q = root.z, torch.zeros_like(root.z)
        forward_time, backward_time = clock(z) - began, 0.0
        n_g, n_jvp = root.n_calls, root.n_jvp
        for k in range(1, n_outer + 1):
            began = clock(z)
            equation = problem.draw(theta, z, k)
            norm, *costs = _norm_of_jacobian(equation, z, self.n_power)
            n_g, n_jvp = n_g + costs[0], n_jvp + costs[1]
            backward_time += clock(z) - began
            last = None
            for _ in range(self.n_iter):
                began = clock(z)
                z.requires_grad_()
                g = equation.g(z)
                solved = clock(z)
                jq, = grad(g, z, q)
                _, rhs, h = _head(equation, theta, z, q)
                z, g = z.detach(), g.detach()
                if last is not None:
                    s, y = z - last[0], g - last[1]
                    norm = max(norm, float(y.norm() / s.norm()))
                last = z, g
                z = z - g / norm
                q = q - (jq - rhs) / norm
                theta = leaves(
                    (t.detach() - u / (norm * self.ratio)).clamp(
                        -self.box, self.box
                    ) for t, u in zip(theta, h)
                )
                equation = problem.draw(theta, z, k)
                forward_time += solved - began
                backward_time += clock(z) - solved
            n_g, n_jvp = n_g + self.n_iter, n_jvp + self.n_iter
            leaf = z.detach().requires_grad_()
            value, _, h = _head(equation, theta, leaf, q)
            step = Step(
                theta, z, value, equation, h, q, n_outer=k, n_g=n_g,
                n_jvp=n_jvp, forward_time=forward_time,
                backward_time=backward_time,
            )
            yield step
            if step.diverged:
                return


def _head(equation, theta, z, q):
    """Outer loss, its gradient in z, and dF/dtheta with this q."""
    loss = equation.loss(z)
    lagrangian = loss - equation.theta_part(z.detach()) @ q
    rhs, *h = grad(lagrangian, (z, *theta))
    return float(loss.detach()), rhs, tuple(h)


@dataclass(frozen=True)
class Unrolled:
    """Back-propagation through the last steps of the inner solver.

    Truncated back-propagation (Shaban, Cheng, Hatch and Boots, AISTATS 2019)
    of reverse mode through gradient descent (Franceschi, Donini, Frasconi and
    Pontil, ICML 2017): the forward solver comes as near as its tolerance
    asks, then so many steps z ← z - g / ‖J‖ follow, of which autograd keeps
    the graph.  At a root this is the Neumann series with as many terms.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, previous) -> Root
    outer
        An outer optimiser, see :mod:`benchmark_shine.outer`.
    n_steps : int
        Steps kept, one evaluation of g each and, but for the first, one
        product with Jᵀ.
    n_power : int
        Power iterations for ‖J‖; 0 takes 1.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    find_root: Callable
    outer: object
    n_steps: int = 20
    n_power: int = 5

    def __post_init__(self):
        check_integer("n_steps", self.n_steps, least=1)
        check_integer("n_power", self.n_power, least=0)

    def __call__(self, problem, n_outer):
        step = start_step(problem)
        yield step
        state, root, z = self.outer.start(step.theta), None, step.z
        for k in range(1, n_outer + 1):
            theta = leaves(state.theta)
            equation = problem.draw(theta, z, k)
            began = clock(z)
            root = self.find_root(equation, state.atol, state.rtol, root)
            solved = clock(z)
            norm, n_g, n_jvp = _norm_of_jacobian(
                equation, root.z, self.n_power
            )
            z = root.z
            for _ in range(self.n_steps):
                z = z - equation.g(z) / norm
            loss = equation.loss(z)
            grads, z = grad(loss, theta), z.detach()
            done = clock(z)
            step = Step(
                theta, z, float(loss.detach()), equation, grads, n_outer=k,
                n_g=step.n_g + root.n_calls + n_g + self.n_steps,
                n_jvp=step.n_jvp + n_jvp + self.n_steps - 1,
                forward_time=step.forward_time + solved - began,
                backward_time=step.backward_time + done - solved,
            )
            yield step
            if step.diverged:
                return
            state = self.outer.step(
                state, step.value, grads, root.first_residual
            )
