"""Run benchopt's checks of a candidate, and a race against known solvers."""
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from benchopt import run_benchmark
from benchopt.benchmark import Benchmark
from benchopt.results import read_results
from benchopt.utils.parametrized_name_mixin import product_param

from .invalid import Invalid

OPPONENTS = "SHINE", "Jacobian-Free", "HOAG"

# Problem -> data set, outer steps and reference.
RACES = {
    "logistic": ("digits_multinomial[train_size=0.25,seed={seeds}]", 20, 1),
    "network": ("digits[width=32,seed={seeds}]", 33, 0),
}


def run_python(*words, cwd, columns="80"):
    """Run ``python -m`` in a process of its own, whatever our flags are."""
    usual = {
        name: value for name, value in os.environ.items()
        if name != "PYTHONOPTIMIZE"  # pytest's checks are assertions
    }
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=cwd,
        capture_output=True, encoding="utf-8", errors="replace",
        env=usual | {
            "PYTHONIOENCODING": "utf-8:replace", "COLUMNS": columns,
        },
    )


def check_by_benchopt(path, kind, suite):
    """Check what ``benchopt test`` does, in a suite with this file alone.

    ``kind`` is "solver" or "dataset", ``suite`` the path of the clone.
    """
    if importlib.util.find_spec("pytest") is None:
        raise Invalid("benchopt's checks need pytest: pip install pytest")
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder).resolve()
        _plant(small, path, f"{kind}s", suite)
        done = run_python(
            "pytest", "-p", "benchopt.tests.fixtures",
            "-p", "no:cacheprovider", "-q", "--tb=line", "--skip-env",
            "-k", kind, "--benchmark", small, "--rootdir", small,
            "--pyargs", "benchopt.tests.test_benchmarks",
            cwd=small, columns="300",  # whole messages
        )
    if done.returncode:
        told = (done.stdout + done.stderr).strip()
        failed = re.search(r"(?m)^(FAILED|ERROR) .*", told)
        line = failed[0] if failed else told.splitlines()[-1]
        raise Invalid(f"benchopt's checks fail: {line}", detail=told)


def _plant(small, path, folder, suite):
    """Lay out a suite: the clone's, but for the candidate's folder."""
    for name in "objective.py", "benchmark_utils", "datasets", "solvers":
        if name != folder:
            (small / name).symlink_to(suite / name)
    (small / folder).mkdir()
    (small / folder / "candidate.py").symlink_to(path)
    if folder == "datasets":  # benchopt tests solvers' data on it
        (small / folder / "simulated.py").symlink_to(
            suite / folder / "simulated.py"
        )


def run_race(race, source, cls, n_seeds, n_outer, folder, suite):
    """Run a race of RACES in a clone; return the result file, in a folder.

    ``n_outer`` may be None: the race's own number of outer steps.
    """
    dataset, steps, reference = race
    before = dataset.partition("[")[0]
    objective = Benchmark(suite).get_benchmark_objective().name
    names = {str(cls.get_instance(**settings))
             for settings in product_param(cls.parameters)}
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told), \
            warnings.catch_warnings(action="ignore"):
        output = run_benchmark(
            str(suite), solver_names=[str(source.path)] + [
                name for name in OPPONENTS if name != cls.name
            ], dataset_names=[dataset.format(seeds=list(range(n_seeds)))],
            objective_filters=[f"{objective}[n_outer={n_outer or steps},"
                               f"reference={reference}]"],
            max_runs=1_000, timeout=600, no_cache=True, plot_result=False,
            display=False, show_progress=False,
            output_file=str(folder / f"{before}.parquet"),
        )
        rows = read_results(output)
    if not rows["solver_name"].isin(names).any():
        raise _lost(before, told.getvalue(), source)
    return output


def _lost(race, told, source):
    """Say why there is no row, from the traceback that benchopt printed."""
    lines = re.findall(rf'File "{re.escape(str(source.path))}", line (\d+)',
                       told)
    errors = re.findall(r"(?m)^(\w+(?:Error|Exception|Exit)\b.*)$", told)
    why = errors[-1] if errors else (told.strip().splitlines() or [""])[-1]
    return Invalid(
        f"the race on {race} has no row of it: {why}",
        f"line {lines[-1]}" if lines else None, told,
    )


def ranking(path, suite):
    """Write the short league of a result file, in Markdown."""
    page = path.with_suffix(".md")
    page.write_text("<!-- league:begin -->\n<!-- league:end -->\n")
    done = run_python(
        "figures", "league", path.resolve(), "--readme", page.resolve(),
        cwd=suite,
    )
    page.unlink()
    if done.returncode:
        raise Invalid(
            f"the league of {path} fails: {done.stderr.strip()[-300:]}",
            detail=done.stderr,
        )
    return done.stdout.strip()
