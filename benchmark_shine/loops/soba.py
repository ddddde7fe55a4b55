"""Bi-level optimisation in a single loop."""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import grad

from ..checks import check_integer, check_number
from ..engine import Step, clock, leaves, start
from ..implicit import norm_of_jacobian


@dataclass(frozen=True)
class Soba:
    """Move z, q and theta at once, each by one gradient step.

    Dagréou, Ablin, Vaiter and Moreau, *A framework for bilevel optimization
    that enables stochastic and global variance reduction algorithms*, NeurIPS
    2022, algorithm 1 with the directions of SOBA on all samples:

        z ← z - rho g,   q ← q - rho (Jᵀ q - rhs),   theta ← theta - gamma h,
        h = dl/dtheta - (dg/dtheta)ᵀ q,   gamma = rho / ratio.

    An instance is the ``steps`` of a `benchmark_shine.engine.Loop`.

    Parameters
    ----------
    find_root : callable, Equation -> Root
        Used once, with the tolerance of the first outer step, so that z
        starts where the first solve of all other methods ends; q starts from
        zero.
    n_outer : int
        Points of the curve after the start.
    n_iter : int
        Iterations of algorithm 1 per point of the curve: one evaluation of g
        and one product with Jᵀ each, which are counted, and one gradient of
        the outer loss, which is not.  Other methods take that gradient once
        per outer step.  With a validation part of half the training part it
        costs half an evaluation, which only the times show.
    ratio : float
        Inner over outer step size.
    n_power : int
        Power iterations for ‖J‖; 0 takes ‖J‖ = 1.
    box : float
        theta stays in [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Notes
    -----
    The paper searches for rho and ratio.  Here rho is 1 / ‖J‖, where ‖J‖ is
    by power iterations at each point of the curve or, where that is larger,
    by the change of g along a step since.
    """

    find_root: Callable
    n_outer: int
    n_iter: int = 50
    ratio: float = 10.0
    n_power: int = 5
    box: float = 12.0

    def __post_init__(self):
        check_integer("n_iter", self.n_iter, least=1)
        check_integer("n_power", self.n_power, least=0)
        check_number("ratio", self.ratio, above=0)

    def __call__(self, problem):
        """Yield the start, then one `engine.Step` per ``n_iter`` iterations.

        Parameters
        ----------
        problem
            As in :meth:`benchmark_shine.engine.Method.run`.
        """
        first = start(problem, *problem.start())
        yield first
        theta, z = first.theta, first.z
        began = clock(z)
        root = self.find_root(problem.draw(theta, z, 1))
        z, q = root.z, torch.zeros_like(root.z)
        costs = _Costs(
            root.n_g, root.n_vjp, clock(z) - began, n_cheap=root.n_cheap
        )
        for k in range(1, self.n_outer + 1):
            theta, z, q = self._iterate(problem, theta, z, q, k, costs)
            leaf = z.detach().requires_grad_()
            equation = problem.draw(theta, z, k)
            value, _, h = _lagrangian(equation, theta, leaf, q)
            yield Step(theta, z, value, equation, h, q, **vars(costs))
            costs = _Costs()

    def _iterate(self, problem, theta, z, q, k, costs):
        """Make ``n_iter`` iterations, and add their costs in place."""
        began = clock(z)
        equation, last = problem.draw(theta, z, k), None
        norm, n_g, n_vjp = norm_of_jacobian(equation, z, self.n_power)
        per_iteration = 1 if equation.g_theta else 2  # (dg/dtheta)ᵀ q
        costs.n_g += n_g + per_iteration * self.n_iter
        costs.n_vjp += n_vjp + self.n_iter
        costs.backward_time += clock(z) - began
        for _ in range(self.n_iter):
            began = clock(z)
            leaf = z.detach().requires_grad_()
            g = equation.g(leaf)
            solved = clock(z)
            jq, = grad(g, leaf, q)
            _, rhs, h = _lagrangian(equation, theta, leaf, q)
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
            costs.forward_time += solved - began
            costs.backward_time += clock(z) - solved
        return theta, z, q


@dataclass
class _Costs:
    """The costs of one point of the curve, as in `engine.Step`."""

    n_g: int = 0
    n_vjp: int = 0
    forward_time: float = 0.0
    backward_time: float = 0.0
    n_cheap: int = 0


def _lagrangian(equation, theta, z, q):
    """Return the outer loss, its gradient in z, and dF/dtheta with this q."""
    loss = equation.loss(z)
    lagrangian = loss - (equation.g_theta or equation.g)(z.detach()) @ q
    rhs, *h = grad(lagrangian, (z, *theta))
    return float(loss.detach()), rhs, tuple(h)
