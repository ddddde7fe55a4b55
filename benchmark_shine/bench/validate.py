"""One command for a new solver: is it right, and how does it rank?

    python -m benchmark_shine.bench.validate path/to/my_solver.py

First its hypergradient on three small problems, in double precision and at
tight tolerances, beside dense linear algebra, and its counts beside ours.
Then benchopt's own checks, of this file alone.  Last a race on bundled data
against SHINE, Jacobian-Free and HOAG, the exact method.

The exit status is 1, with a line that says why, where the solver cannot be
loaded, raises, returns the wrong shape or NaN, or miscounts.  A hypergradient
that is not exact is no error: how far off it is gets printed.
"""
import argparse
import importlib.util
import io
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import torch
from benchopt import run_benchmark
from benchopt.benchmark import Benchmark
from benchopt.results import read_results
from benchopt.utils.parametrized_name_mixin import product_param
from sklearn.datasets import load_digits

from ..checks import check_integer
from ..data.pictures import pictures
from ..data.simulate import regression, text
from ..data.tables import feature_groups, split
from ..evaluate.dense import solve_densely
from ..evaluate.reference import errors_of
from ..implicit import Counted
from ..problems import Logistic, Ridge, SmallDEQ
from .networks import DENSE
from .solver import ImplicitSolver

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "figures"))
import league  # noqa: E402

OPPONENTS = "SHINE", "Jacobian-Free", "HOAG"


class Invalid(Exception):
    """What is wrong with a solver, in one line."""


