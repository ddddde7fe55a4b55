"""The live line, seen as a terminal shows it, and the line of the log."""
import contextlib
import fcntl
import io
import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import pytest
import tqdm.std
from benchopt.utils.terminal_output import TerminalOutput
from test_checkpoint import (  # noqa: F401
    OBJECTIVE, always, curve_of, cut_off, folder,
)
from test_sweep import RIDGE, command, spoilt, sweep

from benchmark_shine.bench import progress
from benchmark_shine.bench.progress import Report

WIDTH = 80


class Screen(io.StringIO):
    """A terminal of 80 columns: what would be seen on it now."""

    def __init__(self):
        super().__init__()
        self.rows, self.row, self.column = [""], 0, 0

    def isatty(self):
        return True

    def fileno(self):
        return 2

    def write(self, text):
        super().write(text)
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        for token in re.findall(r"\x1b\[A|[^\x1b]", text):
            if token == "\x1b[A":
                self.row = max(self.row - 1, 0)
            elif token == "\r":
                self.column = 0
            elif token == "\n":
                self.row, self.column = self.row + 1, 0
            else:
                if self.column == WIDTH:
                    self.row, self.column = self.row + 1, 0
                self._put(token)
        return len(text)

    def _put(self, token):
        while len(self.rows) <= self.row:
            self.rows.append("")
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[:self.column] + token + (
            line[self.column + 1:]
        )
        self.column += 1

    @property
    def seen(self):
        return [row.rstrip() for row in self.rows]


@pytest.fixture
def watch(monkeypatch):
    """To be called in the test, since pytest sets the streams before it."""
    def begin():
        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setattr(progress, "parent_process", lambda: None)
        monkeypatch.setenv("COLUMNS", str(WIDTH))
        size = os.terminal_size((WIDTH, 40))
        monkeypatch.setattr(os, "get_terminal_size", lambda fd: size)
        return screen

    return begin


@pytest.fixture
def clock(monkeypatch):
    """tqdm's time, in seconds, to be set."""
    now = [0.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    return now


def callback_of(show_progress=True, **status):
    terminal = TerminalOutput(1, show_progress)
    terminal.set(solver="SHINE", dataset="toy[seed=3]", objective="O")
    return SimpleNamespace(
        meta={"solver_name": "SHINE", "dataset_name": "toy[seed=3]",
              "p_dataset_seed": 3},
        stopping_criterion=SimpleNamespace(terminal=terminal),
        start=lambda: None, time_iter=12.34,
        **{"status": "done"} | status,
    )


def step_of(k, value=0.5, diverged=False):
    return SimpleNamespace(
        n_outer=k, value=value, n_g=10 * k, n_vjp=k, diverged=diverged
    )


KEY = "toy[seed=3]", "O", "SHINE"


def test_the_live_line_below_benchopts(watch, clock):
    screen = watch()
    callback = callback_of()
    terminal = callback.stopping_criterion.terminal
    terminal.progress("initialization", KEY)
    report = Report(callback, 10)
    for k in range(4):
        clock[0] = 2.0 * k
        terminal.progress(k / 10, KEY)
        report.show(step_of(k, 1 / (k + 1)))
        above, below = screen.seen
        assert above == f"    |--SHINE: {k / 10:6.1%} (1 / 1 reps)"
        left = 2 * (10 - k)
        assert below == (
            f"        step {k}/10, loss {1 / (k + 1):.6g}, 00:0{2 * k} so far"
            f", 00:{left:02} left: SHINE on toy, seed 3"[:WIDTH - 1].rstrip()
        ) if k else "? left" in below
    report.finish()
    terminal.show_status("done")
    log, _, done = screen.seen  # the log is longer than a row
    assert log.startswith("        SHINE on toy[seed=3]: 3 of 10 outer steps")
    assert done == "    |--SHINE: done"


def test_a_resumed_run_counts_its_own_time(watch, clock):
    screen = watch()
    report = Report(callback_of(), 10, done=5)
    clock[0] = 4.0
    report.show(step_of(6))
    # a step in 4 s, and four to go; not six steps in 4 s
    assert "step 6/10, loss 0.5, 00:04 so far, 00:16 left" in screen.seen[1]


def test_a_long_name_is_cut_not_wrapped(watch, clock):
    screen = watch()
    callback = callback_of()
    callback.meta["solver_name"] = "SHINE[" + "x" * 100 + "]"
    clock[0] = 1.0
    report = Report(callback, 10)
    clock[0] = 2.0
    report.show(step_of(1))
    assert len(screen.seen) == 2 and len(screen.seen[1]) <= WIDTH
    assert "00:01 so far, 00:09 left: SHINE[xx" in screen.seen[1]


def test_the_line_goes_away_with_its_run(watch, clock):
    screen = watch()
    report = Report(callback_of(), 10)
    assert "step 0/10" in screen.seen[1]
    report.close()
    report.close()
    assert screen.seen == ["", ""]
    assert (screen.row, screen.column) == (0, 0)


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
    spoil, watch, clock, monkeypatch
):
    screen = watch()
    callback = spoil(monkeypatch) or callback_of()
    report = Report(callback, 10)
    report.show(step_of(10))
    assert screen.seen == [""]
    report.finish()
    assert "".join(screen.seen) == (
        "        SHINE on toy[seed=3]: 10 of 10 outer steps, loss 0.5, 12.3 s"
        ", 110 evaluations"
    )


