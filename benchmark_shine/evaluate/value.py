"""The value function F of a bi-level problem, exact at every theta.

With one theta, tight solves are made at the nodes of a fixed grid alone, where
a method comes by, and all methods share them.  Between four nodes F is the
polynomial of degree 7 through F and dF/dtheta at each (Stoer and Bulirsch,
*Introduction to Numerical Analysis*, 2002, section 2.1.5), q the cubic through
the four.  A cell is halved until its measured error is small.
"""
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .store import store_of
from .tight import ADJOINT_TOL, DENSE, Exact, TightSolver

# The bounds of theta, the coarse grid that shows where F has its valleys, the
# cells of the interpolant and the smallest of these.
BOX, COARSE, WIDEST, NARROWEST = 12.0, 3.0, 1.0, 1 / 16

# Errors of F that are small, in parts of its range: near the optimum, and
# elsewhere, where they grow with a part of F - min F.
FINE, ROUGH, GROWTH = 1e-7, 1e-6, 1e-4

# With several thetas: where the descents to the optimum start, their most
# iterations, and those for which the best of them goes on; a third of both
# where z is long and a solve takes seconds.
STARTS, DESCENT, FURTHER = (-4.0, 0.0, 4.0), 50, 300

# Most entries of dz*/dtheta with which the descents take minutes: with more of
# them the optimum is said to be unknown.
MOST = 1_000_000

# Relative errors of formulas.
ROUNDING = 1e-12

# Nodes from which the guess of a new node is extrapolated.
NEIGHBOURS = 3


@dataclass(frozen=True)
class Reading:
    """Hold F and its derivatives at one theta, with their errors.

    Parameters
    ----------
    value, error : float
        F and its error; NaN where it is not known.
    grads : Tensor, shape (n_theta,)
        dF/dtheta.
    grads_error : float
        Of its norm.
    q : Tensor, shape (d,)
    q_error : float
        Relative error of q.
    """

    value: float
    error: float
    grads: Tensor
    grads_error: float
    q: Tensor
    q_error: float


class ValueFunction:
    """Read F of a problem with one theta and a unique z*(theta).

    Parameters
    ----------
    problem : BilevelProblem
        With ``unique_root``.
    """

    def __init__(self, problem):
        self._problem = problem
        self._solve = TightSolver(problem).at
        (theta,), self._start = problem.start()
        self._like = theta
        self._nodes, self._errors, self._optimum = {}, {}, None

    @cached_property
    def _store(self):
        return store_of(self._problem)

    def at(self, theta):
        """Read F between nodes; outside of the box, it is solved for."""
        if not abs(theta) <= BOX:
            return self.solve(theta)
        width = WIDEST
        while True:
            if theta % width == 0:
                return self.solve(theta)
            found = self._interpolated(theta, width)
            if not found.error > self._allowed(found.value) or (
                width <= NARROWEST
            ):
                return found
            width /= 2

    def solve(self, theta):
        """Solve for F at one theta, once for all runs."""
        return _solved(self._node(theta))

    def optimum(self):
        """Find the least value of F in the box.

        The coarse grid shows the valleys by the sign of dF/dtheta; each is
        followed down to its bottom, where F is solved for.
        """
        if self._optimum is None:
            self._optimum = _kept(self._store, self._least)
        return self._optimum

    def _least(self):
        found = [(node.value, theta) for theta, node in self._coarse]
        for (a, left), (b, right) in zip(self._coarse, self._coarse[1:]):
            if left.slope < 0 < right.slope:
                theta = self._bottom(a, b)
                found.append((self._node(theta).value, theta))
        return min(pair for pair in found if math.isfinite(pair[0]))

    def _bottom(self, a, b):
        """Bisect on the sign of dF/dtheta between a and b."""
        while b - a > 1e-9:
            middle = (a + b) / 2
            falls = float(self.at(middle).grads) < 0
            a, b = (middle, b) if falls else (a, middle)
        return (a + b) / 2

    @cached_property
    def _coarse(self):
        """Nodes over the whole box, solved from strong to weak penalties."""
        thetas = np.arange(BOX, -BOX - COARSE, -COARSE).tolist()
        return [(theta, self._node(theta)) for theta in thetas][::-1]

    def _allowed(self, value):
        values = [node.value for _, node in self._coarse]
        range_ = np.nanmax(values) - np.nanmin(values)
        above = GROWTH * (value - np.nanmin(values))
        return min(max(FINE * range_, above), ROUGH * range_)

    def _interpolated(self, theta, width):
        nodes = self._cell(theta, width)
        cell = width, math.floor(theta / width)
        if cell not in self._errors:
            self._errors[cell] = _cell_errors(nodes, theta)
        return _interpolated(nodes, theta, *self._errors[cell])

    def _cell(self, theta, width):
        """The four nodes around theta, in the box: two lie on each side."""
        first = (math.floor(theta / width) - 1) * width
        first = min(max(first, -BOX), BOX - 3 * width)
        thetas = [first + i * width for i in range(4)]
        return [(theta, self._node(theta)) for theta in thetas]

    def _node(self, theta):
        if theta not in self._nodes:
            name = theta.hex()
            node = _unpacked(self._store.load(name), theta, self._start)
            if node is None:
                node = self._made(theta)
                if math.isfinite(node.value):
                    self._store.save(name, _packed(node, theta))
            self._nodes[theta] = node
        return self._nodes[theta]

    def _made(self, theta):
        leaf = torch.full_like(self._like, theta)
        found = self._solve((leaf,), *self._guess(theta, leaf))
        return Exact(
            found.z.float(), found.q.float(), found.value, found.grads,
            found.error,
        )

    def _guess(self, theta, leaf):
        """Extrapolate z and q from the nearest nodes, if that is any good."""
        equation = self._problem.draw((leaf,), self._start, 1)
        known = [
            t for t, node in self._nodes.items() if math.isfinite(node.value)
        ]
        nearest = sorted(known, key=lambda t: abs(t - theta))[:NEIGHBOURS]
        guesses = [(self._start, None), (torch.zeros_like(self._start), None)]
        for thetas in nearest[:1], nearest:
            weights = lagrange(thetas, theta)
            nodes = [self._nodes[t] for t in thetas]
            if nodes:
                guesses.append(tuple(
                    sum(w * v.double() for w, v in zip(weights, vectors))
                    for vectors in zip(*((n.z, n.q) for n in nodes))
                ))
        return min(guesses, key=lambda guess: equation.energy(guess[0])[0])


