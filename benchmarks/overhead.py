"""What the engine adds to the mathematics of a run.

    python -m benchmarks.speed overhead

A run's CPU seconds, less those inside g, the energy, the losses, autograd,
the products and pairs of L-BFGS (all timed in place), less those of the
solver's vector operations on z (timed apart, times how often they are made),
less those of the timers.  What is left is Python: the loops of the engine,
the finder and the line search.  One thread, medians of runs.
"""
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import torch
from sklearn.datasets import load_breast_cancer

from benchmark_shine.adjoint import ConjugateGradient, Shine
from benchmark_shine.data.tables import split, two_classes
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.outer import Hoag
from benchmark_shine.problems import Logistic
from benchmark_shine.root import LBFGS
from benchmark_shine.root.lbfgs_inverse import LBFGSInverse
from benchmark_shine.timing import medians

clock = time.process_time
OPERATIONS = ("push", "project", "refresh", "combine", "clear", "__init__")


class Timers:
    """Seconds within wrapped calls; calls within calls count once."""

    def __init__(self):
        self.seconds, self.calls, self._inside = 0.0, {}, False

    def wrap(self, name, call):
        def timed(*args, **options):
            self.calls[name] = self.calls.get(name, 0) + 1
            if self._inside:
                return call(*args, **options)
            self._inside, began = True, clock()
            try:
                return call(*args, **options)
            finally:
                self.seconds += clock() - began
                self._inside = False

        return timed


def descend(problem, adjoint):
    scale = None if problem.scale == "secant" else problem.scale
    finder = LBFGS(30, scale=scale, keep_pairs=True)
    began = clock()
    method = Method(RootAndAdjoint(finder, adjoint), Hoag(), 30)
    *_, (step, totals, _) = method.run(problem)
    return clock() - began, step, totals.n_vjp


def vector_work(step, n_vjp, timers):
    """Seconds of the operations on z outside the wrapped calls."""
    z, B = step.z, step.root.inverse
    u, v = z + 1, 2 * z

    def iteration():  # of root/lbfgs.py
        return (
            u.neg_(), float(z @ u), v - u, v - z, float(z @ u), float(u @ u),
            float(z @ z), float(z.norm()),
        )

    def trial():  # of root/line_search.py
        return torch.add(z, u, alpha=0.3), float(z @ u)

    def product():  # of adjoint.py, conjugate gradients
        return (
            float(z.norm()), float(z @ u), z + 0.3 * u, v - 0.3 * u,
            float(z @ z), z + 0.3 * u,
        )

    found = medians({
        # a pass over the pairs, which leaves z where a run finds it: not in
        # the caches
        "pass": lambda: B.project(z), "iteration": iteration,
        " pass": lambda: B.project(z), "trial": trial,
        "  pass": lambda: B.project(z), "product": product,
    }, 100)
    return (
        timers.calls["push"] * found["iteration"]
        + timers.calls["energy"] * found["trial"]
        + n_vjp * found["product"]
    )


def overhead(problem, adjoint):
    """Share of one run that is not mathematics."""
    timers, draw = Timers(), problem.draw

    def drawn(*args):
        equation = draw(*args)
        return replace(equation, **{
            part: timers.wrap(part, getattr(equation, part))
            for part in ("g", "energy", "loss", "g_theta")
        })

    timed = [(problem, "draw", drawn)] + [
        (owner, name, timers.wrap(name, getattr(owner, name)))
        for owner, names in (
            (LBFGSInverse, OPERATIONS), (torch.autograd, ("grad",)),
        ) for name in names
    ]
    with ExitStack() as patches:
        for owner, name, wrapped in timed:
            patches.enter_context(patch.object(owner, name, wrapped))
        seconds, step, n_vjp = descend(problem, adjoint)
    idle = Timers().wrap("", int)
    timing = medians({
        "": lambda: [idle() for _ in range(1000)],
        "untimed": lambda: [int() for _ in range(1000)],
    }, 20)
    timing = (timing[""] - timing["untimed"]) / 1000
    seconds -= sum(timers.calls.values()) * timing
    left = seconds - timers.seconds - vector_work(step, n_vjp, timers)
    return left / seconds


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    parts = split(X, two_classes(y), 0, 0.5)
    scale = parts[0][0].std(axis=0)
    return Logistic(*((X / scale, y) for X, y in parts), seed=0)


def main(newsgroups, repeats=3):
    for data, problem in (
        ("20news", newsgroups), ("breast_cancer", breast_cancer()),
    ):
        for name, adjoint in (
            ("SHINE", Shine()), ("HOAG", ConjugateGradient()),
        ):
            descend(problem, adjoint)
            shares = [overhead(problem, adjoint) for _ in range(repeats)]
            print(f"{data}, {name}: {statistics.median(shares):.1%} of a run "
                  f"is overhead ({min(shares):.1%} to {max(shares):.1%})",
                  flush=True)
