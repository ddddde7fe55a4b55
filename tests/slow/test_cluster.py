"""Runs on workers: the same curves, and never another code than the client's.

The slow ones start real clusters on this machine.
"""
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import benchopt.benchmark
import cloudpickle
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from benchopt import parallel_backends
from benchopt.benchmark import Benchmark
from benchopt.parallel_backends import check_parallel_config
from benchopt.results import read_results
from click import ClickException

from benchmark_shine.bench import lifecycle, limits, networks, workers
from benchmark_shine.bench.checkpoint import location
from benchmark_shine.bench.limits import timely
from benchmark_shine.bench.workers import (
    refuse_edited_files, refuse_other_code,
)
from benchmark_shine.data.pictures import pictures
from benchmark_shine.fingerprints import LOADED, fingerprint

from helpers import clusters

CONFIGS = "joblib", "dask", "slurm"
REMEDY = "Restart the workers, of dask the scheduler too, and run again"


@pytest.fixture(scope="module")
def benchmark(root_dir):
    return Benchmark(root_dir)


@pytest.fixture(scope="module")
def objective(benchmark):
    """The class."""
    return benchmark.get_benchmark_objective()


@pytest.fixture(scope="module")
def solvers(benchmark):
    """The classes of solvers/ by name."""
    return {cls.name: cls for cls in benchmark.get_solvers()}


# ------------------------------------------------------------ the code's guard


def test_the_clients_code_is_run():
    refuse_other_code(LOADED, torch.__version__)
    assert LOADED == fingerprint()


@pytest.mark.parametrize("sent, told", [
    (("other", torch.__version__), f"benchmark_shine: .*{LOADED}.*of other"),
    ((LOADED, "1.0"), rf"torch: .*{re.escape(torch.__version__)}.*of 1\.0"),
])
def test_another_code_is_refused(sent, told):
    with pytest.raises(ClickException, match=told) as refused:
        refuse_other_code(*sent)
    assert REMEDY in str(refused.value)
    assert str(os.getpid()) in str(refused.value)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """One that benchopt has loaded in this process."""
    module = ModuleType("solver")
    module.__file__ = str(tmp_path / "solver.py")
    (tmp_path / "solver.py").write_text("x = 1\n")
    monkeypatch.setitem(sys.modules, workers.FILES + "solver", module)
    return tmp_path / "solver.py"


def test_an_edited_file_is_refused(file):
    refuse_edited_files()
    file.write_text("x = 2\n")
    with pytest.raises(ClickException, match=str(file)) as refused:
        refuse_edited_files()
    assert REMEDY in str(refused.value)
    file.write_text("x = 1\n")
    refuse_edited_files()
    file.unlink()  # whatever it was, it will not be run again
    refuse_edited_files()


def test_a_run_does_not_ask_for_the_running_benchmark(
    root_dir, objective, solvers, monkeypatch
):
    # which another thread of a dask worker may be half-way through making
    monkeypatch.setattr(
        benchopt.benchmark, "_RUNNING_BENCHMARK", object.__new__(Benchmark)
    )
    solver = solvers["SHINE"].get_instance()
    solver._objective = objective.get_instance()
    solver._objective._dataset = solver
    names = "dataset_name", "objective_name", "solver_name", "idx_rep"
    path, _ = location(solver, dict.fromkeys(names))
    expected = Benchmark(root_dir).get_cache_location() / "checkpoints"
    assert path.parent == expected


def test_an_edited_package_is_refused(monkeypatch):
    monkeypatch.setattr(workers, "LOADED", "before")
    with pytest.raises(ClickException, match="benchmark_shine: edited since"):
        refuse_edited_files()


def test_other_sources_of_a_solver_are_refused(solvers, monkeypatch):
    run = cloudpickle.dumps(solvers["SHINE"].get_instance())
    assert str(cloudpickle.loads(run)) == "SHINE"
    monkeypatch.setattr(lifecycle, "solver_fingerprint", lambda path: "other")
    with pytest.raises(ClickException, match="SHINE: this worker has sources"):
        cloudpickle.loads(run)


