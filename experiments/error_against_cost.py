"""Measure the error of q, and of the hypergradient, against their cost.

    python -m experiments.error_against_cost --output outputs/errors.csv

No method moves theta here.  HOAG, the exact method, runs on each task under
the fair protocol, and the theta of its outer steps are the path that every
method is led along, at one tolerance that stays the same.  What a method finds
at the outer steps of `STEPS` is compared with the exact q and hypergradient at
the exact root of the same theta; what that one outer step took, in evaluations
of g and products with Jᵀ, forward and backward, is its cost.  A run for each
tolerance gives a method's curve.

Each method starts in two ways.  "warm": it has made all outer steps of the
path before this one, as in a run, and starts from its last root, its last q
and what it remembers.  "cold": it starts from the first z of the task, with
nothing.

A method is a solver and its settings, as "SHINE[backward_steps=5]": any whose
`Method` has an outer step; those with an outer loop of their own (SOBA) are
refused.  A Markdown file beside the rows says what came out.  One thread.
"""
import argparse
import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import torch

from benchmark_shine.adjoint import AdjointSystem, ConjugateGradient
from benchmark_shine.bench.lifecycle import NotForThisProblem
from benchmark_shine.checks import check_integer
from benchmark_shine.engine import Method, leaves
from benchmark_shine.evaluate.dense import refined
from benchmark_shine.evaluate.reference import errors_of
from benchmark_shine.evaluate.tight import TightSolver, hessian
from benchmark_shine.implicit import TransposedJacobian, hypergradient
from figures.error_against_cost import page, read_errors

from .rows import Rows
from .tasks import TASKS, made_of, method_of, problem_of

METHODS = (
    "HOAG", "HOAG[backward_steps=1]", "HOAG-limited",
    "HOAG[backward_steps=20]", "Recycled-PCG", "SHINE-PCG", "SHINE",
    "SHINE-refine", "SHINE-OPA", "SHINE-guarded", "SHINE-at-root",
    "SHINE-corrected", "Jacobian-Free", "Neumann", "AmIGO", "Nystrom",
    "SHINE[polish=1]", "HOAG[polish=1]", "Nystrom-PCG", "qNBO", "NBO",
    "LancBiO",
)
MEASURED = (
    "ridge", "text", "breast_cancer, by feature", "digits, by class",
    *(task for task in TASKS if task.startswith("quadratic")),
)
# The tasks and the seeds of each scale, unless others are asked for.
SCALES = {
    "quick": (MEASURED, 3), "paper": ((*MEASURED, "20news, 30 groups"), 10),
}
EXACT = "HOAG"
N_OUTER = 6
STEPS = 2, 4, 6
TOLERANCES = 1e-1, 1e-2, 1e-3, 1e-4, 1e-5
STARTS = "warm", "cold"
ERRORS = "q_error", "gradient_error", "z_error"
KEY = "task", "seed", "start", "method", "tol", "step"
# Entries of z up to which the reference is dense; relative residual of the
# linear solves of a longer z.
DENSE, TIGHT = 1000, 1e-11


@dataclass(frozen=True)
class Led:
    """The state of `AlongPath`: theta and its tolerances, the path's rest."""

    theta: tuple
    left: tuple
    atol: float
    eps: float
    rtol: float = 0.0


@dataclass(frozen=True)
class AlongPath:
    """Lead a method along given theta at one tolerance: an outer optimiser.

    Parameters
    ----------
    thetas : tuple of tuples of Tensor
    tol : float
        Absolute tolerance of the root, in the finder's own criterion, and
        relative residual tolerance of the linear solve.
    """

    thetas: tuple
    tol: float

    def start(self, theta):
        return Led(self.thetas[0], self.thetas[1:], self.tol, self.tol)

    def step(self, state, value, grads, first_residual):
        theta, *left = state.left or (state.theta,)
        return replace(state, theta=theta, left=tuple(left))


def made(label, problem):
    """Build the method of a label, "SHINE" or "SHINE[backward_steps=5]".

    Raises
    ------
    ValueError
        Where there is no such solver or setting, or the method has an outer
        loop of its own, or (`NotForThisProblem`) no meaning for the problem.
    """
    method = made_of(label, problem, N_OUTER)
    if not isinstance(method, Method):
        raise ValueError(
            f"{label}: has an outer loop of its own, which no path of theta "
            "can lead; leave it out"
        )
    return method


