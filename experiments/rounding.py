"""Measure how much rounding alone changes counts and verdicts.

    python -m experiments.rounding --output outputs/rounding.csv

Each method runs in each protocol again and again, from first z that differ by
1e-12 relatively, and on two instruction sets: far less than anybody would call
another problem.  A row has the evaluations and products until F is within a
gap of its optimum, first and for good.  A Markdown file beside the rows has
the spread of these counts over the repeats, and how often the verdict about a
pair of methods, over the seeds, is the same.  One thread; an hour and a half.
"""
import argparse
import os
import subprocess
import sys
from copy import copy
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest

from benchmark_shine.bench.protocols import PROTOCOLS
from benchmark_shine.checks import check_integer
from benchmark_shine.evaluate.bilevel import comparison

from .rows import Rows
from .tasks import BUNDLED, ROOT, TASKS, method_of, problem_of

METHODS = "HOAG", "SHINE", "SHINE-OPA", "SHINE-refine", "SHINE-guarded"
GAPS = 1e-1, 1e-2, 1e-3
NOISE = 1e-12
# What a process has to be told before it starts, and what that stands for.
INSTRUCTIONS = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Haswell",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}
KEY = "task", "seed", "instructions", "start", "protocol", "method"
ALPHA = 0.05
REPORTED = "first 0.01", "stay 0.01", "stay 0.001"


def perturbed(problem, k):
    """Start a problem from another z by rounding; k = 0 is its own."""
    other, (theta, z) = copy(problem), problem.start()
    generator = torch.Generator().manual_seed(k)
    noise = torch.randn(z.shape, generator=generator, dtype=z.dtype)
    other.start = lambda: (theta, z * (1 + NOISE * noise if k else 1))
    return other


def counts(method, problem, compared):
    """Run a method, and count until it is within each gap.

    Returns
    -------
    dict
        ``first`` and ``stay`` at each gap, inf where a run does not get or
        stay there; ``last``, the gap at the end; ``evaluations`` of the run.
    """
    n, values = [], []
    for step, totals, _ in method.run(problem):
        found = {} if step.diverged else compared(step, method)
        n.append(totals.n_g + totals.n_vjp)
        values.append(found.get("value_function", np.inf))
        optimum = found.get("optimum", np.nan)
    gaps = (np.array(values) - optimum) / (values[0] - optimum)
    found = {"last": gaps[-1], "evaluations": n[-1]}
    for gap in GAPS:
        first, stay = arrivals(n, gaps, gap)
        found |= {f"first {gap:g}": first, f"stay {gap:g}": stay}
    return found


def arrivals(n, gaps, gap):
    """Return the counts of the first step within a gap, and of staying."""
    within = np.asarray(gaps) <= gap
    if not within.any():
        return np.inf, np.inf
    outside = np.flatnonzero(~within)
    stay = outside[-1] + 1 if len(outside) else 0
    return n[within.argmax()], n[stay] if stay < len(n) else np.inf


def measure(rows, instructions, options):
    """Measure what the file lacks on the instruction set of this process."""
    torch.set_num_threads(1)
    for task, seed in product(options.tasks, range(options.seeds)):
        problem = problem_of(task, seed)
        compared = comparison(problem)
        for k, protocol, name in product(
            range(options.starts), options.protocols, options.methods
        ):
            key = dict(zip(KEY, (
                task, seed, instructions, k, protocol, name
            )))
            if not rows.missing(**key):
                continue
            try:
                method = method_of(
                    name, problem, problem.n_steps, protocol=protocol
                )
            except ValueError:
                continue  # not published
            rows.add(**key, **counts(method, perturbed(problem, k), compared))


# What rounding changes