def test_a_run_that_arrives_is_compared(objective, solvers, monkeypatch, file):
    run = cloudpickle.dumps(
        [objective.get_instance(), solvers["SHINE"].get_instance()]
    )
    sent, solver = cloudpickle.loads(run)
    assert sent.fingerprint == LOADED and str(solver) == "SHINE"
    file.write_text("x = 2\n")
    with pytest.raises(ClickException, match=str(file)):
        cloudpickle.loads(run)
    monkeypatch.setattr(workers, "LOADED", "edited")
    with pytest.raises(ClickException, match="this worker has edited"):
        cloudpickle.loads(run)


def test_data_that_a_worker_lacks_are_an_error(objective):
    here = objective.get_instance()
    assert here.skip(None, reason="get it") == (True, "get it")
    sent = cloudpickle.loads(cloudpickle.dumps(here))
    with pytest.raises(FileNotFoundError, match="lacks the data: get it"):
        sent.skip(None, reason="get it")
    assert sent.skip(SimpleNamespace()) == (False, None)


def test_a_dot_is_this_folder_everywhere(root_dir, tmp_path):
    script = (
        "from benchopt.benchmark import Benchmark\n"
        "found = Benchmark('.')\n"
        "print(found.benchmark_dir, found.get_cache_location())\n"
    )
    told = subprocess.check_output(
        [sys.executable, "-c", script], cwd=root_dir, text=True,
        env=os.environ | {"BENCHOPT_CACHE": str(tmp_path)},
    )
    folder, cache = told.split()
    assert Path(folder) == root_dir and Path(cache).parent == tmp_path


UNTOLD = '''
import joblib
from distributed import Client
from benchmark_shine.bench.workers import dask_backend


class Untold:
    def __reduce__(self):
        return int, ("no number",)


joblib.register_parallel_backend("dask", dask_backend)
with Client(
    n_workers=1, threads_per_worker=2, processes=False, protocol="tcp",
    dashboard_address=":0",
) as client, joblib.parallel_config("dask", client=client):
    run = joblib.Parallel(return_as="generator_unordered")
    print(list(run(joblib.delayed(abs)(x) for x in [-1, -2])))
    try:
        list(run(joblib.delayed(abs)(x) for x in [Untold()]))
    except Exception as error:
        print(repr(error))
'''


def test_dask_failures_are_not_waited_for(root_dir):
    pytest.importorskip("distributed")
    told = subprocess.run(
        [sys.executable, "-c", UNTOLD], capture_output=True, text=True,
        cwd=root_dir,
        timeout=clusters.PATIENCE,
    )
    results, error = told.stdout.splitlines()
    assert sorted(results) == sorted("[1, 2]"), told.stderr
    assert "no number" in error and error.startswith("ValueError"), error


# -------------------------------------------------------------- a step's limit


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(limits, "LEAST", 0.05)


def waiting():
    yield 1
    yield 2
    threading.Event().wait(60)


@pytest.mark.parametrize("timeout", [1, None])
def test_steps_in_time_are_passed_on(timeout):
    assert list(timely(iter(range(5)), timeout)) == list(range(5))


def test_a_step_that_hangs_is_told(soon):
    steps = timely(waiting(), 0.01)
    assert next(steps) == 1
    assert not threading.Event().wait(0.2)  # between steps: not limited
    assert next(steps) == 2
    with pytest.raises(TimeoutError, match=r"taken 0\.05 s.*--timeout 0\.01"):
        next(steps)


def test_threads_have_no_limit(soon):
    found = []
    thread = threading.Thread(
        target=lambda: found.extend(timely(iter(range(3)), 0.01))
    )
    thread.start()
    thread.join()
    assert found == [0, 1, 2]


# -------------------------------------------------------------------- graphics


def test_a_gpu_need_not_be_where_runs_are_sent_from(monkeypatch):
    part = np.zeros((4, 1, 8, 8), "uint8"), np.arange(4)
    train, test = pictures(part, part)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = dict(device="cuda", width=4, batch_size=4)
    with pytest.raises(ValueError, match="device: torch sees no 'cuda' here"):
        networks.build("dense", train, test, **settings)
    monkeypatch.setattr(networks, "is_distributed_frontal", lambda: True)
    found = networks.build("dense", train, test, **settings)
    assert found.device == torch.device("cpu")


