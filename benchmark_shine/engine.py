"""The one loop that every method of the suite runs."""
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .equation import Equation
from .implicit import hypergradient
from .root import Root


@dataclass(frozen=True)
class Step:
    """One point of a convergence curve, with the costs of this step alone.

    z is the inner solution at this theta, and q belongs to both.

    Parameters
    ----------
    theta : tuple of Tensor
        The leaves that the equation closes over.
    z : Tensor, shape (d,) or (B, d)
    value : float
        Outer loss at (theta, z).
    equation : Equation
    grads : tuple of Tensor, or None
        Hypergradient; None at the start and in searches.
    q : Tensor, shaped like z, or None
    root : Root or None
    n_g, n_vjp : int
        Evaluations of g and products with Jᵀ.
    forward_time, backward_time : float
        Seconds in the root finder, and in the loss and its hypergradient.
    n_cheap : int
        Those of the ``n_g`` evaluations that took no product with the data.
    reconstruction_error : float
        Relative error of the start that `Reversible` walks back to; NaN for
        every other method.
    """

    theta: tuple[Tensor, ...]
    z: Tensor
    value: float
    equation: Equation
    grads: tuple[Tensor, ...] | None = None
    q: Tensor | None = None
    root: Root | None = None
    n_g: int = 0
    n_vjp: int = 0
    forward_time: float = 0.0
    backward_time: float = 0.0
    n_cheap: int = 0
    reconstruction_error: float = math.nan

    @property
    def n_outer(self):
        """Return the number of the outer step, 0 at the start."""
        return self.equation.step

    @property
    def diverged(self):
        """Return whether the loss, q or a gradient has a non-finite entry."""
        tensors = [*(self.grads or ()), *([] if self.q is None else [self.q])]
        return not (
            math.isfinite(self.value)
            and all(bool(t.isfinite().all()) for t in tensors)
        )


@dataclass(frozen=True)
class Totals:
    """The costs of a run since its start; ``totals + step`` adds a step.

    Parameters
    ----------
    n_outer : int
        Outer steps.
    n_g, n_vjp, forward_time, backward_time, n_cheap
        Sums of those of `Step`.
    """

    n_outer: int = 0
    n_g: int = 0
    n_vjp: int = 0
    forward_time: float = 0.0
    backward_time: float = 0.0
    n_cheap: int = 0

    def __add__(self, step):
        return Totals(
            self.n_outer + 1, self.n_g + step.n_g, self.n_vjp + step.n_vjp,
            self.forward_time + step.forward_time,
            self.backward_time + step.backward_time,
            self.n_cheap + step.n_cheap,
        )


class Point(NamedTuple):
    """What a run yields.

    Parameters
    ----------
    step : Step
    totals : Totals
        Costs up to and including this step.
    state : object
        State of the outer optimiser for the next step.  None where there is
        no next step, or where this state is not all that it needs: no run
        can be resumed there.
    """

    step: Step
    totals: Totals
    state: object = None


