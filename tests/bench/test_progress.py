"""The live line on a terminal, and the line of the log."""
import io
import itertools
import re
import sys
import time
from types import SimpleNamespace

import pytest
import tqdm.std
from test_checkpoint import (  # noqa: F401
    OBJECTIVE, always, curve_of, cut_off, folder,
)
from test_sweep import RIDGE, command, spoilt, sweep

from benchmark_shine.bench import progress
from benchmark_shine.bench.progress import Report
from benchmark_shine.engine import Totals


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True

    def fileno(self):
        return 2


@pytest.fixture
def watch(monkeypatch):
    """To be called in the test, since pytest sets the streams before it."""
    def begin():
        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setattr(progress, "parent_process", lambda: None)
        monkeypatch.setenv("COLUMNS", "300")
        return screen

    return begin


@pytest.fixture
def clock(monkeypatch):
    """tqdm's time, in seconds, to be set."""
    now = [0.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    return now


def callback_of(show_progress=True, status="done"):
    terminal = SimpleNamespace(show_progress=show_progress)
    return SimpleNamespace(
        meta={"solver_name": "SHINE", "dataset_name": "toy[seed=3]",
              "p_dataset_seed": 3},
        stopping_criterion=SimpleNamespace(terminal=terminal),
        start=lambda: None, time_iter=12.34, status=status,
    )


def shown(report, k, value=0.5, diverged=False):
    step = SimpleNamespace(value=value, diverged=diverged)
    report.show(step, Totals(k, 10 * k, k))


@pytest.mark.parametrize("done, k, line", [
    (0, 3, "step 3/10, loss 0.5, 00:06 so far, 00:14 left: SHINE on toy[seed"),
    # one step in 6 s, and four to go; not six steps in 6 s
    (5, 6, "step 6/10, loss 0.5, 00:06 so far, 00:24 left"),
])
def test_the_live_line(done, k, line, watch, clock):
    screen = watch()
    report = Report(callback_of(), 10, done)
    clock[0] = 6.0
    shown(report, k)
    assert line in screen.getvalue()
    report.close()
    assert not screen.getvalue().rpartition("\r")[2].strip()


@pytest.mark.parametrize("spoil", [
    lambda monkeypatch: monkeypatch.setattr(Screen, "isatty", lambda _: 0),
    lambda monkeypatch: monkeypatch.setattr(
        progress, "parent_process", lambda: "the pool's"
    ),
    lambda monkeypatch: monkeypatch.setattr(
        progress, "current_thread", lambda: "dask's"
    ),
    lambda monkeypatch: callback_of(show_progress=False),
], ids=["a file", "a worker", "a thread", "not wanted"])
def test_where_nobody_watches_there_is_only_the_log(
    spoil, watch, monkeypatch
):
    screen = watch()
    report = Report(spoil(monkeypatch) or callback_of(), 10)
    shown(report, 10)
    assert screen.getvalue() == ""
    report.finish()
    assert screen.getvalue() == (
        "        SHINE on toy[seed=3]: 10 of 10 outer steps, loss 0.5, 12.3 s"
        ", 110 evaluations\n"
    )


@pytest.mark.parametrize("k, diverged, done, status, said", [
    (10, False, 0, "done", "10 of 10 outer steps, loss 0.5,"),
    (10, False, 0, "max_runs", "10 of 10 outer steps, loss 0.5,"),
    (4, False, 0, "timeout",
     "4 of 10 outer steps (stopped by benchopt: timeout), loss 0.5,"),
    (4, True, 3, "running",
     "4 of 10 outer steps (3 of them before, diverged), loss 0.5,"),
])
def test_the_line_of_the_log(k, diverged, done, status, said, capsys):
    report = Report(callback_of(status=status), 10, done)
    shown(report, k, diverged=diverged)
    report.finish()
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and said in out
    assert err == ""


def test_trial_runs_are_not_reported(watch):
    screen = watch()
    callback = callback_of()
    callback.meta = {}
    report = Report(callback, 10)
    shown(report, 1)
    report.finish()
    assert screen.getvalue() == ""


# ------------------------------------------------------------------ benchopt

@pytest.mark.parametrize("workers", [[], ["-j", "2"]])
def test_each_run_leaves_a_line_and_no_percentages(
    workers, root_dir, tmp_path
):
    status, text = command(
        root_dir, "run", ".", "--no-cache", "--no-plot", "--output",
        tmp_path / "out.parquet", "-d", RIDGE, "-s", "SHINE", "-s",
        "Grid-search[n_points=3]", "-o", OBJECTIVE, *workers,
    )
    assert status == 0, text
    assert "%" not in text and "initialization" not in text
    lines = re.findall(r"^ *(\S+ on simulated.*)$", text, re.MULTILINE)
    assert len(lines) == 2 and "left" not in text
    for line, k in zip(sorted(lines), (3, 6)):
        found = re.fullmatch(
            rf".*seed=0\S*: {k} of {k} outer steps, loss ([\d.]+), "
            r"[\d.e-]+ s, (\d+) evaluations", line
        )
        assert found and float(found[1]) > 0 and int(found[2]) > k, line


def test_a_run_that_fails_takes_its_line_away(root_dir, tmp_path, watch):
    screen = watch()
    path = spoilt(tmp_path, "raise RuntimeError('out of luck')")
    sweep(
        root_dir, tmp_path / "out.parquet", [path, "SHINE"], [RIDGE],
        show_progress=True,
    )
    _, live, after = screen.getvalue().rpartition("left: Spoilt on simulated")
    before, traceback, _ = after.partition("Traceback")
    assert live and traceback
    assert re.search(r"\n\r {80,}\x1b\[A\r\s*$", before)  # blanks over it


def test_the_line_is_not_on_the_clock(
    root_dir, folder, monkeypatch, watch  # noqa: F811
):
    watch()
    ticks = itertools.count()
    late = [0]
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) + late[0])
    updates = []

    def slow(self, *args):
        updates.append(args)
        late[0] += 1e6

    monkeypatch.setattr(progress._Line, "update", slow)
    curve = curve_of(root_dir, folder, show_progress=True)
    assert len(updates) == len(curve) == 7
    assert 0 < curve["time"].iloc[-1] < 1e4


def test_a_resumed_run_says_how_much_it_made(
    root_dir, folder, capfd  # noqa: F811
):
    cut_off(root_dir, folder, "interrupt")
    capfd.readouterr()
    curve_of(root_dir, folder)
    told = capfd.readouterr().out
    assert "6 of 6 outer steps (3 of them before), loss" in told