def test_what_a_job_asks_for_is_no_part_of_the_name(solvers):
    solver = solvers["SHINE"].get_instance(slurm_gres="gpu:1", forward="x")
    assert str(solver) == "SHINE[forward=x]"
    assert solver._parameters["slurm_gres"] == "gpu:1"
    assert "slurm_gres" not in solvers["AmIGO"].parameters


# -------------------------------------------------------------- configurations


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_are_benchopts(name, root_dir, monkeypatch):
    # what reading one sets is put back afterwards
    monkeypatch.setattr(parallel_backends, "_DISTRIBUTED_FRONTAL", False)
    path = root_dir / "configs" / "parallel" / f"{name}.yml"
    backend = {"joblib": "loky", "dask": "dask", "slurm": "submitit"}[name]
    assert check_parallel_config(path, None)["backend"] == backend
    text = (root_dir / "docs" / "cluster.md").read_text()
    assert f"configs/parallel/{name}.yml" in text


def test_slurm_settings_are_submitits(root_dir):
    submitit = pytest.importorskip("submitit")
    path = root_dir / "configs" / "parallel" / "slurm.yml"
    settings = yaml.safe_load(path.read_text())
    del settings["backend"]
    known = submitit.SlurmExecutor._valid_parameters()
    assert {name.removeprefix("slurm_") for name in settings} <= known


# --------------------------------------------------------------- real clusters

# The quickstart's data sets and methods, with fewer steps.
N = 2


@pytest.fixture(scope="module")
def quickstart(root_dir, tmp_path_factory):
    """The configuration, and its curves in one process."""
    folder = tmp_path_factory.mktemp("sequential")
    config = yaml.safe_load((root_dir / "configs/quickstart.yml").read_text())
    config["objective"] = [{"outer-loss": {"n_outer": N, "reference": 0}}]
    path = folder / "quickstart.yml"
    path.write_text(yaml.safe_dump(config))
    status, text = clusters.benchopt(
        folder, "run", ".", "--config", path, "--output",
        folder / "rows.parquet", cwd=root_dir,
    )
    assert status == 0, text
    return path, curves(folder / "rows.parquet")


def curves(path):
    """All that a row says, but for times, machine and workers."""
    rows = read_results(path)
    names = [
        name for name in rows
        if name == "stop_val" or name.startswith(("objective_", "p_"))
        and not name.endswith(("_time", "peak_memory"))
    ]
    by = ["dataset_name", "solver_name", "stop_val"]
    rows = rows.sort_values(by)[by[:2] + sorted(names)]
    return rows.reset_index(drop=True)


def same_curves(quickstart, folder, benchmark, cwd, parallel, **more):
    config, expected = quickstart
    output = folder / "rows.parquet"
    status, text = clusters.benchopt(
        folder, "run", benchmark, "--config", config, "--parallel-config",
        parallel, "--output", output, cwd=cwd, **more,
    )
    assert status == 0 and "Traceback" not in text, text
    found = curves(output)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert len(clusters.cached(folder)) == found.groupby(
        ["dataset_name", "solver_name"]
    ).ngroups


@pytest.mark.slow
def test_joblib_gives_the_same_curves(quickstart, root_dir, tmp_path):
    same_curves(
        quickstart, tmp_path, ".", root_dir,
        root_dir / "configs" / "parallel" / "joblib.yml",
    )


@pytest.mark.slow
def test_two_dask_workers_give_the_same_curves(
    quickstart, root_dir, tmp_path
):
    pytest.importorskip("distributed")
    with clusters.dask(tmp_path) as config:
        for name, benchmark, cwd in (
            ("dot", ".", root_dir),
            ("parent", root_dir.name, root_dir.parent),
            ("absolute", root_dir, tmp_path),
        ):
            (tmp_path / name).mkdir()
            same_curves(quickstart, tmp_path / name, benchmark, cwd, config)


