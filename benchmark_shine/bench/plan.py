"""Say what `benchopt run` would do, before it does: runs, and about how long.

    python -m benchmark_shine.bench.plan [what follows `benchopt run`]

Nothing is run.  The data are read, so that what cannot be had, or has no
meaning for a method, is said now.  The hook of the benchmark says the same at
the start of each `benchopt run`.
"""
import inspect
import io
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import wraps
from unittest import mock

import click
import torch
from benchopt import runner
from benchopt._generate_runs import generate_run_kwargs
from benchopt.cli.main import run as benchopt_run

from ..data.simulate import regression
from ..data.tables import split
from ..engine import clock
from ..problems import Ridge
from ..problems.base import BilevelProblem
from ..root import LBFGS

# Evaluations of g and products with Jᵀ in an outer step: medians over the
# bundled data of results/rivals_quick.parquet, by name of the solver.
BILEVEL = {
    "SHINE": 12, "SHINE-OPA": 10, "Jacobian-Free": 14, "HOAG": 27,
    "HOAG-limited": 15, "Recycled-PCG": 12, "Grid-search": 77,
    "Random-search": 95, "TPE-search": 80, "AmIGO": 52, "SOBA": 107,
    "Unrolled": 58, "jaxopt": 37,
}
NETWORK = {
    "HOAG": 60, "SHINE-OPA": 55, "torchdeq": 81, "Unrolled-network": 19,
}
OTHERS = {True: 20, False: 37}  # any other method, bi-level or not
# Evaluations in what a measured point is compared with: bi-level or not.
TIGHT = {True: 10, False: 200}
FORWARD = 20  # evaluations in the solve of a batch of test data


@dataclass(frozen=True)
class Run:
    """One run of the plan, its estimated time, and whether it is cached."""

    dataset: str  # without settings
    solver: str  # with its settings
    seed: object
    protocol: str | None
    n_outer: int
    seconds: float
    cached: bool


class _Listener:
    """benchopt's terminal, of which only what is left out is kept."""

    n_repetitions = 1

    def __init__(self):
        self.left_out, self._now = [], {}

    def set(self, **now):
        self._now |= now

    def skip(self, reason, objective=False):
        self.left_out.append((str(self._now["dataset"]), reason))

    def show_status(self, status, dataset=False, objective=False):
        name = self._now["dataset" if dataset else "solver"]
        self.left_out.append((str(name), status))

    def display_dataset(self):
        """Show nothing."""

    display_objective = display_dataset


def list_runs(arguments):
    """List the runs of benchopt's run, and what is left out and why."""
    benchmark = arguments["benchmark"]
    selected = {name: arguments[name] for name in (
        "solvers", "forced_solvers", "datasets", "objectives",
        "n_repetitions", "max_runs", "timeout",
    )}
    listener, pace, runs, paces = _Listener(), seconds_of_overhead(), [], {}
    is_cached = benchmark.cache(
        runner.run_one_to_cvg, ignore=["force", "terminal", "run_context"]
    ).check_call_in_cache
    for given in generate_run_kwargs(
        benchmark, terminal=listener, **selected
    ):
        solver, objective = given["solver"], given["objective"]
        objective._set_dataset(given["dataset"])  # benchopt hands out copies
        asked, dataset = objective.get_objective(), str(given["dataset"])
        skipped, why = solver.skip(**asked)
        if skipped:
            listener.left_out.append((str(solver), why))
            continue
        problem = asked["problem"]
        if dataset not in paces:
            torch.set_num_threads(asked["threads"])
            paces[dataset] = seconds_of_evaluation(problem) + pace
        n_outer = solver.method(problem, asked["n_outer"]).n_outer
        runs.append(Run(
            given["dataset"].name, str(solver),
            getattr(given["dataset"], "seed", None),
            getattr(solver, "protocol", None), n_outer,
            paces[dataset] * count_evaluations(
                problem, solver.name, n_outer, objective.reference
            ), not given["force"] and is_cached(**given),
        ))
    return runs, listener.left_out


# How long

