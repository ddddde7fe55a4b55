"""Measure how exact a hypergradient is, against the inner tolerance.

    python -m experiments.noise_floor --output outputs/noise_floor.csv

At a few theta, each method of the fair protocol finds a root from the
problem's first z, to a tolerance relative to that start, and solves for q;
where its linear solve has a tolerance, that is the same.  dF/dtheta is
compared with the exact one at the exact root.  An error that falls no further
with the tolerance is the floor of the method.  A picture with the medians over
seeds lies beside the file.  One thread; about 10 minutes.
"""
import argparse
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from matplotlib.figure import Figure

from benchmark_shine.adjoint import AdjointSystem, ConjugateGradient
from benchmark_shine.checks import check_integer
from benchmark_shine.engine import leaves
from benchmark_shine.implicit import TransposedJacobian, hypergradient
from benchmark_shine.root import LBFGS
from figures.methods import looks
from figures.plotting import paper_style

from .rows import Rows
from .tasks import BUNDLED, TASKS, method_of, problem_of

METHODS = (
    "HOAG", "SHINE", "SHINE-OPA", "SHINE-refine", "SHINE-guarded",
    "HOAG-limited", "Jacobian-Free",
)
THETAS = -6.0, -2.0, 2.0
TOLERANCES = tuple(10.0 ** -k for k in range(1, 10))
KEY = "task", "seed", "theta", "tolerance", "method"
EXACT = ConjugateGradient(20_000)


def exact_root(equation):
    """Find the root to rounding: L-BFGS, then three steps of Newton's."""
    z = LBFGS(60, 5000)(equation, rtol=1e-6).z
    for _ in range(3):
        with torch.no_grad():
            g = equation.g(z)
        jacobian = TransposedJacobian(equation.g, z)  # J is symmetric
        z = z - EXACT(AdjointSystem(jacobian, g, None, z, None, 1e-12))
    return z


def at_theta(problem, value):
    """Draw the equation at one theta, and its exact hypergradient."""
    first, z = problem.start()
    theta = leaves(torch.full_like(t, value) for t in first)
    equation = problem.draw(theta, z, 1)
    root = SimpleNamespace(z=exact_root(equation), inverse=None)
    return theta, equation, hypergradient(
        equation, theta, root, EXACT, tol=1e-12
    )


def one(problem, name, theta, equation, exact, tolerance):
    """Measure one hypergradient: errors and costs, a dict."""
    method = method_of(name, problem, 30)
    root = method.find_root(equation, rtol=tolerance)
    found = hypergradient(
        equation, theta, root, method.adjoint, tol=tolerance
    )
    h, h_exact = torch.cat(found.grads), torch.cat(exact.grads)
    return {
        "hypergrad_rel_error": float((h - h_exact).norm() / h_exact.norm()),
        "wrong_signs": float((h * h_exact < 0).double().mean()),
        "q_cosine": float(
            torch.cosine_similarity(found.q, exact.q, dim=0)
        ),
        "residual": root.residual, "n_iter": root.n_iter,
        "n_g": root.n_g + found.n_g, "n_vjp": root.n_vjp + found.n_vjp,
    }


def measure(rows, tasks, n_seeds, names):
    """Measure what the file lacks."""
    torch.set_num_threads(1)
    for task, seed in product(tasks, range(n_seeds)):
        problem = problem_of(task, seed)
        for value in THETAS:
            at, made = {"task": task, "seed": seed, "theta": value}, None
            for tolerance, name in product(TOLERANCES, names):
                key = at | {"tolerance": tolerance, "method": name}
                if rows.missing(**key):
                    made = made or at_theta(problem, value)
                    rows.add(**key, **one(problem, name, *made, tolerance))


def draw(frame):
    """Draw the median error over seeds: a row of panels for each task."""
    tasks, thetas = frame["task"].unique(), frame["theta"].unique()
    figure = Figure((6.8, 1.7 * len(tasks) + 0.6), layout="constrained")
    axes = figure.subplots(
        len(tasks), len(thetas), sharex=True, sharey=True, squeeze=False
    )
    names = list(frame["method"].unique())
    look = looks(names)
    for (task, value), own in frame.groupby(["task", "theta"], sort=False):
        ax = axes[list(tasks).index(task), list(thetas).index(value)]
        medians = own.groupby(["method", "tolerance"])[
            "hypergrad_rel_error"].median()
        for name in names:
            line = medians[name]
            ax.loglog(line.index, line, label=name, **look[name])
        ax.set_title(f"{task}, $\\theta$ = {value:g}")
    axes[0, 0].invert_xaxis()
    for ax in axes[-1]:
        ax.set_xlabel("inner tolerance")
    for ax in axes[:, 0]:
        ax.set_ylabel("error of $dF/d\\theta$")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4)
    return figure


def main(arguments=None):
    """Measure what a CSV file lacks, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=BUNDLED)
    parser.add_argument("--seeds", type=int, default=3, help="their number")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        check_integer("seeds", options.seeds, least=1)
        rows = Rows(options.output, KEY)
        measure(rows, options.tasks, options.seeds, options.methods)
    except ValueError as error:
        parser.error(str(error))
    picture = options.output.with_suffix(".png")
    with paper_style():
        draw(pd.read_csv(options.output)).savefig(picture)
    print(f"written to {options.output} and {picture}")


if __name__ == "__main__":
    main()