@pytest.mark.slow
def test_slurm_gives_the_same_curves(quickstart, root_dir, tmp_path, slurm):
    same_curves(
        quickstart, tmp_path, root_dir, tmp_path,
        clusters.small_jobs(root_dir, tmp_path, slurm_mem="1GB"), **slurm,
    )


def accounted(slurm, *columns):
    """A row of text for each job that SLURM's accounting knows."""
    told = subprocess.check_output(
        ["sacct", "--allocations", "--noheader", "--parsable2",
         f"--format={','.join(columns)}"],
        text=True, env=os.environ | {"PATH": clusters.PATH} | slurm,
    )
    return [tuple(line.split("|")) for line in told.splitlines()]


THREADS = '''
import os

import torch
from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import ImplicitSolver


class Solver(ImplicitSolver):
    name = "Threads"

    def make_adjoint(self):
        print("seen:", os.environ["OMP_NUM_THREADS"],
              torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        return Shine()
'''


@pytest.mark.slow
def test_a_job_has_the_cores_and_the_gpu_that_it_asks_for(
    root_dir, tmp_path, slurm
):
    solver = tmp_path / "threads.py"
    solver.write_text(THREADS)
    logs = root_dir / "benchopt_run"
    before = set(logs.glob("*.out"))
    status, text = clusters.benchopt(
        tmp_path, "run", ".", "--no-plot", "--output",
        tmp_path / "rows.parquet",
        "-d", "digits[width=12,'batch_size, epochs'=[(64, 1)]]",
        "-o", "outer-loss[n_outer=1,reference=0,threads=2]",
        "-s", f"{solver}[slurm_gres='gpu:1']", "--parallel-config",
        clusters.small_jobs(
            root_dir, tmp_path, slurm_mem="1GB", slurm_cpus_per_task=2,
        ), cwd=root_dir, **slurm,
    )
    assert status == 0, text
    rows = read_results(tmp_path / "rows.parquet")
    assert set(rows["p_solver_slurm_gres"]) == {"gpu:1"}
    said = "".join(
        path.read_text() for path in set(logs.glob("*.out")) - before
    )
    assert "seen: 2 2 0" in said, said
    clusters.wait_for(
        lambda: any(
            "gres/gpu=1" in asked and n == "2"
            for n, asked in accounted(slurm, "AllocCPUS", "ReqTRES")
        ), "no such job in the accounting",
    )


@pytest.fixture
def clone(root_dir, tmp_path):
    """A copy of the benchmark to edit."""
    for name in "benchmark_shine", "benchmark_utils", "solvers", "datasets":
        shutil.copytree(root_dir / name, tmp_path / "clone" / name)
    shutil.copy(root_dir / "objective.py", tmp_path / "clone")
    return tmp_path / "clone"


SIZES = "'formulation, n_samples, n_features'"
SMALL = (
    "-d", f"simulated[{SIZES}=[('ridge', 60, 10)]]",
    "-o", "outer-loss[n_outer=1,reference=0]", "-s", "SHINE", "--no-plot",
)


@pytest.mark.slow
@pytest.mark.parametrize("edited", [
    "benchmark_shine/adjoint/base.py", "solvers/shine.py", "objective.py",
    "datasets/simulated.py",
])
def test_dask_workers_that_lived_through_an_edit_refuse(
    edited, clone, tmp_path
):
    pytest.importorskip("distributed")

    def run(config):
        return clusters.benchopt(
            tmp_path, "run", ".", *SMALL, "--parallel-config", config,
            "--output", tmp_path / "rows.parquet", cwd=clone,
        )

    with clusters.dask(tmp_path) as config:
        status, text = run(config)
        assert status == 0, text
        kept = clusters.cached(tmp_path)
        assert len(kept) == 1
        with (clone / edited).open("a") as file:
            file.write("# edited\n")
        status, text = run(config)
        assert status == 1
        told, = (line for line in text.splitlines() if "Error:" in line)
        assert REMEDY in told
        assert edited.partition("/adjoint")[0] in told
        assert clusters.cached(tmp_path) == kept
    with clusters.dask(tmp_path) as config:
        status, text = run(config)
        assert status == 0, text
        assert "cached" not in text
        assert len(clusters.cached(tmp_path)) == 2