@pytest.mark.parametrize("step, done, status, said", [
    (step_of(10), 0, "done", "10 of 10 outer steps, loss 0.5,"),
    (step_of(10), 0, "max_runs", "10 of 10 outer steps, loss 0.5,"),
    (step_of(4), 0, "timeout",
     "4 of 10 outer steps (stopped by benchopt: timeout), loss 0.5,"),
    (step_of(4, diverged=True), 3, "running",
     "4 of 10 outer steps (3 of them before, diverged), loss 0.5,"),
])
def test_the_line_of_the_log(step, done, status, said, capsys):
    report = Report(callback_of(status=status), 10, done)
    report.show(step)
    report.finish()
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and said in out
    assert err == ""


def test_trial_runs_are_not_reported(watch):
    screen = watch()
    callback = callback_of()
    callback.meta = {}
    report = Report(callback, 10)
    report.show(step_of(1))
    report.finish()
    assert screen.seen == [""]


# ------------------------------------------------------------------ benchopt

def test_each_run_leaves_a_line(root_dir, tmp_path):
    for workers in ([], ["-j", "2"]):
        status, text = command(
            root_dir, "run", ".", "--no-cache", "--no-plot", "--output",
            tmp_path / "out.parquet", "-d", RIDGE, "-s", "SHINE", "-s",
            "Grid-search[n_points=3]", "-o", OBJECTIVE, *workers,
        )
        assert status == 0, text
        lines = re.findall(r"^ *(\S+ on simulated.*)$", text, re.MULTILINE)
        assert len(lines) == 2 and "left" not in text
        for line, k in zip(sorted(lines), (3, 6)):
            found = re.fullmatch(
                rf".*seed=0\S*: {k} of {k} outer steps, loss ([\d.]+), "
                r"[\d.e-]+ s, (\d+) evaluations", line
            )
            assert found and float(found[1]) > 0 and int(found[2]) > k, line


def test_on_a_terminal(root_dir, tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0,
                                                        0))
    run = subprocess.Popen(
        [sys.executable, "-m", "benchopt", "run", str(root_dir), "--no-cache",
         "--no-plot", "--output", str(tmp_path / "out.parquet"), "-d", RIDGE,
         "-s", "SHINE", "-o", OBJECTIVE],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={name: value for name, value in os.environ.items()
             if name != "COLUMNS"} | {"OMP_NUM_THREADS": "1"},
    )
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while some := os.read(ours, 65536):
            text += some
    os.close(ours)
    assert run.wait() == 0
    text = text.decode()
    assert re.search(r"step 0/\d, 00:0\d so far, \? left: SHINE on sim", text)
    screen = Screen()
    screen.write(text)
    assert "left:" not in "\n".join(screen.seen)
    assert "    |--SHINE: done" in screen.seen
    assert "6 of 6 outer steps" in "".join(screen.seen)


def test_a_run_that_fails_takes_its_line_away(
    root_dir, tmp_path, watch
):
    screen = watch()
    path = spoilt(tmp_path, "raise RuntimeError('out of luck')")
    sweep(
        root_dir, tmp_path / "out.parquet", [path, "SHINE"], [RIDGE],
        show_progress=True,
    )
    assert "left: Spoilt on simulated, seed 0" in screen.getvalue()
    assert "left:" not in "\n".join(screen.seen)


def test_the_line_is_not_on_the_clock(
    root_dir, folder, monkeypatch, watch  # noqa: F811
):
    watch()
    ticks = itertools.count()
    late = [0]
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) + late[0])
    shown = []

    def slow(self, *args):
        shown.append(args)
        late[0] += 1e6

    monkeypatch.setattr(progress._Line, "update", slow)
    curve = curve_of(root_dir, folder, show_progress=True)
    assert len(shown) == len(curve) == 7
    assert 0 < curve["time"].iloc[-1] < 1e4


def test_a_resumed_run_says_how_much_it_made(
    root_dir, folder, capfd  # noqa: F811
):
    cut_off(root_dir, folder, "interrupt")
    capfd.readouterr()
    curve_of(root_dir, folder)
    told = capfd.readouterr().out
    assert "6 of 6 outer steps (3 of them before), loss" in told
