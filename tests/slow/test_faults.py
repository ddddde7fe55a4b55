"""What docs/faults.md promises: a test for each row of its table.

Four runs, a to d, of a solver outside the suite that writes down each time it
runs.  The fault strikes in the third; then the same command is given again.
"""
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from benchopt.results import read_results
from test_cluster import SIZES

from helpers import clusters

pytestmark = pytest.mark.slow

LABELS = list("abcd")
N = 2
SOLVER = '''
import os
import signal
import threading
from functools import partial
from pathlib import Path

import torch
from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import ImplicitSolver
from benchmark_shine.bench import limits
from benchmark_shine.engine import Loop

limits.LEAST = {least}
FOLDER = Path({folder!r})


class Solver(ImplicitSolver):
    """SHINE, that writes down when it runs, and fails once, in run c."""

    name = "Marked"
    parameters = {{**ImplicitSolver.parameters, "label": list("abcd")}}

    spoilt = False

    def make_adjoint(self):
        return lambda system: Shine()(system) * (
            torch.nan if self.spoilt else 1
        )

    def bilevel(self, problem, n_outer):
        method = super().bilevel(problem, n_outer)
        return Loop(partial(self.steps, method), n_outer)

    def steps(self, method, problem):
        points = method.run(problem)
        yield next(points).step
        with (FOLDER / "runs").open("a") as file:
            file.write(self.label)
        if self.label == "c" and (FOLDER / "fault").exists():
            # d may run beside, and is to have finished
            while {parallel} and "D" not in self.written():
                threading.Event().wait(0.1)
            (FOLDER / "fault").unlink()
            self.fail()
        for point in points:
            yield point.step
        with (FOLDER / "runs").open("a") as file:
            file.write(self.label.upper())

    def written(self):
        return (FOLDER / "runs").read_text()

    def fail(self):
        {fault}
'''
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
HOARD = """hoard = []
        while True:
            hoard.append(torch.ones(1 << 27))"""


class Runs:
    """A folder with the solver, and the command to run it."""

    def __init__(self, root_dir, folder):
        self.root, self.folder = root_dir, folder
        self.output = folder / "rows.parquet"

    def strikes(self, fault, parallel=False, least=60.0):
        """Lay the solver; the fault strikes at its next run c."""
        (self.folder / "marked.py").write_text(SOLVER.format(
            folder=str(self.folder), fault=fault, parallel=parallel,
            least=least,
        ))
        (self.folder / "fault").touch()

    def again(self, *arguments, **more):
        """Give the same command; its status, what it told, what it ran."""
        runs = self.folder / "runs"
        runs.write_text("")
        status, text = clusters.benchopt(
            self.folder, "run", self.root, "--no-plot",
            "-d", f"simulated[{SIZES}=[('ridge', 60, 10)]]",
            "-o", f"outer-loss[n_outer={N},reference=0]",
            "-s", self.folder / "marked.py", "--timeout", "1h",
            "--output", self.output, *arguments, cwd=self.folder, **more,
        )
        return status, text, runs.read_text()

    def rows(self):
        """The labels of the whole curves in the result file."""
        rows = read_results(self.output)
        for _, curve in rows.groupby("p_solver_label"):
            assert list(curve["stop_val"]) == list(range(N + 1))
        return sorted(rows["p_solver_label"].unique())

    def finishes(self, ran="cCdD", *arguments, **more):
        """The next run ends well, having run no more than this."""
        status, text, runs = self.again(*arguments, **more)
        assert status == 0, text
        assert sorted(runs) == sorted(ran), text
        assert self.rows() == LABELS


@pytest.fixture
def runs(root_dir, tmp_path):
    return Runs(root_dir, tmp_path)


# ------------------------------------------------------------ the whole run


def test_kill_9_of_the_run(runs):
    runs.strikes(KILL)
    status, _, ran = runs.again()
    assert status == -signal.SIGKILL and ran == "aAbBc"
    assert not runs.output.exists()
    runs.finishes()


