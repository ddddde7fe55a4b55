"""The value function F of a bi-level problem, exact at every theta.

For a linear model with one theta, solves are made at the nodes of a fixed grid
alone, where a method comes by, and all methods share them.  Between four nodes
the model is solved in the span of the z and q of the four, see `span`.  A cell
is halved until its measured error is small.
"""
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .span import Snapshot, Span
from .store import store_of
from .tight import ADJOINT_TOL, DENSE, TightSolver

# The bounds of theta, the coarse grid that shows where F has its valleys, the
# cells of the interpolant and the smallest of these.
BOX, COARSE, WIDEST, NARROWEST = 12.0, 3.0, 1.0, 1 / 16

# Errors of F that are small, in parts of its range: near the optimum, and
# elsewhere, where they grow with a part of F - min F.
FINE, PART, GROWTH = 1e-7, 1e-6, 1e-4

# Relative accuracy of z and q at the nodes and on the coarse grid; F in their
# span has an error of about the square of the first.
NODE, ROUGH = 1e-4, 1e-2

# Where the errors of a cell are measured, in parts of it; the least part of
# the last change that is an error; the relative errors of F, dF/dtheta and q
# that come from the nodes.
POINTS, LEAST, FROM_NODES = (0.25, 0.5, 0.75), 0.2, (1e-8, 1e-5, NODE)

# With several thetas: where the descents to the optimum start, their most
# iterations, and those for which the best of them goes on; a third of both
# where z is long and a solve takes seconds.
STARTS, DESCENT, FURTHER = (-4.0, 0.0, 4.0), 50, 300

# Most entries of dz*/dtheta with which the descents take minutes: with more of
# them the optimum is said to be unknown.
MOST = 1_000_000

# Relative errors of formulas.
ROUNDING = 1e-12

# Nodes in whose span the z and q of a new node are guessed.
NEIGHBOURS = 4


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


@dataclass(frozen=True)
class Cell:
    """Hold the span of four nodes, and its errors between the inner two.

    Parameters
    ----------
    span : Span
    lowest : float
        The least value of F that was read.
    error, slope_error, q_error : float
        Of F and of dF/dtheta; relative, of q.
    """

    span: Span
    lowest: float
    error: float
    slope_error: float
    q_error: float