def count_evaluations(problem, name, n_outer, reference):
    """Estimate the evaluations of g in a run and its measurements."""
    bilevel = isinstance(problem, BilevelProblem)
    usual = (BILEVEL if bilevel else NETWORK).get(name, OTHERS[bilevel])
    points = -(-n_outer // problem.every(n_outer)) + 1
    compared = n_outer // reference + 1 + (n_outer % reference > 0) if (
        reference) else 0
    count = usual * n_outer + TIGHT[bilevel] * min(points, compared)
    if not bilevel:
        batches = -(-len(problem.test) // problem.recipe.batch_size)
        count += points * batches * FORWARD
    return count


def seconds_of_evaluation(problem, least=0.05):
    """Time an evaluation of g at the start of a problem."""
    theta, z = problem.start()
    equation = problem.draw(tuple(t.requires_grad_() for t in theta), z, 1)
    evaluate = equation.energy or equation.g
    with torch.no_grad():
        evaluate(z)
        began, n = time.perf_counter(), 0
        while time.perf_counter() < began + least:
            evaluate(z)
            n += 1
    clock(z)  # the device may lag behind
    return (time.perf_counter() - began) / n


def seconds_of_overhead(least=0.2):
    """Time what a root finder adds to an evaluation, on a tiny problem."""
    X, y = regression(60, 20, 0)
    problem = Ridge(*split(X, y, 0, 0.5))
    theta, z = problem.start()
    equation, n = problem.draw(theta, z, 1), 0
    began = time.perf_counter()
    while time.perf_counter() < began + least:
        n += LBFGS()(equation, atol=1e-8).n_g
    return (time.perf_counter() - began) / n


# In words

def describe(arguments):
    """Write the plan of benchopt's run with these arguments, in lines."""
    config = arguments.get("parallel_config") or {}
    n_jobs = config.get("n_jobs") or 1
    if config.get("backend", "loky") != "loky":
        n_jobs = None  # a cluster: no estimate of the time
    with redirect_stdout(io.StringIO()):
        runs, left_out = list_runs(arguments)
    todo = [run for run in runs if not run.cached]
    done = len(runs) - len(todo)
    lines = [f"Plan: {_count(len(runs), 'run')}"
             + (f", {done} of them done before (cached)" if done else "")
             + _time_in_words(todo, n_jobs)]
    for dataset in dict.fromkeys(run.dataset for run in runs):
        own = [run for run in runs if run.dataset == dataset]
        lines.append(
            f"  {dataset}: {_count(len(own), 'run')} of "
            f"{_list(run.n_outer for run in own)} outer steps"
            + _time_in_words([run for run in own if not run.cached], n_jobs)
        )
    for title, values in (
        ("solvers", [run.solver for run in runs]),
        ("seeds", [run.seed for run in runs]),
        ("protocols", [run.protocol for run in runs if run.protocol]),
    ):
        if values:
            lines.append(f"  {title}: {_list(values)}")
    for (name, why), n in Counter(left_out).items():
        lines.append(f"  left out: {name}{f' ({n} times)' if n > 1 else ''}: "
                     f"{why}")
    return "\n".join(lines)


def _count(n, noun):
    return f"{n} {noun}{'s' * (n != 1)}"


def _list(values):
    return ", ".join(map(str, dict.fromkeys(values)))


def _time_in_words(runs, n_jobs):
    if n_jobs is None or not runs:
        return ""
    seconds = sum(run.seconds for run in runs) / n_jobs
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f", about {seconds / size:.0f} {unit}"
    return f", about {max(1, seconds):.0f} s"


# In a command of benchopt

def _arguments(function, args, settings):
    """Return the arguments of a call by name, with the defaults."""
    given = inspect.signature(function).bind(*args, **settings)
    given.apply_defaults()
    return given.arguments


def announced(run):
    """Wrap benchopt's run: first say the plan, at the end what is next."""
    @wraps(run)
    def announced_run(*args, **settings):
        if click.get_current_context(silent=True) is None:
            return run(*args, **settings)  # called by a program, not a person
        arguments = _arguments(run, args, settings)
        if not arguments["collect"]:
            try:
                print(describe(arguments), flush=True)
            except Exception as error:  # the run says it better, or goes on
                print(f"Plan: cannot be made: {error}", flush=True)
        status, output = run(*args, **settings)
        if output is not None:
            print(f'Next: make league RESULT="{output}", '
                  f'make report RESULT="{output}"')
        return status, output

    announced_run.announces = True
    return announced_run


def announce():
    """Have `benchopt run` say its plan, in this process."""
    if not hasattr(runner._run_benchmark, "announces"):
        runner._run_benchmark = announced(runner._run_benchmark)


def plan(words):
    """Write the plan of the words that follow `benchopt run`.

    Raises
    ------
    click.ClickException
        Where benchopt does not understand them.
    """
    told, run = [], runner._run_benchmark

    def instead(*args, **settings):
        told.append(describe(_arguments(run, args, settings)))
        return 0, None

    instead.announces = True
    with mock.patch.object(runner, "_run_benchmark", instead), \
            redirect_stdout(io.StringIO()):
        benchopt_run.main(list(words), "plan", standalone_mode=False)
    return told[0]


def main(words=None):
    """Run a command line; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal that lacks a character shows "?" in its place
        sys.stdout.reconfigure(errors="replace")
    try:
        print(plan(sys.argv[1:] if words is None else words))
    except click.ClickException as error:
        print(f"plan: {error.format_message()}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