def test_ctrl_c(runs):
    runs.strikes("os.kill(os.getpid(), signal.SIGINT)")
    status, text, ran = runs.again()
    assert status == 1 and ran == "aAbBc"
    assert "Aborted!" in text and "interrupted" in text
    # what had finished can be had before the rest
    status, text, ran = runs.again("--collect")
    assert (status, ran) == (0, ""), text
    assert runs.rows() == ["a", "b"]
    runs.output.unlink()
    runs.finishes()


def ends(runs, fault, told, *arguments, least=2, **more):
    """The run ends, keeping what had ended; the next does the rest."""
    runs.strikes(fault, parallel=True)
    status, text, _ = runs.again(*arguments, **more)
    assert status == 1 and told in text
    assert not runs.output.exists()
    n_kept = len(clusters.cached(runs.folder))
    assert n_kept >= least
    status, text, ran = runs.again(*arguments, **more)
    assert status == 0, text
    assert len(ran) == 2 * (4 - n_kept)
    assert runs.rows() == LABELS


def test_ctrl_c_with_workers(runs):
    ends(runs, "os.killpg(os.getpgid(0), signal.SIGINT)", "Aborted!", "-j", 2)


# ------------------------------------------------------------------- workers


def test_kill_9_of_a_joblib_worker(runs):
    ends(runs, KILL, "TerminatedWorkerError", "-j", 2)


def test_kill_9_of_a_dask_worker(runs):
    pytest.importorskip("distributed")
    runs.strikes(KILL)
    with clusters.dask(runs.folder) as config:
        status, text, ran = runs.again("--parallel-config", config)
    assert status == 0, text
    # dask gives the run to another worker
    assert sorted(ran.replace("c", "", 1)) == sorted("aAbBcCdD")
    assert runs.rows() == LABELS


def test_a_run_that_kills_every_dask_worker(runs):
    pytest.importorskip("distributed")
    # it strikes each time
    runs.strikes("(FOLDER / 'fault').touch(); " + KILL, parallel=True)
    with clusters.dask(runs.folder) as config:
        status, text, ran = runs.again("--parallel-config", config)
        assert status == 1
        assert "KilledWorker" in text and "died while running it" in text
        assert ran.count("c") == 4
        (runs.folder / "fault").unlink()
        runs.finishes("cC", "--parallel-config", config)


def loses_a_slurm_job(runs, slurm, fault, memory):
    config = clusters.small_jobs(runs.root, runs.folder, slurm_mem=memory)
    ends(runs, fault, "UncompletedJobError", "--parallel-config", config,
         least=1, **slurm)


def test_kill_9_of_a_slurm_job(runs, slurm):
    loses_a_slurm_job(runs, slurm, KILL, "1GB")


def test_a_slurm_job_that_takes_too_much_memory(runs, slurm):
    loses_a_slurm_job(runs, slurm, HOARD, "2GB")


# ------------------------------------------------------------------- solvers


def fails_alone(runs, told, *arguments, **more):
    """Run c is an error, the others go on; it alone is run again."""
    status, text, ran = runs.again(*arguments, **more)
    assert status == 0 and ran == "aAbBcdD"
    assert told in text
    assert re.search(r"Marked\[label=c\]: error", text)
    assert runs.rows() == ["a", "b", "d"]
    runs.output.unlink()
    runs.finishes("cC", *arguments, **more)
    return text


def test_a_solver_that_raises(runs):
    runs.strikes("raise RuntimeError('out of luck')")
    fails_alone(runs, "RuntimeError: out of luck")


def test_a_solver_that_hangs(runs):
    runs.strikes("threading.Event().wait(600)", least=1.0)
    text = fails_alone(
        runs, "TimeoutError: one step has taken 10 s: it hangs",
        "--timeout", "10",
    )
    assert "marked.py" in text  # the place, in a traceback