@dataclass(frozen=True)
class RootAndAdjoint:
    """The outer step of most methods: find a root, then solve for q.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, warm_start) -> Root
    adjoint : callable, AdjointSystem -> Tensor, or None
        None for methods that need no hypergradient.  Iterative adjoints
        start from the q of the step before, unless the equation is a new
        one.
    """

    find_root: Callable
    adjoint: Callable | None = None

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `Method` for the parameters.

        Returns
        -------
        Step
        """
        began = clock(equation.start)
        root = self.find_root(
            equation, state.atol, state.rtol, last and last.root
        )
        solved = clock(root.z)
        if self.adjoint is None:
            with torch.no_grad():
                value = float(equation.loss(root.z))
            grads, q, n_g, n_vjp = None, None, 0, 0
        else:
            q0 = last.q if last and equation.warm_startable else None
            found = hypergradient(
                equation, theta, root, self.adjoint, q0, state.eps
            )
            value, grads, q = found.value, found.grads, found.q
            n_g, n_vjp = found.n_g, found.n_vjp
        return Step(
            theta, root.z, value, equation, grads, q, root,
            n_g=root.n_g + n_g, n_vjp=root.n_vjp + n_vjp,
            forward_time=solved - began, backward_time=clock(root.z) - solved,
            n_cheap=root.n_cheap,
        )


@dataclass(frozen=True)
class Method:
    """What a method is made of, and how it runs on a problem.

    Parameters
    ----------
    outer_step : callable, (Equation, theta, state, last) -> Step
        `RootAndAdjoint` for most.  ``theta`` are the leaves that the
        equation closes over, ``state`` is the outer optimiser's (its
        ``atol``, ``rtol`` and ``eps`` are the tolerances of this step), and
        ``last`` is the Step before, None where a run is resumed.
    outer
        How theta moves: an outer optimiser, see
        :mod:`benchmark_shine.outer`.
    n_outer : int
        Outer steps.
    """

    outer_step: Callable
    outer: object
    n_outer: int

    @property
    def find_root(self):
        """Return the root finder of the outer step, None if it has none."""
        return getattr(self.outer_step, "find_root", None)

    @property
    def adjoint(self):
        """Return the adjoint of the outer step, None if it has none."""
        return getattr(self.outer_step, "adjoint", None)

    def run(self, problem, resume=None):
        """Descend the outer loss, one point per outer step.

        Parameters
        ----------
        problem
            ``start()`` gives (theta, z); ``draw(theta, z, k)`` gives the
            `Equation` of outer step k.
        resume : (Totals, state) or None
            Where an earlier run of this method was cut off: a Point's totals
            and state.

        Yields
        ------
        Point
            The start (unless resumed), then one per outer step.  Ends early
            after a diverged step.
        """
        theta, z = problem.start()
        if resume is None:
            state, totals = self.outer.start(theta), Totals()
            last = start(problem, theta, z)
            yield Point(last, totals, _enough(state, last))
        else:
            (totals, state), last = resume, None
        while totals.n_outer < self.n_outer:
            theta = leaves(state.theta)
            equation = problem.draw(theta, z, totals.n_outer + 1)
            last = _checked(self.outer_step(equation, theta, state, last))
            totals, z = totals + last, last.z
            if last.diverged or totals.n_outer == self.n_outer:
                yield Point(last, totals)
                return
            first = math.nan if last.root is None else last.root.first_residual
            state = self.outer.step(state, last.value, last.grads, first)
            yield Point(last, totals, _enough(state, last))


@dataclass(frozen=True)
class Loop:
    """A method with an outer loop of its own.

    Parameters
    ----------
    steps : callable, problem -> iterable of Step
        The start first (`engine.start`), then one Step per outer step, each
        with its own costs.  The engine adds them up, and ends the run after
        a diverged step.
    n_outer : int
        Outer steps that ``steps`` yields.
    """

    steps: Callable
    n_outer: int
    outer = find_root = adjoint = None

    def run(self, problem, resume=None):
        """Yield the points of the loop; it cannot be resumed."""
        totals = None
        for step in self.steps(problem):
            totals = Totals() if totals is None else totals + step
            yield Point(_checked(step), totals)
            if step.diverged:
                return


def start(problem, theta, z):
    """Evaluate the outer loss where a run starts.

    Parameters
    ----------
    problem
    theta, z
        Of ``problem.start()``.

    Returns
    -------
    Step
        At no cost, with new leaves for theta.
    """
    theta = leaves(theta)
    equation = problem.draw(theta, z, 0)
    with torch.no_grad():
        return Step(theta, z, float(equation.loss(z)), equation)


def _checked(step):
    """Return a step, whose gradients are as many as its theta."""
    if step.grads is not None and len(step.grads) != len(step.theta):
        raise ValueError(
            f"{len(step.grads)} gradients for {len(step.theta)} tensors in "
            f"theta at outer step {step.n_outer}; give one for each"
        )
    return step


def clock(like):
    """Read the time in seconds once the device of a tensor is idle."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return time.perf_counter()


def leaves(theta):
    """Copy the values of theta into new leaves of the graph."""
    return tuple(t.detach().clone().requires_grad_() for t in theta)


def _enough(state, step):
    """Return the state if the next step needs no more of this step."""
    return None if step.equation.warm_startable else state