def described(error, path):
    """An exception in one line, with the line of the file it came through."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == path
    ]
    if isinstance(error, SyntaxError):
        lines, error = [error.lineno], f"SyntaxError: {error.msg}"
    else:
        text = " ".join(str(error).split())
        if getattr(error, "name", None) in ImplicitSolver.parameters:
            text += "; let parameters begin with **ImplicitSolver.parameters"
        error = f"{type(error).__name__}: {text}"
    return f"line {lines[-1]}: {error}" if lines else error


# ---------------------------------------------------------------- the file


def load(path):
    """The class Solver of a file.

    Parameters
    ----------
    path : Path
        Absolute.

    Raises
    ------
    Invalid
        Where there is no such file or class, its base is another one, or
        its name is missing or taken.
    """
    if path.is_dir():
        raise Invalid("is a folder; name the file that has the class Solver")
    if not path.is_file():
        raise Invalid("there is no such file")
    if path.suffix != ".py":
        raise Invalid("the name of a solver file ends in .py")
    spec = importlib.util.spec_from_file_location("candidate", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file's own: it may be of any kind
        raise Invalid(described(error, path)) from None
    cls = getattr(module, "Solver", None)
    if cls is None:
        raise Invalid("has no class Solver")
    if not (isinstance(cls, type) and issubclass(cls, ImplicitSolver)):
        raise Invalid(
            "Solver must be a class that inherits from "
            "benchmark_shine.bench.solver.ImplicitSolver"
        )
    missing = set(cls.__abstractmethods__)
    if not isinstance(cls.name, str):
        missing.add("name")
    if missing:
        raise Invalid(f"class Solver lacks {', '.join(sorted(missing))}")
    for other in Benchmark(ROOT).get_solvers():
        if other.name == cls.name and other._module_filename != path:
            raise Invalid(
                f"name: {cls.name!r} is that of {other._module_filename}"
            )
    try:
        cls.is_installed(raise_on_not_installed=True)
    except ImportError as error:
        raise Invalid(str(error)) from None
    return cls


# --------------------------------------------------------------- the truth


def ridge():
    """Dense ridge regression, four penalties."""
    X, y = regression(120, 24, 0)
    return Ridge(*split(X, y, 0, 0.5), groups=feature_groups(24, 4))


def logistic():
    """Sparse logistic regression, four penalties."""
    X, y = text(160, 40, 0)
    return Logistic(*split(X, y, 0, 0.5), groups=feature_groups(40, 4))


def network():
    """A small equilibrium network in double precision, 8 samples a batch."""
    digits = load_digits()
    part = digits.images[:80, None].astype("uint8"), digits.target[:80]
    recipe = replace(
        DENSE, batch_size=8, epochs=1, forward_steps=100, backward_steps=100,
        tol=1e-10, backward_tol=1e-10,
    )
    return SmallDEQ(
        *pictures(part, part), recipe, d=12, contraction=0.9,
        dtype=torch.float64,
    )


PROBLEMS = {"ridge": ridge, "logistic": logistic, "network": network}
TIGHT = 1e-9  # inner and linear solves of the bi-level problems
N_CHECKED = 3  # outer steps


class Meter:
    """Counts what is done with the equations that a problem draws from now on.

    ``n_g`` are evaluations of g, alone or with its energy; ``n_vjp`` products
    with Jᵀ.
    """

    def __init__(self, problem):
        self._draw, problem.draw = problem.draw, self.draw
        self._counted, self._n_energies = [], 0

    def draw(self, theta, z, k):
        equation = self._draw(theta, z, k)

        def energy(z):
            self._n_energies += 1
            return equation.energy(z)

        def restrict(indices):
            return self._count(equation.restrict(indices))

        return replace(
            equation, g=self._count(equation.g),
            energy=energy if equation.energy else None,
            restrict=restrict if equation.restrict else None,
        )

    def _count(self, g):
        self._counted.append(Counted(g))
        return self._counted[-1]

    @property
    def n_g(self):
        return self._n_energies + sum(g.n_g for g in self._counted)

    @property
    def n_vjp(self):
        return sum(g.n_vjp for g in self._counted)


@dataclass(frozen=True)
class Finding:
    """How a hypergradient compares; NaN where a method has no such thing.

    Parameters
    ----------
    cosine, q_error, grad_error : float
        Of q, and the relative errors of q and dF/dtheta.
    n_g, n_vjp : int
        Evaluations and products in all outer steps together.
    seen : bool
        Whether we saw them.  A solver that evaluates the problem by means of
        its own, another library's, shows us none.
    """

    cosine: float
    q_error: float
    grad_error: float
    n_g: int
    n_vjp: int
    seen: bool

    def __str__(self):
        numbers = (
            (self.cosine, "13.6f"), (self.q_error, "12.1e"),
            (self.grad_error, "16.1e"),
        )
        cells = (
            format("–", f">{form.split('.')[0]}") if math.isnan(x) else
            format(x, form) for x, form in numbers
        )
        counts = "true" if self.seen else "not seen"
        return f"{''.join(cells)}{self.n_g:7d}{self.n_vjp:7d}  {counts}"


def compare(solver, problem):
    """A solver's hypergradient beside the truth, at its third outer step.

    Parameters
    ----------
    solver : ImplicitSolver
    problem

    Returns
    -------
    Finding

    Raises
    ------
    Invalid
        Where a shape, a number or a count is wrong.
    """
    meter = Meter(problem)
    solver.set_objective(problem, N_CHECKED, 1)
    step = None
    for step in solver.steps():
        counted = meter.n_g, meter.n_vjp  # before we evaluate g ourselves
        if step.n_outer:
            check_step(step, counted)
    if step is None or not step.n_outer:
        raise Invalid("steps() makes no outer step")
    truth = solve_densely(step.equation, step.theta, step.z)
    errors = {} if step.grads is None else errors_of(step, truth)
    return Finding(
        *(errors.get(name, math.nan) for name in (
            "q_cosine", "q_rel_error", "hypergrad_rel_error",
        )), step.n_g, step.n_vjp, any(counted)
    )


def check_step(step, counted):
    """Insist on shapes, finite numbers and true counts.

    Parameters
    ----------
    step : Step
    counted : (int, int)
        Evaluations and products that we have seen so far; (0, 0): none, and
        the step's are taken on trust.

    Raises
    ------
    Invalid
        Where one of them is wrong.
    """
    at = f"at outer step {step.n_outer}"
    like = {"z": step.equation.start, "q": step.equation.start}
    found = {"z": step.z, "q": step.q}
    if step.grads is not None:
        if len(step.grads) != len(step.theta):
            raise Invalid(f"{len(step.grads)} gradients for "
                          f"{len(step.theta)} tensors in theta {at}")
        for i, (grad, t) in enumerate(zip(step.grads, step.theta)):
            found[f"gradient {i}"], like[f"gradient {i}"] = grad, t
    for name, tensor in found.items():
        if tensor is None:
            continue
        if tensor.shape != like[name].shape:
            raise Invalid(f"{name} has shape {tuple(tensor.shape)}, not "
                          f"{tuple(like[name].shape)}, {at}")
        if not tensor.isfinite().all():
            raise Invalid(f"{name} is not finite {at}")
    if not math.isfinite(step.value):
        raise Invalid(f"the loss is {step.value} {at}")
    if any(counted) and counted != (step.n_g, step.n_vjp):
        raise Invalid(
            f"reports {step.n_g} evaluations of g and {step.n_vjp} products "
            f"with Jᵀ {at}; they are {counted[0]} and {counted[1]}"
        )


def check_truth(cls, path, say):
    """Compare on every problem, print, and say which families it fits.

    Parameters
    ----------
    cls : type
        The solver.
    path : Path
        Its file.
    say : callable, str -> None

    Returns
    -------
    set of str
        Problems that the solver does not leave out.

    Raises
    ------
    Invalid
        As `compare`, or where the solver raises, or fits no problem.
    """
    say("Hypergradient beside dense linear algebra, outer step "
        f"{N_CHECKED} of a run at tight tolerances:")
    say(f"  {'':10}{'cosine of q':>13}{'error of q':>12}"
        f"{'error of dF/dθ':>16}{'g':>7}{'Jᵀ':>7}  counts")
    fits = set()
    variants = list(product_param(cls.parameters))
    for settings in variants:
        if len(variants) > 1:
            say(f"  {cls.get_instance(**settings)}")
        for name, build in PROBLEMS.items():
            tight = {} if name == "network" or "tol" not in settings else {
                "tol": TIGHT
            }
            solver, problem = cls.get_instance(**settings | tight), build()
            try:
                left_out, why = solver.skip(problem, N_CHECKED, 1)
                if left_out:
                    say(f"  {name:10}  left out: {why}")
                    continue
                finding = compare(solver, problem)
                say(f"  {name:10}{finding}")
                if finding.cosine < 0:
                    say(f"  {name:10}  q points away: a wrong sign?")
            except Invalid as error:
                raise Invalid(f"{name}: {error}") from None
            except Exception as error:  # the solver's own, of any kind
                raise Invalid(f"{name}: {described(error, path)}") from None
            fits.add(name)
    if not fits:
        raise Invalid("is left out of every problem")
    if fits == {"network"} and cls.test_config is None:
        raise Invalid(
            "is for networks alone: inherit NetworkSolver, or benchopt tests "
            "it on a bi-level problem"
        )
    return fits


def benchopt_checks(path):
    """What ``benchopt test`` checks, in a suite with this solver alone.

    Raises
    ------
    Invalid
        With the failures.
    """
    if importlib.util.find_spec("pytest") is None:
        raise Invalid("benchopt's checks need pytest: pip install pytest")
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder)
        (suite / "solvers").mkdir()
        (suite / "solvers" / "candidate.py").symlink_to(path)
        for name in "objective.py", "datasets":
            (suite / name).symlink_to(ROOT / name)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "benchopt.tests.fixtures",
             "-p", "no:cacheprovider", "-q", "--tb=line", "--skip-env",
             "-k", "solver", "--benchmark", suite, "--rootdir", suite,
             "--pyargs", "benchopt.tests.test_benchmarks"],
            capture_output=True, text=True,
            env=os.environ | {"COLUMNS": "300"},  # whole messages
        )
    if done.returncode:
        failed = [
            line for line in done.stdout.splitlines()
            if line.startswith(("FAILED", "ERROR"))
        ]
        raise Invalid("\n    ".join(
            ["benchopt's checks fail"] + (
                failed or (done.stdout + done.stderr).splitlines()[-5:]
            )
        ))


# ---------------------------------------------------------------- the race


# Problem -> data set, without its seeds; outer steps and reference.
RACES = {
    "logistic": ("digits_multinomial[train_size=0.25]", 20, 1),
    "network": ("digits[width=32]", 33, 0),
}


def names_of(cls):
    """What benchopt calls the solver, at each setting of its parameters."""
    return {
        str(cls.get_instance(**settings))
        for settings in product_param(cls.parameters)
    }


def run_race(race, path, cls, n_seeds, n_outer, folder):
    """The result file of a race.

    Raises
    ------
    Invalid
        Where the solver has left no rows; with what benchopt said.
    """
    dataset, steps, reference = race
    before, _, settings = dataset.partition("[")
    seeds = f"seed={list(range(n_seeds))}"
    dataset = f"{before}[{','.join(filter(None, [settings[:-1], seeds]))}]"
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told), \
            warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = run_benchmark(
            str(ROOT), solver_names=[str(path)] + [
                name for name in OPPONENTS if name != cls.name
            ], dataset_names=[dataset], objective_filters=[
                f"SHINE[n_outer={n_outer or steps},reference={reference}]"
            ],
            max_runs=1_000, timeout=600, no_cache=True, plot_result=False,
            display=False, show_progress=False,
            output_file=str(folder / f"{before}.parquet"),
        )
        rows = read_results(output)
    if not rows["solver_name"].isin(names_of(cls)).any():
        raise Invalid("\n    ".join(
            [f"the race on {before} has no row of it"]
            + told.getvalue().splitlines()[-15:]
        ))
    return output


def ranking(title, path):
    """The race's `league.Problem`, and its short table in Markdown."""
    problem, = league.read_problems(
        SimpleNamespace(results=[path], datasets=[], methods=None)
    )
    return problem, league.brief(problem, title)