def test_a_solver_that_is_slow(runs):
    # its first step takes longer than the timeout
    runs.strikes("threading.Event().wait(12)")
    status, text, ran = runs.again("--timeout", "10")
    assert status == 0, text
    assert re.search(r"Marked\[label=c\]: done \(timeout\)", text)
    rows = read_results(runs.output)
    curves = rows.groupby("p_solver_label")["stop_val"].max()
    assert curves.to_dict() == {"a": N, "b": N, "c": 1, "d": N}


def test_a_solver_that_returns_nan(runs):
    runs.strikes("self.spoilt = True")
    status, text, ran = runs.again()
    assert status == 0 and "error" not in text.lower()
    rows = read_results(runs.output).set_index("p_solver_label")
    assert list(rows.loc["c", "objective_diverged"]) == [0, 1]
    assert not rows.drop("c")["objective_diverged"].any()
    assert sorted(rows.index.unique()) == LABELS
    assert runs.again()[2] == ""


def test_a_solver_that_eats_memory(runs):
    runs.strikes(HOARD)
    fails_alone(runs, "can't allocate memory", memory=8 * 10**9)


# --------------------------------------------------------------------- disks


@contextmanager
def small_disk(folder):
    """One of 4 MB, mounted there."""
    if os.geteuid() != 0:
        pytest.skip("to mount a small disk needs root")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


FILL = '''with (Path({disk!r}) / "filler").open("wb", 0) as file:
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                pass'''


def test_a_full_disk_under_the_cache(runs):
    with small_disk(runs.folder / "cache") as disk:
        runs.strikes(FILL.format(disk=str(disk)))
        status, text, ran = runs.again()
        assert status == 0 and ran == "aAbBcCdD"
        assert "No space left on device" in text
        assert runs.rows() == LABELS  # all the same
        runs.output.unlink()
        (disk / "filler").unlink()
        runs.finishes()


def test_a_full_disk_under_the_results(runs):
    with small_disk(runs.folder / "results") as disk:
        runs.output = disk / "rows.parquet"
        runs.strikes(FILL.format(disk=str(disk)))
        status, text, ran = runs.again()
        assert status == 1 and ran == "aAbBcCdD"
        assert "No space left on device" in text
        (disk / "filler").unlink()
        runs.output.unlink(missing_ok=True)
        runs.finishes("")


def test_a_truncated_result_file(runs):
    runs.strikes("pass")
    assert runs.again()[0] == 0
    whole = runs.output.read_bytes()
    runs.output.write_bytes(whole[:len(whole) // 2])
    drawn = subprocess.run(
        [sys.executable, "-m", "figures", "quickstart", runs.output,
         "--output-dir", runs.folder],
        capture_output=True, text=True, cwd=runs.root,
    )
    assert drawn.returncode == 2 and not drawn.stdout
    told, = drawn.stderr.splitlines()
    assert told.startswith(f"error: {runs.output}: cannot be read")
    runs.output.unlink()
    runs.finishes("")


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:len(data) // 2],
    lambda data: b"damaged" + data[7:],
])
def test_a_damaged_cache_entry(damage, runs):
    runs.strikes("pass")
    assert runs.again()[0] == 0
    damaged, *_ = clusters.cached(runs.folder)
    damaged.write_bytes(damage(damaged.read_bytes()))
    runs.output.unlink()
    status, text, ran = runs.again()
    assert status == 0 and len(ran) == 2
    assert "Exception while loading results" in text
    assert runs.rows() == LABELS
    runs.output.unlink()
    runs.finishes("")


# ------------------------------------------------------------- the promises


def test_every_promise_names_its_test(root_dir):
    text = (root_dir / "docs" / "faults.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`(\w+\.py)::(\w+)` \|$", text, re.MULTILINE)
    assert len(named) == len(rows) >= 15
    for file, function in named:
        path, = (root_dir / "tests").rglob(file)
        assert f"\ndef {function}(" in path.read_text()
    tests = {
        ("test_faults.py", name) for name in globals()
        if name.startswith("test_") and "promise" not in name
    }
    assert tests <= set(named)