class ClosedForm:
    """Read F of a problem that has formulas for it.

    Parameters
    ----------
    problem : BilevelProblem
        With ``solution`` and ``optimum``.
    """

    def __init__(self, problem):
        self._problem = problem

    def at(self, theta, z=None, q=None):
        """Read F at theta, a tuple of Tensor; no guess is needed."""
        theta = tuple(t.detach() for t in theta)
        found = self._problem.solution(theta)
        return Reading(
            found.value, ROUNDING * abs(found.value), found.grads,
            ROUNDING * float(found.grads.norm()), found.q, ROUNDING,
        )

    def optimum(self):
        """Return the least value of F."""
        return self._problem.optimum()[0]


class ManyThetas:
    """Read F of a problem with several thetas and a unique z*(theta).

    Parameters
    ----------
    problem : BilevelProblem
        With ``unique_root``.
    """

    def __init__(self, problem):
        self._problem = problem
        self._solve = TightSolver(problem).at
        self._optimum = None

    def at(self, theta, z, q=None):
        """Solve at theta, a tuple of Tensor, from guesses of z and q."""
        return _solved(self._solve(theta, z, q))

    def optimum(self):
        """Find a low value of F in the box, by descents.

        L-BFGS-B of SciPy descends the exact F from three starts, each one
        number for all entries of theta, and goes on from the best end.  F
        is not convex: nothing says that there is no lower value.  The
        optimum is NaN, unknown, where dz*/dtheta has more than MOST
        entries: the descents would take an hour.
        """
        theta, z = self._problem.start()
        if len(z) * sum(t.numel() for t in theta) > MOST:
            return math.nan
        if self._optimum is None:
            self._optimum = _kept(store_of(self._problem), self._least)
        return self._optimum

    def _least(self):
        theta, z = self._problem.start()
        n, share = sum(t.numel() for t in theta), 1 + 2 * (len(z) > DENSE)
        found = [
            self._descended(np.full(n, start), DESCENT // share)
            for start in STARTS
        ]
        _, best = min(found, key=lambda end: end[0])
        return self._descended(best, FURTHER // share)

    def _descended(self, start, n_iterations):
        from scipy.optimize import minimize

        first, z = self._problem.start()
        guess, unit = [z, None], self._problem.unit

        def function(x):
            found = self._solve(_unflattened(x, first), *guess)
            if not math.isfinite(found.value):
                return math.inf, np.zeros_like(x)
            guess[:] = found.z, found.q
            return found.value / unit, found.grads.numpy() / unit

        result = minimize(
            function, start, jac=True, method="L-BFGS-B",
            bounds=[(-BOX, BOX)] * len(start), options={
                "maxiter": n_iterations, "ftol": 1e-11, "gtol": 1e-9,
                "maxcor": 30,
            },
        )
        return unit * float(result.fun), result.x


def _unflattened(x, like):
    """Cut a vector into tensors of the shapes of theta."""
    parts = torch.as_tensor(x).split([t.numel() for t in like])
    return tuple(
        part.reshape(t.shape).to(t) for part, t in zip(parts, like)
    )


def _packed(node, theta):
    return {
        "theta": theta, "z": node.z.numpy(), "q": node.q.numpy(),
        "value": node.value, "grads": node.grads.numpy(),
        "error": node.error,
    }


def _unpacked(kept, theta, like):
    """The node of a file, or None where the file is of something else."""
    try:
        if float(kept["theta"]) != theta or kept["z"].shape != like.shape:
            return None
        return Exact(
            torch.from_numpy(kept["z"]), torch.from_numpy(kept["q"]),
            float(kept["value"]), torch.from_numpy(kept["grads"]),
            float(kept["error"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _kept(store, find):
    """Read the optimum of a store, or find it: theta and the value."""
    kept = store.load("optimum")
    try:
        return float(kept["value"])
    except (KeyError, TypeError, ValueError):
        value, theta = find()
        store.save("optimum", {"theta": theta, "value": value})
        return value


def _solved(node):
    return Reading(
        node.value, node.error, node.grads,
        ADJOINT_TOL * float(node.grads.norm()), node.q, ADJOINT_TOL,
    )


def _interpolated(nodes, theta, error, slope_error):
    """Read F, dF/dtheta and q between four nodes."""
    xs = [x for x, _ in nodes]
    value, slope = hermite(xs, _data(nodes), theta)
    q, q_error = _combined(xs, [node.q for _, node in nodes], theta)
    return Reading(
        value, error, torch.tensor([slope], dtype=torch.float64),
        slope_error, q, q_error,
    )


def _data(nodes):
    return [(node.value, node.slope) for _, node in nodes]


def _cell_errors(nodes, theta):
    """Estimate the errors of value and slope over the cell around theta.

    From degree 3 to 5 to 7 the polynomial changes by less and less; the
    error of the last is taken to fall by that ratio once more, but to no
    less than half of the last change.  At degree 5 there are two
    polynomials, with one node more on either side.  The errors of the nodes
    are added.
    """
    xs, data = [x for x, _ in nodes], _data(nodes)
    i = min(max(int(np.searchsorted(xs, theta)) - 1, 0), 2)
    first = [part for part in (slice(i - 1, i + 2), slice(i, i + 3))
             if part.start >= 0 and part.stop <= 4]
    points = np.linspace(xs[i], xs[i + 1], 7)[1:-1]

    def of(part):
        return np.array([hermite(xs[part], data[part], x) for x in points])

    three, seven = of(slice(i, i + 2)), of(slice(0, 4))
    fives = [of(part) for part in first]
    before, last = (
        np.max([np.abs(five - other).max(axis=0) for five in fives], axis=0)
        for other in (three, seven)
    )
    errors = last * np.clip(last / np.maximum(before, 1e-300), 0.5, 1)
    return errors + [
        max(node.error for _, node in nodes),
        ADJOINT_TOL * max(abs(node.slope) for _, node in nodes),
    ]


def hermite(xs, data, x):
    """Evaluate the polynomial with given values and slopes, and its slope.

    Parameters
    ----------
    xs : sequence of float
        n nodes.
    data : sequence of (float, float)
        Value and slope at each.
    x : float

    Returns
    -------
    value, slope : float
        Of the polynomial of degree 2 n - 1, by divided differences (Stoer
        and Bulirsch 2002, section 2.1.5).
    """
    nodes = np.repeat(xs, 2)
    values, slopes = (np.array(column) for column in zip(*data))
    column = np.repeat(values, 2)
    coefficients = [column[0]]
    for order in range(1, len(nodes)):
        gaps = nodes[order:] - nodes[:-order]
        rises = np.diff(column)
        if order == 1:
            column = np.where(
                gaps == 0, np.repeat(slopes, 2)[1:],
                rises / np.where(gaps == 0, 1, gaps),
            )
        else:
            column = rises / gaps
        coefficients.append(column[0])
    value = slope = 0.0
    for coefficient, node in zip(coefficients[::-1], nodes[::-1]):
        slope = slope * (x - node) + value
        value = value * (x - node) + coefficient
    return float(value), float(slope)


def lagrange(xs, x):
    """Return the weights of the values at nodes xs in the polynomial at x."""
    return [
        math.prod((x - b) / (a - b) for b in xs if b != a) for a in xs
    ]


def _combined(xs, qs, theta):
    """Interpolate q, and estimate its relative error.

    That is half of what the fourth node changes.
    """
    nearest = sorted(range(4), key=lambda i: abs(xs[i] - theta))
    quadratic, cubic = (
        sum(w * qs[i] for w, i in zip(lagrange(
            [xs[i] for i in nearest[:n]], theta
        ), nearest)) for n in (3, 4)
    )
    size = max(float(cubic.norm()), 1e-300)
    return cubic, float((cubic - quadratic).norm()) / size / 2
