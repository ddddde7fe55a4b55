"""The plan: what benchopt would run, told without running it."""
import re
from pathlib import Path

import pytest
from benchopt.cli.main import run as benchopt_run
from click.testing import CliRunner

from benchmark_shine.bench import plan
from benchmark_shine.bench.door.solvers import PROBLEMS
from benchmark_shine.bench.lifecycle import Lifecycle

ROOT = str(Path(__file__).resolve().parents[2])
RIDGE = "simulated[formulation=ridge,n_samples=40,n_features=8,seed=[0,1]]"
OBJECTIVE = ["-o", "outer-loss[n_outer=2,reference=0]"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHOPT_CACHE", str(tmp_path / "cache"))


def lines(*words):
    """The plan of some words, by what begins each line."""
    first, *others = plan.plan([ROOT, *OBJECTIVE, *words]).splitlines()
    return {"": first} | dict(
        line.strip().split(": ", 1) for line in others
    )


def test_runs_are_counted_and_what_is_left_out_has_a_reason(monkeypatch):
    def forbidden(solver, callback):
        raise AssertionError("the plan runs something")

    monkeypatch.setattr(Lifecycle, "run", forbidden)
    told = lines("-d", RIDGE, "-s", "SHINE[memory=[5,10]]",
                 "-s", "Grid-search", "-s", "torchdeq")
    assert re.fullmatch(r"Plan: 6 runs, about \d+ s", told[""])
    assert re.fullmatch(r"6 runs of 2, 10 outer steps, about \d+ s",
                        told["simulated"])
    assert told["solvers"] == "SHINE[memory=5], SHINE[memory=10], Grid-search"
    assert told["seeds"] == "0, 1" and told["protocols"] == "fair"
    assert re.search("is for equil|not installed", told["left out"])


def test_a_data_set_that_cannot_be_had_is_left_out():
    told = lines("-d", "svmlight", "-s", "SHINE")
    assert told[""] == "Plan: 0 runs" and "name a file" in told["left out"]


def test_a_configuration_file_is_read_by_benchopt(tmp_path):
    path = tmp_path / "my.yml"
    path.write_text(f"dataset: ['{RIDGE}']\nsolver: [SHINE, HOAG]\n"
                    "n-jobs: 2\ntimeout: 1h\n")
    assert lines("--config", str(path))[""].startswith("Plan: 4 runs, about")
    assert lines("--config", str(path), "-s", "HOAG")[""].startswith(
        "Plan: 2 runs")


def test_what_benchopt_does_not_understand(capsys):
    assert plan.main([ROOT, "-d", "nosuch"]) == 2
    assert capsys.readouterr().err.startswith("plan: ")


def test_a_run_says_its_plan_first_and_what_is_next_last(tmp_path):
    output = tmp_path / "rows.parquet"
    words = ["-d", RIDGE, "-s", "SHINE"]
    done = CliRunner().invoke(benchopt_run, [
        ROOT, *OBJECTIVE, *words, "--no-plot", "--output", str(output)
    ])
    assert done.exit_code == 0, done.output
    began, ended = done.output.index("Plan: 2 runs"), done.output.index(
        f'Next: make league RESULT="{output}"')
    assert began < done.output.index("SHINE", began) < ended
    told = lines(*words)
    assert told[""] == "Plan: 2 runs, 2 of them done before (cached)"
    assert "2 of them" not in lines(*words, "-f", "SHINE")[""]


def test_evaluations_are_counted_by_method_and_measurements():
    ridge, network = PROBLEMS["ridge"](), PROBLEMS["network"]()
    count = plan.count_evaluations
    assert count(ridge, "SHINE", 10, 0) == 12 * 10
    assert count(ridge, "SHINE", 10, 4) == 12 * 10 + 4 * plan.TIGHT[True]
    assert count(ridge, "new", 10, 0) == 200 < count(ridge, "HOAG", 10, 0)
    assert count(network, "HOAG", 10, 0) == 60 * 10 + 11 * 10 * plan.FORWARD


@pytest.mark.parametrize("seconds, n_jobs, words", [
    (0.1, 1, ", about 1 s"), (89, 1, ", about 89 s"),
    (600, 2, ", about 5 min"), (9000, 1, ", about 2 h"), (9000, None, ""),
])
def test_time_in_words(seconds, n_jobs, words):
    run = plan.Run("a", "b", 0, "fair", 1, seconds, False)
    assert plan._time_in_words([run], n_jobs) == words
