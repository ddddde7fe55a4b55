"""The one loop that every solver of the suite runs."""
import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .equation import Equation
from .implicit import hypergradient
from .root import Root


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come: totals since its start.

    Parameters
    ----------
    n_outer, n_g, n_vjp : int
        Outer steps, evaluations of g, products with Jᵀ.
    forward_time, backward_time : float
        Seconds in the root finder, and in the loss and its hypergradient.
    state
        The outer optimiser's, for the next step.  None where a step needs
        more than this of the last one, or there is no next.
    """

    n_outer: int = 0
    n_g: int = 0
    n_vjp: int = 0
    forward_time: float = 0.0
    backward_time: float = 0.0
    state: object = None


@dataclass(frozen=True)
class Step(Progress):
    """One point of a convergence curve, and the progress up to it.

    z is the inner solution at this theta, and q belongs to both.

    Parameters
    ----------
    theta : tuple of Tensor
        The leaves that the equation closes over.
    z : Tensor, shape (d,)
    value : float
        Outer loss at (theta, z).
    equation : Equation
    grads : tuple of Tensor, or None
        Hypergradient; None before the first step and in searches.
    q : Tensor, shape (d,), or None
    root : Root or None
    """

    theta: tuple[Tensor, ...]
    z: Tensor
    value: float
    equation: Equation
    grads: tuple[Tensor, ...] | None = None
    q: Tensor | None = None
    root: Root | None = None

    @property
    def diverged(self):
        """Whether the loss or a derivative is not a finite number."""
        finite = math.isfinite(self.value) and all(
            bool(g.isfinite().all()) for g in self.grads or ()
        )
        return not finite


def clock(like):
    """Seconds, once the device of a tensor has finished its work."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return time.perf_counter()


def leaves(theta):
    """Theta's values as new leaves of the graph."""
    return tuple(t.detach().clone().requires_grad_() for t in theta)


def _before(state, step):
    """The step, with the state of the next if that is all it needs."""
    return step if step.equation.warm_startable else replace(step, state=state)


def run(problem, find_root, adjoint, outer, n_outer, resumed=None):
    """Descend the outer loss, one point per outer step.

    Parameters
    ----------
    problem
        ``start()`` gives (theta, z); ``draw(theta, z, k)`` this outer step's
        `Equation`.
    find_root : callable, (Equation, atol, rtol, warm_start) -> Root
    adjoint : callable, AdjointSystem -> Tensor, or None
        None for methods that need no hypergradient.  Linear solves start
        from the last outer step's q, unless the equation is a new one.
    outer
        An outer optimiser, see :mod:`benchmark_shine.outer`.
    n_outer : int
        Outer steps.
    resumed : Progress or None
        With a state: where an earlier run of the same kind was cut off, and
        this one goes on.

    Yields
    ------
    Step
        The start (unless resumed), then one a step.  Ends early after a
        diverged one.
    """
    def solve(equation, theta, state, last):
        began = clock(equation.start)
        root = find_root(equation, state.atol, state.rtol, last.root)
        solved = clock(root.z)
        if adjoint is None:
            with torch.no_grad():
                value = float(equation.loss(root.z))
            grads, q, n_g, n_vjp = None, None, 0, 0
        else:
            near = last.q if equation.warm_startable else None
            h = hypergradient(equation, theta, root, adjoint, near, state.eps)
            value, grads, q, n_g, n_vjp = (
                h.value, h.grads, h.q, h.n_g, h.n_vjp
            )
        return Step(
            theta, root.z, value, equation, grads, q, root,
            n_g=root.n_g + n_g, n_vjp=root.n_vjp + n_vjp,
            forward_time=solved - began, backward_time=clock(root.z) - solved,
        )

    yield from descend(problem, solve, outer, n_outer, resumed)


def descend(problem, solve, outer, n_outer, resumed=None):
    """The same for a method that is not a root finder and an adjoint.

    Parameters
    ----------
    problem, outer, n_outer, resumed
        As in :func:`run`.
    solve : callable, (Equation, theta, state, Step) -> Step
        An outer step at theta, from the outer optimiser's state and the step
        before: its z, loss and hypergradient, and what it alone has cost.

    Yields
    ------
    Step
        As in :func:`run`.
    """
    theta, z = problem.start()
    if resumed is None:
        state = outer.start(theta)
        theta = leaves(theta)
        equation = problem.draw(theta, z, 0)
        with torch.no_grad():
            step = Step(theta, z, float(equation.loss(z)), equation)
        yield _before(state, step)
    else:  # a step of which no more than the progress is known
        step = Step(theta, z, math.nan, None, **vars(resumed))
        state = step.state
    for k in range(step.n_outer + 1, n_outer + 1):
        theta = leaves(state.theta)
        equation = problem.draw(theta, step.z, k)
        this = solve(equation, theta, state, step)
        step = replace(
            this, n_outer=k, n_g=step.n_g + this.n_g,
            n_vjp=step.n_vjp + this.n_vjp,
            forward_time=step.forward_time + this.forward_time,
            backward_time=step.backward_time + this.backward_time,
        )
        if step.diverged or k == n_outer:
            yield step
            return
        first = math.nan if step.root is None else step.root.first_residual
        state = outer.step(state, step.value, step.grads, first)
        yield _before(state, step)