# ----------------------------------------------------------------- command


def validate(path, n_seeds=3, n_outer=None, results=None, say=print):
    """Check and rank the solver of a file.

    Parameters
    ----------
    path : Path
    n_seeds : int
        Of each race.
    n_outer : int or None
        Outer steps of each race; None: what it is made for.
    results : Path or None
        Folder to keep the races' result files in.
    say : callable, str -> None
        Where the report goes, line by line.

    Returns
    -------
    dict of str and league.Problem
        By data set.

    Raises
    ------
    Invalid
        Where the solver is.
    """
    path = path.resolve()
    cls = load(path)
    fits = check_truth(cls, path, say)
    benchopt_checks(path)
    say("Checks of benchopt: passed")
    rankings = {}
    with tempfile.TemporaryDirectory() as folder:
        if results is not None:
            results.mkdir(parents=True, exist_ok=True)
        for problem, race in RACES.items():
            if problem not in fits:
                continue
            ranked, text = ranking(race[0], run_race(
                race, path, cls, n_seeds, n_outer, results or Path(folder)
            ))
            rankings[race[0]] = ranked
            say(f"Race on {text}")
    return rankings


def main(words=None):
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark_shine.bench.validate",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("path", type=Path, help="file with a class Solver")
    parser.add_argument(
        "--seeds", type=int, default=3, help="of each race (default: 3)"
    )
    parser.add_argument(
        "--n-outer", type=int, help="outer steps of each race, for a shorter "
        "or a longer one"
    )
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER",
        help="keep the result files of the races"
    )
    options = parser.parse_args(words)
    began = time.perf_counter()
    try:
        check_integer("--seeds", options.seeds, least=1)
        if options.n_outer is not None:
            check_integer("--n-outer", options.n_outer, least=1)
        validate(
            options.path, options.seeds, options.n_outer, options.results
        )
    except (Invalid, ValueError) as error:
        print(f"invalid: {options.path}: {error}", file=sys.stderr)
        return 1
    print(f"valid: {options.path} ({time.perf_counter() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
