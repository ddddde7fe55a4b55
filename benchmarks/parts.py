"""Where the time of a step goes, one thread: stacked bars by method."""
import sys
import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmark_shine.adjoint import (
    ConjugateGradient, JacobianFree, Shine, z_as_q0,
)
from benchmark_shine.bench.network import broyden_steps
from benchmark_shine.data.pictures import pictures
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.outer import GradientOptimizer
from benchmark_shine.problems import MDEQ
from benchmark_shine.problems.mdeq import CONFIGURATIONS
from benchmark_shine.root import LBFGS, Broyden
from datasets import cifar10

from . import newsgroups
from .frame import ratio

BILEVEL = ["products with X", "L-BFGS", "adjoint", "rest"]
NETWORK = [
    "f", "derivatives of f", "solver", "head, stem, loss", "optimiser", "rest",
]
OUTSIDE = ["solver", "head, stem, loss", "rest"]
COLOURS = ["#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "0.6"]
STEPS = 4  # training steps measured, after one


class Watch:
    """Add up CPU seconds by part; a part within another interrupts it."""

    def __init__(self):
        self._stack = ["rest"]
        self.reset()

    def reset(self):
        """Begin anew, in the part of now."""
        self._began, self.seconds = time.process_time(), defaultdict(float)

    def _lap(self):
        now = time.process_time()
        self.seconds[self._stack[-1]] += now - self._began
        self._began = now

    def turn(self, part):
        """Say that from now on another part is at work."""
        self._lap()
        self._stack[-1] = part

    def of(self, part, function):
        """Wrap a function whose time belongs to a part."""
        def called(*args):
            self._lap()
            self._stack.append(part)
            try:
                return function(*args)
            finally:
                self._lap()
                self._stack.pop()

        return called

    def from_here(self, part, tensor):
        """Turn to a part where a backward pass reaches a tensor."""
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: self.turn(part))


class WatchedMatrix:
    """A design matrix X whose products are timed."""

    def __init__(self, X, watch):
        self._X, self._watch = X, watch

    def __getattr__(self, name):
        return getattr(self._X, name)

    @property
    def T(self):
        return WatchedMatrix(self._X.T, self._watch)

    def __matmul__(self, v):
        return self._watch.of("products with X", self._X.__matmul__)(v)


def watched_equation(equation, watch):
    """Time f, its derivatives, and what a backward pass does in turn."""
    def g(z):
        residual = watch.of("f", equation.g)(z)
        if not z.requires_grad:  # to be differentiated in theta
            watch.from_here("derivatives of f", residual)
        return residual

    def loss(z):
        watch.from_here("solver", z)
        return watch.of("head, stem, loss", equation.loss)(z)

    for tensor in equation.theta_parts:
        watch.from_here("head, stem, loss", tensor)
    return replace(equation, g=g, loss=loss, restrict=lambda index: watch.of(
        "f", equation.restrict(index)
    ))


class WatchedNetwork:
    """A network's problem, whose equations are timed."""

    def __init__(self, problem, watch):
        self._problem, self._watch = problem, watch
        self.start = problem.start

    def draw(self, theta, z, k):
        # reading the pictures takes a hundredth of what the stem takes
        draw = self._watch.of("head, stem, loss", self._problem.draw)
        return watched_equation(draw(theta, z, k), self._watch)


def watched_method(find_root, adjoint, outer, watch):
    """Build a method for networks whose steps are timed by their parts."""
    def solve(system):
        watch.turn("solver")
        vjp = watch.of("derivatives of f", system.vjp)
        return adjoint(replace(system, vjp=vjp))

    step = RootAndAdjoint(watch.of("solver", find_root), solve)
    return Method(
        watch.of("head, stem, loss", step), SimpleNamespace(
            start=outer.start, step=watch.of("optimiser", outer.step)
        ), STEPS + 2,
    )


def pictures_of(name, size, n):
    """Read n training pictures of CIFAR-10."""
    data = cifar10.Dataset.get_instance(**{
        "network": name, "size": size, "n_train": n, "n_test": 10,
    })
    try:
        return data.sources()
    except OSError as error:
        sys.exit(str(error))


def mdeq(name, size, batch):
    """Build a network of the paper on CIFAR-10, past its unrolled steps."""
    config = CONFIGURATIONS[name]
    recipe = replace(config.recipe, batch_size=batch, unrolled_steps=0)
    parts = pictures(*pictures_of(name, size, 256), size)
    return MDEQ(*parts, config, recipe)