class ValueFunction:
    """Read F of a linear model with one theta and a unique z*(theta).

    Parameters
    ----------
    problem : PenalisedModel
        With ``unique_root``.
    """

    def __init__(self, problem):
        self._problem = problem
        self._solve = TightSolver(problem).at
        (theta,), self._start = problem.start()
        self._like = theta
        self._nodes, self._cells, self._optimum = {}, {}, None
        self._known = {}  # snapshots from which a new one is guessed

    @cached_property
    def _store(self):
        return store_of(self._problem)

    def at(self, theta):
        """Read F between nodes; outside of the box, it is solved for."""
        if not abs(theta) <= BOX:
            return self.solve(theta)
        cell = self._cell_around(theta)
        if cell is None:
            return self.solve(theta)
        found = cell.span.at(theta)
        return Reading(
            found.value, cell.error,
            torch.tensor([found.slope], dtype=torch.float64),
            cell.slope_error, cell.span.vector(found.q), cell.q_error,
        )

    def solve(self, theta):
        """Solve for F at one theta."""
        return _exact(self._solved(theta))

    def optimum(self):
        """Find the least value of F in the box.

        The coarse grid shows the valleys by the sign of dF/dtheta; each is
        followed down to its bottom.
        """
        if self._optimum is None:
            self._optimum = _kept(self._store, self._least)
        return self._optimum

    def _least(self):
        thetas, values, slopes = self._coarse
        found = [thetas[int(np.nanargmin(values))]] + [
            self._bottom(thetas[i:i + 2], slopes[i:i + 2])
            for i in range(len(thetas) - 1) if slopes[i] < 0 < slopes[i + 1]
        ]
        return min((self.at(theta).value, theta) for theta in found)

    def _bottom(self, ends, slopes):
        """Find the root of dF/dtheta between two nodes of the coarse grid."""
        from scipy.optimize import brentq

        def slope(theta):
            if theta in ends:
                return slopes[ends.index(theta)]
            return float(self.at(theta).grads)

        return brentq(slope, *ends, xtol=1e-9)

    @cached_property
    def _coarse(self):
        """Thetas over the whole box, rough values and slopes of F there."""
        thetas = np.arange(-BOX, BOX + COARSE, COARSE).tolist()
        kept = self._store.load("coarse") or {}
        if kept.keys() != {"values", "slopes"}:
            # from strong to weak penalties
            found = [self._solved(t, ROUGH) for t in thetas[::-1]][::-1]
            kept = {
                "values": np.array([node.value for node in found]),
                "slopes": np.array([node.slope for node in found]),
            }
            self._store.save("coarse", kept)
        return thetas, kept["values"].tolist(), kept["slopes"].tolist()

    def _allowed(self, value):
        _, values, _ = self._coarse
        range_ = np.nanmax(values) - np.nanmin(values)
        above = GROWTH * (value - np.nanmin(values))
        return min(max(FINE * range_, above), PART * range_)

    def _cell_around(self, theta):
        """Return the widest cell that is fine enough, None without roots."""
        width = WIDEST
        while True:
            place = width, min(math.floor(theta / width), BOX / width - 1)
            if place not in self._cells:
                self._cells[place] = self._cell(*place)
            cell = self._cells[place]
            if cell is None or width <= NARROWEST or (
                cell.error <= self._allowed(cell.lowest)
            ):
                return cell
            width /= 2

    def _cell(self, width, number):
        """Make the cell from number * width on, two nodes on either side."""
        first = min(max((number - 1) * width, -BOX), BOX - 3 * width)
        # from strong to weak penalties: the latter are guessed from the former
        nodes = [self._node(first + i * width) for i in (3, 2, 1, 0)][::-1]
        if None in nodes:
            return None
        left = round(number - first / width)
        points = [(number + part) * width for part in POINTS]
        two, four = (
            self._readings(chosen, points)
            for chosen in (nodes[left:left + 2], nodes)
        )
        threes = [
            self._readings(chosen, points)
            for i, chosen in ((0, nodes[:3]), (1, nodes[1:]))
            if 0 <= left - i <= 1
        ]
        return _cell_of(Span(self._problem, nodes), two, threes, four)

    def _readings(self, nodes, points):
        """Read F, dF/dtheta and q at some points from some nodes."""
        span = Span(self._problem, nodes)
        found = [span.at(theta) for theta in points]
        return (
            np.array([[at.value, at.slope] for at in found]),
            torch.stack([span.vector(at.q) for at in found]),
        )

    def _node(self, theta):
        """Return the snapshot at a theta of the grid, None without a root."""
        if theta not in self._nodes:
            name = theta.hex()
            kept = _unpacked(self._store.load(name), theta, self._start)
            if kept is not None:
                self._known[theta] = Snapshot(self._problem, kept)
            elif math.isfinite(self._solved(theta, NODE).value):
                kept = self._known[theta].vectors.numpy()
                self._store.save(name, {"theta": theta, "vectors": kept})
            self._nodes[theta] = self._known.get(theta)
        return self._nodes[theta]

    def _solved(self, theta, tol=None):
        leaf = torch.full_like(self._like, theta)
        found = self._solve((leaf,), *self._guess(theta), tol)
        if math.isfinite(found.value) and bool(found.q.isfinite().all()):
            self._known[theta] = Snapshot(self._problem, torch.stack([
                (v / max(float(v.norm()), 1e-300)).float()
                for v in (found.z, found.q)
            ]))
        return found

    def _guess(self, theta):
        """Guess z and q in the span of those at the nearest thetas."""
        if not self._known:
            return torch.zeros_like(self._start), None
        nearest = sorted(self._known, key=lambda t: abs(t - theta))
        span = Span(
            self._problem, [self._known[t] for t in nearest[:NEIGHBOURS]]
        )
        found = span.at(theta)
        return span.vector(found.z), span.vector(found.q)


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
        return _exact(self._solve(theta, z, q))

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


def _unpacked(kept, theta, like):
    """The vectors of a file, or None where the file is of something else."""
    try:
        if float(kept["theta"]) != theta or (
            kept["vectors"].shape != (2, len(like))
        ):
            return None
        return torch.from_numpy(kept["vectors"])
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


def _exact(node):
    return Reading(
        node.value, node.error, node.grads,
        ADJOINT_TOL * float(node.grads.norm()), node.q, ADJOINT_TOL,
    )


def _cell_of(span, two, threes, four):
    """Make a cell, and estimate its errors.

    From two to three to four nodes F changes by less and less; the error of
    the last is taken to fall by that ratio once more, but to no less than a
    part of the last change.  The errors that the nodes themselves have are
    added.
    """
    before, last = (
        np.max([_changes(three, other) for three in threes], axis=0)
        for other in (two, four)
    )
    ratio = np.clip(last / np.maximum(before, 1e-300), LEAST, 1)
    readings, q = four
    sizes = [
        np.abs(readings[:, 0]).max(), np.abs(readings[:, 1]).max(), 1.0
    ]
    error, slope_error, q_error = last * ratio + np.multiply(FROM_NODES, sizes)
    return Cell(span, readings[:, 0].min(), error, slope_error, q_error)


def _changes(one, other):
    """Return by how much F, dF/dtheta and q differ, q relatively."""
    (a, q), (b, p) = one, other
    gaps = (q - p).norm(dim=1) / q.norm(dim=1).clamp_min(1e-300)
    return np.array([*np.abs(a - b).max(axis=0), float(gaps.max())])
