"""Whole training steps beside torchdeq's: time and peak memory.

Same network, batch, forward tolerance and most steps forward, same number of
steps backward; both sides make the same outer step but for the root and its
gradient.  torchdeq is a rival: `make rivals` installs it.
"""
from dataclasses import dataclass
from functools import partial

import torch

from benchmark_shine.adjoint import QuasiNewtonSolve
from benchmark_shine.data.pictures import pictures
from benchmark_shine.engine import Method, RootAndAdjoint, Step, clock
from benchmark_shine.evaluate.memory import peak_memory
from benchmark_shine.problems import Recipe, SmallDEQ
from benchmark_shine.root import Anderson, Broyden

from .frame import ratio, sample
from .parts import mdeq, optimiser, pictures_of

REPEATS = 5
# torchdeq keeps six points, which have five differences
FINDERS = {
    "broyden": lambda n: Broyden(n, n), "anderson": partial(Anderson, 5),
}


@dataclass(frozen=True)
class Theirs:
    """Make an outer step by torchdeq's layer, implicit in the backward."""

    solver: str
    steps: int
    backward_steps: int
    find_root = adjoint = None

    def __call__(self, equation, theta, state, last):
        from torchdeq import get_deq  # an optional library

        deq = get_deq(
            f_solver=self.solver, b_solver=self.solver, ift=True,
            f_max_iter=self.steps, b_max_iter=self.backward_steps,
            f_tol=state.atol, b_tol=0.0,
        )
        began = clock(equation.start)
        with torch.enable_grad():
            (z,), _ = deq(lambda z: z - equation.g(z), equation.start)
            loss = equation.loss(z)
        grads = torch.autograd.grad(loss, theta)
        return Step(
            theta, z.detach(), float(loss.detach()), equation, grads,
            forward_time=clock(z) - began,
        )


def ours(solver, steps, backward_steps):
    """Build our outer step, with the original backward pass."""
    finder = FINDERS[solver]
    return RootAndAdjoint(finder(steps), QuasiNewtonSolve(
        finder(backward_steps), tol=0.0
    ))


def dense():
    """Build a contraction that all samples reach the tolerance of."""
    parts = pictures(*pictures_of("dense", 16, 256), 16)
    recipe = Recipe(
        batch_size=64, epochs=1, rate=1e-3, forward_steps=50,
        backward_steps=20,
    )
    return SmallDEQ(*parts, recipe, 512, 0.9)


def steps_of(problem, outer_step):
    """Return a function that makes a training step after the other."""
    outer = optimiser(problem.recipe, problem.atol)
    points = Method(outer_step, outer, 10 ** 6).run(problem)
    next(points)
    return partial(next, points)


def compare(name, problem, solver):
    """Compare a network's steps: a line of seconds, one of memory."""
    recipe = problem.recipe
    args = solver, recipe.forward_steps, recipe.backward_steps
    calls = {
        "ours": steps_of(problem, ours(*args)),
        "theirs": steps_of(problem, Theirs(*args)),
    }
    seconds = sample(calls, REPEATS)
    peak = {
        side: peak_memory(call, problem.device)[1] / 2 ** 20
        for side, call in calls.items()
    }
    what = f"{name}, {solver}: a training step"
    return [
        ratio(what, seconds["ours"], seconds["theirs"], "torchdeq"),
        ratio(f"{what}, peak memory", peak["ours"], peak["theirs"],
              "torchdeq", "MB"),
    ]


def main(folder):
    """Return the lines of two networks and two solvers."""
    torch.set_num_threads(1)
    networks = {"dense": dense(), "MDEQ TINY": mdeq("tiny", 16, 32)}
    return [
        line for name, problem in networks.items() for solver in FINDERS
        for line in compare(name, problem, solver)
    ]