def spread(frame, quantity):
    """Tabulate the spread of a quantity over the repeats of one seed.

    For each seed, the smallest and the largest count in parts of the median,
    of the repeats (starts and instruction sets) that got there, and their
    share of all; then the median over seeds.
    """
    def of(own):
        there = own[np.isfinite(own)]
        return pd.Series({
            "lowest": there.min() / there.median(),
            "highest": there.max() / there.median(),
            "there": len(there) / len(own),
        })

    seeds = frame.groupby(["task", "protocol", "method", "seed"])[quantity]
    table = seeds.apply(of).unstack()
    return table.groupby(["task", "protocol", "method"]).median()


def verdicts(frame, quantity):
    """Judge pairs of methods over the seeds, in each repeat by itself.

    The verdict is the sign test's at ALPHA: a method is sooner, or the pair
    is undecided.

    Returns
    -------
    DataFrame
        The repeats with each verdict, a row for each task, protocol, pair.
    """
    by = ["task", "protocol"]
    index, found = ["instructions", "start", "seed"], []
    for place, own in frame.groupby(by, sort=False):
        table = own.pivot(index=index, columns="method", values=quantity)
        for other in [name for name in table if name != "HOAG"]:
            repeats = table[["HOAG", other]].groupby(
                ["instructions", "start"]
            )
            told = [verdict(pair["HOAG"], pair[other]) for _, pair in repeats]
            found.append(dict(zip(by, place)) | {"pair": f"HOAG, {other}"} | {
                word: told.count(word)
                for word in ("HOAG sooner", "other sooner", "undecided")
            })
    return pd.DataFrame(found)


def verdict(ours, others):
    """Judge two methods by the counts of the same seeds."""
    wins, losses = int((ours < others).sum()), int((ours > others).sum())
    n = wins + losses
    if not n or binomtest(wins, n).pvalue > ALPHA:
        return "undecided"
    return "HOAG sooner" if wins > losses else "other sooner"


def report(frame):
    """Write the tables of `spread` and `verdicts` in Markdown."""
    lines = [
        "# What rounding changes", "",
        f"Starts that differ by {NOISE:g}, and two instruction sets: "
        f"{frame['seed'].nunique()} seeds, {frame['start'].nunique()} starts.",
    ]
    for quantity in REPORTED:
        kind, gap = quantity.split()
        lines += [
            "", f"## Evaluations, {kind} within {gap}", "",
            "Lowest and highest count in parts of the median over repeats; "
            "share of repeats that got there.", "",
            _markdown(spread(frame, quantity).reset_index()), "",
            "Repeats with each verdict over the seeds (sign test).", "",
            _markdown(verdicts(frame, quantity)),
        ]
    return "\n".join(lines) + "\n"


def _markdown(table):
    def text(value):
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    rows = [list(table.columns), ["---"] * table.shape[1], *(
        map(text, row) for row in table.itertuples(index=False)
    )]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# In processes

def call(instructions, words):
    """Measure in a process of its own, which has one instruction set."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.rounding", *words,
         "--instructions", instructions],
        cwd=ROOT, env=os.environ | INSTRUCTIONS[instructions],
    )
    if done.returncode:
        sys.exit(done.returncode)


def main(arguments=None):
    """Measure what a CSV file lacks, and write the tables."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=BUNDLED)
    parser.add_argument("--seeds", type=int, default=6, help="their number")
    parser.add_argument("--starts", type=int, default=10, help="their number")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument(
        "--protocols", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--instructions", choices=INSTRUCTIONS, help=argparse.SUPPRESS
    )
    options = parser.parse_args(words)
    output = options.output.absolute()
    try:
        check_integer("seeds", options.seeds, least=1)
        check_integer("starts", options.starts, least=1)
        rows = Rows(output, KEY)
        if options.instructions:
            return measure(rows, options.instructions, options)
    except ValueError as error:
        parser.error(str(error))
    for name in INSTRUCTIONS:
        call(name, [*words, "--output", str(output)])
    tables = output.with_suffix(".md")
    tables.write_text(report(pd.read_csv(output)), encoding="utf-8")
    print(f"written to {output} and {tables}")


if __name__ == "__main__":
    main()
