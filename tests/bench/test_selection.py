"""What is said before the first run, and which edits run anew."""
import os

import pytest
from benchopt.benchmark import Benchmark
from benchopt.results import read_results
from click import ClickException
from test_sweep import RIDGE, command

from benchmark_shine.bench import selection

SOLVER = '''
from benchmark_shine.adjoint import Shine
from benchmark_shine.solver import ImplicitSolver
from my_method import scale


class Solver(ImplicitSolver):
    """Of an editable package."""

    name = "Mine"

    def make_adjoint(self):
        return lambda system: scale() * Shine()(system)
'''
ARGUMENTS = "-d", RIDGE, "-o", "outer-loss[n_outer=1,reference=0]", "--no-plot"


def test_an_edit_behind_a_solver_runs_it_anew(root_dir, tmp_path):
    solver, output = tmp_path / "mine.py", tmp_path / "rows.parquet"
    solver.write_text(SOLVER)

    def values():
        output.unlink(missing_ok=True)
        status, text = command(
            root_dir, "run", ".", *ARGUMENTS, "-s", solver, "-s", "SHINE",
            "--output", output, BENCHOPT_CACHE=str(tmp_path / "cache"),
            PYTHONPATH=str(tmp_path / "package"),
        )
        assert status == 0, text
        rows = read_results(output)
        own = rows[rows["solver_name"] == "Mine"]
        assert own["objective_solver_fingerprint"].nunique() == 1
        return (
            own["objective_solver_fingerprint"].iloc[0],
            rows[rows["solver_name"] == "SHINE"]["time"].tolist(),
            own["time"].tolist(),
        )

    package = tmp_path / "package" / "my_method"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .inner import scale\n")
    (package / "inner.py").write_text("def scale():\n    return 1.0\n")
    first = values()
    assert values() == first  # to the last digit of the times: from the cache
    (package / "inner.py").write_text("def scale():\n    return 0.5\n")
    edited = values()
    assert edited[0] != first[0] and edited[2] != first[2]
    assert edited[1] == first[1]


@pytest.fixture
def named(root_dir, tmp_path):
    def write(name, text="", stem="mine"):
        path = tmp_path / f"{stem}.py"
        path.write_text(SOLVER.replace('"Mine"', f'"{name}"').replace(
            "from my_method import scale", text + "\nscale = float"
        ))
        return str(path)

    return write


def selected(root_dir, *patterns, kind="solver"):
    check = getattr(Benchmark(root_dir), f"check_{kind}_patterns")
    return check(list(patterns))


def test_two_solvers_of_one_name_are_refused(root_dir, named):
    mine = named("SHINE", stem="shine")
    with pytest.raises(ClickException) as error:
        selected(root_dir, mine, "SHINE")
    for word in "SHINE: ", mine, "solvers/shine.py", "name":
        assert word in error.value.message
    with pytest.raises(ClickException):
        selected(
            root_dir, named("Mine", stem="one"), named("Mine", stem="two")
        )
    assert len(selected(root_dir, mine)) == 1
    # one solver with two settings is one solver
    twice = selected(root_dir, "SHINE", "SHINE[backward_steps=5]")
    assert len(twice) == 2


def test_two_data_sets_of_one_name_are_refused(root_dir, tmp_path):
    copy = tmp_path / "simulated.py"
    copy.write_text((root_dir / "datasets" / "simulated.py").read_text())
    with pytest.raises(ClickException, match="simulated: the name of both"):
        selected(root_dir, str(copy), "simulated", kind="dataset")


def test_a_file_that_exits_is_named(root_dir, named):
    path = named("Mine", "import sys\nsys.exit()")
    with pytest.raises(ClickException) as error:
        selected(root_dir, path)
    assert f"{path}, line 5: calls sys.exit" in error.value.message


def test_the_benchmark_is_left_as_it_was(root_dir):
    # it is part of the cache's key, and goes to workers
    benchmark = Benchmark(root_dir)
    benchmark.check_dataset_patterns(["simulated"])
    benchmark.check_solver_patterns(["SHINE"])
    assert not {"check_dataset_patterns", "check_solver_patterns"} & vars(
        benchmark
    ).keys()


@pytest.fixture
def places(root_dir, tmp_path, monkeypatch):
    """A benchmark in a folder of its own; call with the forbidden folders."""
    benchmark = Benchmark(root_dir)
    benchmark.benchmark_dir = tmp_path / "clone"
    monkeypatch.setenv("BENCHOPT_CACHE", str(tmp_path / "cache"))
    for name in "clone", "cache", "results":
        (tmp_path / name).mkdir()

    def check(*forbidden, output="None", config=None):
        monkeypatch.setattr(
            os, "access", lambda path, mode: path.name not in forbidden
        )
        options = {"output": str(output), "config_file": config}
        selection.check_places(benchmark, options)

    return check


def test_places_that_cannot_be_written_are_named_before(places, tmp_path):
    places()
    places("clone", output=tmp_path / "results" / "x.parquet")
    for forbidden, remedy, options in (
        ("cache", "BENCHOPT_CACHE", {}), ("clone", "--output", {}),
        ("clone", "--output", {"output": "x"}),
        ("results", "--output",
         {"output": tmp_path / "results" / "new" / "x"}),
    ):
        with pytest.raises(ClickException) as error:
            places(forbidden, **options)
        assert str(tmp_path / forbidden) in error.value.message
        assert remedy in error.value.message


def test_a_result_file_that_exists_is_told(places, tmp_path, capsys):
    output = tmp_path / "results" / "race.parquet"
    config = tmp_path / "config.yml"
    config.write_text(f"output: {output}\n")
    places(output=output)
    assert capsys.readouterr().out == ""
    output.touch()
    for options in {"output": output}, {"config": str(config)}:
        places(**options)
        told = capsys.readouterr().out
        assert told.startswith(str(output)) and "race_N.parquet" in told