def optimiser(recipe, atol):
    """Build the outer optimiser of a recipe, at a constant rate."""
    return GradientOptimizer(
        partial(recipe.optimizer, lr=recipe.rate), tol=recipe.backward_tol,
        decay=1.0, atol=atol, clip=recipe.clip,
    )


def network(problem, adjoint):
    """Measure the seconds of a training step by part."""
    watch, recipe = Watch(), problem.recipe
    method = watched_method(
        Broyden(recipe.forward_steps, recipe.forward_steps), adjoint,
        optimiser(recipe, problem.atol), watch,
    )
    points = method.run(WatchedNetwork(problem, watch))
    next(points), next(points)
    watch.reset()
    for _ in range(STEPS):
        next(points)
    watch.turn("rest")
    return {part: watch.seconds[part] / STEPS for part in NETWORK}


def bilevel(adjoint, decay):
    """Measure the seconds of an outer step on 20 newsgroups by part."""
    watch, (problem, *_) = Watch(), newsgroups.load()
    for name in "train", "validation":
        part = getattr(problem, name)
        setattr(problem, name, replace(part, X=WatchedMatrix(part.X, watch)))

    def solve(system):
        # nine tenths of a product with J are two products with X
        vjp = watch.of("products with X", system.vjp)
        return adjoint(replace(system, vjp=vjp))

    method = newsgroups.published(
        watch.of("L-BFGS", LBFGS(memory=30)), watch.of("adjoint", solve),
        decay,
    )
    points = method.run(problem)
    next(points)
    watch.reset()
    n_steps = len(list(points))
    watch.turn("rest")
    return {part: watch.seconds[part] / n_steps for part in BILEVEL}


def draw(panels, path):
    """Draw a panel per problem: a bar per method, stacked by part."""
    figure = Figure(figsize=(7.0, 2.4), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    sides = iter(("left", "right"))  # one legend for all networks
    for axis, (title, bars) in zip(figure.subplots(1, len(panels)),
                                   panels.items()):
        table = 1e3 * pd.DataFrame(bars).T.iloc[::-1]
        left = 0.0
        for part, colour in zip(table.columns, COLOURS):
            axis.barh(table.index, table[part], left=left, color=colour,
                      label=part)
            left = left + table[part]
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("ms of CPU time a step", fontsize=8)
        axis.tick_params(labelsize=7)
        if side := next(sides, None):
            figure.legend(
                *axis.get_legend_handles_labels(), fontsize=6, ncols=3,
                frameon=False, loc=f"outside lower {side}",
            )
    figure.savefig(path)


def lines_of(name, bars):
    """Return how much of a step lies outside f, as lines of the table."""
    lines = []
    for method, seconds in bars.items():
        whole = sum(seconds.values())
        for what, parts in ("solver", ["solver", "rest"]), (
                "all but f and optimiser", OUTSIDE):
            lines.append(ratio(
                f"{name}, {method}: {what}", sum(map(seconds.get, parts)),
                whole, "the training step",
            ))
    return lines


def main(folder):
    """Write parts.csv and parts.png; return the shares of a step."""
    torch.set_num_threads(1)
    panels, lines = {"20 newsgroups": {
        "SHINE": bilevel(Shine(), 0.78),
        "HOAG": bilevel(ConjugateGradient(default_q0=z_as_q0), 0.9),
        "Jacobian-free": bilevel(JacobianFree(), 0.78),
    }}, []
    for name, size, batch in ("tiny", 32, 32), ("large", 32, 8):
        problem = mdeq(name, size, batch)
        bars = {
            "SHINE": network(problem, Shine()),
            "HOAG": network(problem, broyden_steps(
                problem.recipe.backward_steps
            )),
            "Jacobian-free": network(problem, JacobianFree()),
        }
        title = f"MDEQ {name.upper()}, batch {batch}"
        panels[title] = bars
        lines += lines_of(title, bars)
    table = pd.concat({
        title: pd.DataFrame(bars).T for title, bars in panels.items()
    }, names=["problem", "method"])
    table.assign(fingerprint=fingerprint()).to_csv(folder / "parts.csv")
    draw(panels, folder / "parts.png")
    return lines
