"""Whole runs on 20 newsgroups, with and without energies along lines.

The problem is figure 1's of seed 0, from scikit-learn's cache.  Without lines,
each trial of a line search evaluates the energy and its gradient.
"""
import sys
import time
from dataclasses import replace

import numpy as np
import torch
from sklearn.datasets import fetch_20newsgroups_vectorized

from benchmark_shine.adjoint import ConjugateGradient, Shine, z_as_q0
from benchmark_shine.bench.protocols import settings_of
from benchmark_shine.data.tables import split
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.outer import Hoag, Secant, from_now
from benchmark_shine.problems import Logistic
from benchmark_shine.root import LBFGS

from .frame import ratio

# Outer loss at the optimum, by tight solves on a grid of theta.
OPTIMUM = 85.6611
REPEATS = 3


def load():
    """Load the problem, and its training part (X, y) for SciPy."""
    try:
        X, y = fetch_20newsgroups_vectorized(
            subset="all", return_X_y=True, download_if_missing=False
        )
    except OSError:
        sys.exit("20 newsgroups is not here; get it with: "
                 "benchopt prepare . -d 20news")
    parts = split(X, np.where(y < 10, -1, 1), 0)
    X, y = parts[0]
    X.indices, X.indptr = X.indices.astype("i4"), X.indptr.astype("i4")
    return Logistic(*parts, seed=0, scale=1.0), X, y.astype(float)


def published(find_root, adjoint, decay):
    """Build 30 outer steps in the published protocol."""
    outer = Hoag(decay=decay, anchor=from_now, moves=2)
    return Method(RootAndAdjoint(find_root, adjoint), outer, 30)


def method(name, problem, protocol):
    """Build SHINE or HOAG with the settings of figure 2, or the fair ones."""
    figure = "fig2" if protocol == "published" else None
    s = settings_of(name, problem, protocol, figure)
    finder = LBFGS(
        s["memory"], s["max_iter"], s["c2"], scale=s["scale"],
        keep_pairs=s["keep_pairs"], criterion=s["criterion"],
    )
    exact = ConjugateGradient(
        **{"default_q0": z_as_q0} if s["first_q"] == "z" else {}
    )
    adjoint = Shine() if name == "SHINE" else exact
    if figure:
        return published(finder, adjoint, s["decay"])
    step = RootAndAdjoint(finder, adjoint)
    return Method(step, Secant(s["tol"], s["decay"]), 30)


class WithoutLines:
    """A problem whose energies know nothing along lines."""

    def __init__(self, problem):
        self.start, self._draw = problem.start, problem.draw

    def draw(self, theta, z, k):
        """Draw the equation of outer step k."""
        equation = self._draw(theta, z, k)
        return replace(equation, energy=lambda z: equation.energy(z))


def run(method, problem):
    """Run a method: CPU seconds, and its last point."""
    began = time.process_time()
    *_, point = method.run(problem)
    return time.process_time() - began, point


def compare(name, protocol, problem):
    """Return the line of a whole run beside the one without lines."""
    ours = method(name, problem, protocol)
    pairs = [
        (run(ours, problem), run(ours, WithoutLines(problem)))
        for _ in range(REPEATS)
    ]
    seconds = np.array([[side[0] for side in pair] for pair in pairs])
    line = ratio(f"{name}, {protocol}: 30 outer steps", *seconds.T,
                 "without lines", "s")
    totals = pairs[0][0][1].totals
    print(f"  evaluations: {totals.n_g}, of which without a product "
          f"{totals.n_cheap}; products with Jᵀ: {totals.n_vjp}")
    return line


def main(folder):
    """Return the lines of two methods in two protocols; write no file."""
    torch.set_num_threads(1)
    problem, *_ = load()
    return [
        compare(name, protocol, problem)
        for protocol in ("published", "fair") for name in ("SHINE", "HOAG")
    ]