class Task:
    """One task and seed: its path of theta, and what is exact there."""

    def __init__(self, name, seed):
        self.problem = problem_of(name, seed)
        _, self.z = self.problem.start()
        run = method_of(EXACT, self.problem, N_OUTER).run(self.problem)
        _, *steps = (point.step for point in run)
        self.thetas = tuple(leaves(step.theta) for step in steps)
        self._exact = {
            step.n_outer: exact_at(self.problem, step)
            for step in steps if step.n_outer in STEPS
        }

    def compared(self, step, k):
        """Say what a step cost, and compare it with what is exact.

        Without a step, the method had diverged before.
        """
        if step is None or step.diverged:
            return {"n_g": math.nan, "n_vjp": math.nan} | dict.fromkeys(
                ERRORS, math.inf)
        exact = self._exact[k]
        errors = errors_of(step, exact)
        found = {
            "q_error": errors.get("q_rel_error", math.nan),
            "gradient_error": errors["hypergrad_rel_error"],
            "z_error": float((step.z - exact.z).norm() / exact.z.norm()),
        }
        # further digits are rounding, and half of the file
        return {"n_g": step.n_g, "n_vjp": step.n_vjp} | {
            name: float(f"{x:.6g}") for name, x in found.items()
        }

    def steps(self, start, make, tol):
        """Make the outer steps of `STEPS`, those of a start; a dict by k.

        Parameters
        ----------
        start : {"warm", "cold"}
        make : callable, () -> Method
            A new one at each call: a method may remember.
        tol : float
        """
        if start == "cold":
            return {k: self._cold(make(), tol, k) for k in STEPS}
        led = replace(make(), outer=AlongPath(self.thetas, tol))
        return {
            step.n_outer: step for step, _, _ in led.run(self.problem)
        }

    def _cold(self, method, tol, k):
        """Make one outer step at the k-th theta of the path, from nothing."""
        theta = leaves(self.thetas[k - 1])
        state = AlongPath((theta,), tol).start(theta)
        equation = self.problem.draw(theta, self.z, k)
        return method.outer_step(equation, theta, state, None)


def exact_at(problem, step):
    """Find z*, q and the hypergradient at the theta of a step, to rounding.

    By a formula where the problem has one.  Else one step of Newton's method
    improves a tight solve; linear systems are solved densely where z is
    short, and by conjugate gradients where it is not.
    """
    if problem.solution is not None:
        found = problem.solution(tuple(t.detach() for t in step.theta))
        return SimpleNamespace(z=found.z, q=found.q, grads=(found.grads,))
    equation, found = step.equation, TightSolver(problem)(
        step.equation, step.theta, step.z, step.q)
    z, guess = found.z, found.q
    if len(z) <= DENSE:
        def solver(system):
            with torch.enable_grad():
                J = hessian(problem, step.theta, system.z)
            return refined(J, system.rhs)
    else:
        solver = ConjugateGradient()
    z = z - solver(AdjointSystem(
        TransposedJacobian(equation.g, z), equation.g(z).detach(), None, z,
        None, TIGHT,
    ))
    found = hypergradient(
        equation, step.theta, SimpleNamespace(z=z, inverse=None), solver,
        guess, TIGHT,
    )
    return SimpleNamespace(z=z, q=found.q, grads=found.grads)


def measure(rows, tasks, n_seeds, labels):
    """Measure what the file lacks."""
    torch.set_num_threads(1)
    for seed, name in product(range(n_seeds), tasks):
        keys = [
            {"task": name, "seed": seed, "start": start, "method": label,
             "tol": tol}
            for start, label, tol in product(STARTS, labels, TOLERANCES)
        ]
        keys = [key for key in keys if any(
            rows.missing(**key, step=k) for k in STEPS
        )]
        if keys:
            print(f"{name}, seed {seed}", flush=True)
            task = Task(name, seed)
        for key in keys:
            for row in measured(task, key):
                if rows.missing(**{name: row[name] for name in KEY}):
                    rows.add(**row)


def measured(task, key):
    """Return the rows of one method, start and tolerance, a row per step.

    There is none of a method that is not for the problem.
    """
    make = partial(made, key["method"], task.problem)
    try:
        steps = task.steps(key["start"], make, key["tol"])
    except NotForThisProblem:
        return []
    sizes = {
        "d": len(task.z), "n_theta": sum(t.numel() for t in task.thetas[0]),
    }
    return [
        key | {"step": k} | task.compared(steps.get(k), k) | sizes
        for k in STEPS
    ]


def main():
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path,
                        default=Path("outputs/error_against_cost.csv"))
    parser.add_argument("--scale", choices=SCALES, default="quick")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK",
                        help="; ".join(TASKS))
    parser.add_argument("--methods", nargs="+", default=METHODS,
                        metavar="METHOD", help="such as SHINE[polish=1]")
    options = parser.parse_args()
    tasks, n_seeds = SCALES[options.scale]
    if options.seeds is not None:
        n_seeds = options.seeds
    try:
        check_integer("seeds", n_seeds, least=1)
        first = problem_of("ridge", 0)
        for label in options.methods:
            made(label, first)
        measure(
            Rows(options.output, KEY), options.tasks or tasks, n_seeds,
            options.methods,
        )
    except ValueError as error:
        parser.error(str(error))
    path = options.output.with_suffix(".md")
    path.write_text(page(read_errors([options.output])), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
