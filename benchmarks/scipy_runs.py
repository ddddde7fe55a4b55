"""30 outer steps on 20 newsgroups, each solve also by SciPy's L-BFGS-B.

L-BFGS-B is compiled and multiplies by SciPy's CSR: the authors' forward
solver.  The two sides alternate, solve by solve.
"""
import time

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from benchmark_shine.adjoint import ConjugateGradient, Shine, z_as_q0
from benchmark_shine.root import LBFGS

from . import newsgroups
from .frame import ratio

clock = time.process_time


class Converged(Exception):
    """Ends SciPy's solver where the tolerance is met."""


def compiled(X, y, start, weight, tol):
    """Solve by L-BFGS-B; return its number of evaluations."""
    n_calls = 0

    def value_and_gradient(z):
        nonlocal n_calls
        n_calls += 1
        margin = y * (X @ z)
        gradient = X.T @ (-y * expit(-margin)) + weight * z
        if np.linalg.norm(gradient) <= tol:
            raise Converged
        value = np.logaddexp(0, -margin).sum() + 0.5 * weight * (z @ z)
        return value, gradient

    try:
        minimize(
            value_and_gradient, start.numpy(), jac=True, method="L-BFGS-B",
            options={"maxcor": 30, "maxiter": 1000, "maxfun": 10_000,
                     "ftol": 0.0, "gtol": 0.0},
        )
    except Converged:
        pass
    return n_calls


class Both:
    """A root finder whose solves are repeated by SciPy, both timed."""

    def __init__(self, finder, problem, X, y):
        self.finder, self.problem, self.X, self.y = finder, problem, X, y
        self.per_call = []  # seconds an evaluation of each solve

    def draw(self, theta, z, k):
        """Draw the problem's equation, and keep its penalty."""
        self.weight = float(self.problem.penalty(theta).detach())
        return type(self.problem).draw(self.problem, theta, z, k)

    def __call__(self, equation, atol, rtol, warm_start):
        times = [clock()]
        root = self.finder(equation, atol, rtol, warm_start)
        times.append(clock())
        n_theirs = compiled(
            self.X, self.y, equation.start, self.weight,
            max(atol, rtol * root.first_residual),
        )
        times.append(clock())
        self.per_call.append(np.diff(times) / (root.n_g, n_theirs))
        return root


def whole_run(name, adjoint, memory, decay):
    """Run a method; return what an evaluation of each side costs."""
    problem, X, y = newsgroups.load()
    both = Both(LBFGS(memory=memory), problem, X, y)
    problem.draw = both.draw
    for _ in newsgroups.published(both, adjoint, decay).run(problem):
        pass
    return ratio(f"{name}: an evaluation, all included",
                 *np.transpose(both.per_call), "L-BFGS-B's")


def main(folder):
    """Return the lines of two methods; write no file."""
    torch.set_num_threads(1)
    # L-BFGS-B uses a BLAS of its own, whose idle threads spin: CPU seconds
    # would count them
    with threadpool_limits(1, user_api="blas"):
        return [
            whole_run("SHINE", Shine(), 30, 0.78),
            whole_run("HOAG", ConjugateGradient(default_q0=z_as_q0), 10, 0.9),
        ]
