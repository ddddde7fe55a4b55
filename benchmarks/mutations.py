"""Do the tests notice when arithmetic is wrong?

    python benchmarks/mutations.py [--number 30] [--seed 0] [--at FILE:LINE]

Picks arithmetic operators of the package at random, exchanges one at a time
in a copy of the suite, and runs the tests of that module, then, if they pass,
all that are not slow.  An operator that no test notices has survived: either
the change makes no difference, or a test is missing.
"""
import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

# what all tests import, but nothing of the suite: see `notice`
import benchopt  # noqa: F401
import pandas  # noqa: F401
import pytest
import scipy.sparse  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.MatMult: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.USub: ast.UAdd,
}
SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.MatMult: "@", ast.Pow: "**", ast.FloorDiv: "//", ast.Mod: "%",
    ast.USub: "-", ast.UAdd: "+",
}
# Which tests look at a module, the nearest first; all others come after.
TESTS = {
    "adjoint": "adjoint adjoint_batched gradient rivals",
    "checkpoint": "checkpoint",
    "data": "data",
    "deq_inversion": "deq_inversion",
    "engine": "engine gradient",
    "images": "deq",
    "implicit": "gradient engine",
    "inversion": "inversion",
    "libraries": "rivals",
    "memory": "memory",
    "networks": "deq",
    "operators": "operators root rivals",
    "outer": "outer engine",
    "problems": "data gradient deq deq_rivals",
    "progress": "progress",
    "reference": "engine gradient validate deq",
    "root": "root root_batched rivals deq_rivals",
    "simulate": "data",
    "single_loop": "rivals",
    "solver": "sweep",
    "unrolled": "rivals deq_rivals",
    "validate": "validate",
}


@dataclass(frozen=True)
class Place:
    """An operator: its file, and the how-manieth it is there."""

    path: Path
    number: int


def operators_of(tree):
    """The nodes with an arithmetic operator, in the order of the source."""
    return [
        node for node in ast.walk(tree)
        if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.AugAssign))
        and type(node.op) in OTHER
        # -1 is a number
        and not (isinstance(node, ast.UnaryOp)
                 and isinstance(node.operand, ast.Constant))
    ]


def places():
    """Every operator of the package."""
    return [
        Place(path.relative_to(ROOT), number)
        for path in sorted((ROOT / "benchmark_shine").rglob("*.py"))
        for number in range(len(operators_of(ast.parse(path.read_text()))))
    ]


def mutated(source, number):
    """The source with one operator exchanged, and what was done.

    Returns
    -------
    source : str
    line : int
    change : str
    """
    tree = ast.parse(source)
    node = operators_of(tree)[number]
    before, old = ast.unparse(node), type(node.op)
    node.op = OTHER[old]()
    change = f"{SIGNS[old]} -> {SIGNS[OTHER[old]]} in {before}"
    return ast.unparse(tree), node.lineno, change


def _pytest(copy, arguments, log):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ |= {
        "PYTHONPATH": str(copy), "BENCHOPT_CACHE": str(copy / "cache"),
    }
    sys.exit(pytest.main([
        "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *arguments,
    ]))


def notice(copy, arguments, limit):
    """The test that fails, or whether they take too long, in the copy.

    In a fork of this process, where torch is imported already.
    """
    log = copy / "log"
    tests = get_context("fork").Process(
        target=_pytest, args=(copy, arguments, log)
    )
    tests.start()
    tests.join(limit)
    if tests.is_alive():
        tests.kill()
        tests.join()
        return "too long"
    said = log.read_text(errors="replace")
    if tests.exitcode not in (0, 1):
        raise SystemExit(
            f"pytest {' '.join(arguments)} ended with {tests.exitcode}:\n"
            f"{said}"
        )
    return tests.exitcode == 1 and next(
        (line.split(" - ")[0] for line in said.splitlines()
         if line.startswith(("FAILED", "ERROR"))), "failed",
    )


def test(copy, place, everything, limit):
    """Which test notices a mutant, or False."""
    path = copy / place.path
    source = path.read_text()
    path.write_text(mutated(source, place.number)[0])
    module = place.path.with_suffix("").parts[1]
    names = TESTS.get(module, "").split()
    try:
        for name in names:
            if found := notice(copy, [f"tests/test_{name}.py"], limit):
                return found
        return everything and notice(copy, [], 10 * limit)
    finally:
        path.write_text(source)


def main():
    """Command line; the number of survivors is the status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", metavar="FILE:LINE", help="those there alone")
    parser.add_argument(
        "--quick", action="store_true", help="only the module's own tests"
    )
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS")
    options = parser.parse_args()
    every = places()
    chosen = random.Random(options.seed).sample(every, len(every))
    if options.at:
        chosen = [
            place for place in every if options.at == "{}:{}".format(
                place.path,
                mutated((ROOT / place.path).read_text(), place.number)[1],
            )
        ]
    else:
        chosen = chosen[:options.number]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "suite"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(
            ".git", ".venv", "__cache__", "__pycache__", "outputs",
        ))
        # for the tests that ask git which files there are
        subprocess.run(["git", "init", "-q", copy], check=True)
        if found := notice(copy, ["--collect-only"], options.limit):
            raise SystemExit(f"without a mutant: {found}")
        for i, place in enumerate(chosen, 1):
            source = (copy / place.path).read_text()
            _, line, change = mutated(source, place.number)
            began = time.monotonic()
            found = test(copy, place, not options.quick, options.limit)
            survivors += not found
            print(
                f"{i:3} {'caught' if found else 'SURVIVED':8} "
                f"{place.path}:{line}: {change} "
                f"[{time.monotonic() - began:.0f} s] {found or ''}",
                flush=True,
            )
    print(
        f"{len(chosen) - survivors} of {len(chosen)} caught; the package has "
        f"{len(every)} operators"
    )
    return survivors


if __name__ == "__main__":
    sys.exit(main())
