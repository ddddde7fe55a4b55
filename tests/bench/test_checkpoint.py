"""An interrupted run goes on, and ends as if nothing had happened."""
import copy
import hashlib
import io
import itertools
import os
import signal
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from benchopt.callback import _Callback
from PIL import Image
from test_sweep import sweep

from benchmark_shine.adjoint import Shine
from benchmark_shine.bench import checkpoint, workers
from benchmark_shine.bench.checkpoint import Checkpoint
from benchmark_shine.data.pictures import pictures
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.outer import GradientOptimizer, Hoag
from benchmark_shine.problems import MDEQ
from benchmark_shine.problems.mdeq import CONFIGURATIONS
from benchmark_shine.root import LBFGS, Broyden

from helpers.clusters import FORKED
from helpers.problems import model, network

N = 6


@pytest.fixture
def always(monkeypatch):
    """A checkpoint is due at each evaluation."""
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "run.pt"


# ---------------------------------------------------------------- the engine

OPTIMISERS = {
    "adam": torch.optim.Adam,
    "momentum": partial(
        torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-5
    ),
}


def outer_of(optimiser):
    return GradientOptimizer(
        partial(OPTIMISERS[optimiser], lr=0.01), tol=1e-3, decay=0.9,
        rate=lambda k: 0.01 / k,
    )


def tiny(**changes):
    """A small MDEQ, with dropout."""
    config = CONFIGURATIONS["tiny"]
    pixels = np.random.default_rng(0).integers(0, 256, (16, 3, 8, 8))
    part = pixels.astype(np.uint8), np.arange(16) % 10
    recipe = replace(config.recipe, batch_size=4, epochs=2, **changes)
    return MDEQ(*pictures(part, part), config, recipe, dtype=torch.float32)


def points_of(outer, resume=None):
    step = RootAndAdjoint(Broyden(9, 30), Shine())
    return Method(step, outer, N).run(network(), resume)


def left_at(k, points, outer, file):
    """Where a run stands after k steps, by way of a file."""
    point = next(itertools.islice(points, k, None))
    Checkpoint(file, "me").write(outer.store(point.state))
    return point.totals, outer.restore(Checkpoint(file, "me").read())


@pytest.mark.parametrize("k", [0, 3, 5])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_rest_of_a_run_is_the_same_to_the_bit(optimiser, k, file):
    outer = outer_of(optimiser)
    whole = list(points_of(outer))
    totals, state = left_at(k, points_of(outer), outer, file)
    totals = replace(totals, forward_time=1e3, backward_time=2e3)
    rest = list(points_of(outer_of(optimiser), (totals, state)))
    assert [p.totals.n_outer for p in rest] == list(range(k + 1, N + 1))
    for ours, theirs in zip(rest, whole[k + 1:], strict=True):
        a, b = ours.step, theirs.step
        assert all(map(torch.equal, a.theta, b.theta))
        assert all(map(torch.equal, a.grads, b.grads))
        assert torch.equal(a.q, b.q) and a.value == b.value
        a, b = ours.totals, theirs.totals
        assert (a.n_g, a.n_vjp) == (b.n_g, b.n_vjp)
        assert 1e3 < a.forward_time < 1e3 + 60
        assert 2e3 < a.backward_time < 2e3 + 60


def test_dropout_and_pretraining_go_on_too(file):
    def points(outer, resume=None):
        problem = tiny(unrolled_steps=2, unrolled_layers=2)
        step = RootAndAdjoint(Broyden(3, 3), Shine())
        return Method(step, outer, 4).run(problem, resume)

    *_, whole = points(outer_of("adam"))
    outer = outer_of("adam")
    *_, last = points(outer, left_at(1, points(outer), outer, file))
    assert last.totals.n_outer == whole.totals.n_outer == 4
    assert all(map(torch.equal, last.step.theta, whole.step.theta))
    assert last.step.value == whole.step.value


def test_steps_that_need_more_than_theta_have_no_state():
    step = RootAndAdjoint(LBFGS(), Shine())
    bilevel = Method(step, Hoag(), 2).run(model("logistic"))
    assert [point.state for point in bilevel] == [None, None, None]
    *others, last = points_of(outer_of("adam"))
    assert last.state is None
    assert all(point.state is not None for point in others)


# ------------------------------------------------------------------ the file

CONTENT = {
    "x": torch.arange(5.0), "n": 3, "t": 0.1, "none": None,
    "pair": (0.9, torch.tensor([1.0], dtype=torch.float64)),
}


def test_what_is_written_is_read(file):
    assert Checkpoint(file, "me").read() is None
    Checkpoint(file, "me").write(CONTENT | {"n": 4})
    Checkpoint(file, "me").write(CONTENT)
    found = Checkpoint(file, "me").read()
    assert torch.equal(found.pop("x"), CONTENT["x"])
    pair = found.pop("pair")
    assert pair[0] == 0.9 and torch.equal(pair[1], CONTENT["pair"][1])
    assert found == {"n": 3, "t": 0.1, "none": None}
    assert os.listdir(file.parent) == ["run.pt"]
    Checkpoint(file, "me").remove()
    assert not os.listdir(file.parent)


def flipped(data, place):
    damaged = bytearray(data)
    damaged[place] ^= 4
    return bytes(damaged)


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:-1], lambda data: data + b"x",
    lambda data: flipped(data, 0), lambda data: flipped(data, 900),
])
def test_a_damaged_file_is_told_and_not_used(damage, file, capsys):
    ours = Checkpoint(file, "me")
    ours.write(CONTENT)
    file.write_bytes(damage(file.read_bytes()))
    assert ours.read() is None
    told = capsys.readouterr().out
    assert told == f"{file} is damaged: the run starts over\n"
    ours.write(CONTENT)
    assert ours.read()["n"] == 3


def test_anothers_file_is_told_and_not_used(file, capsys):
    Checkpoint(file, "other").write(CONTENT)
    assert Checkpoint(file, "me").read() is None
    told = capsys.readouterr().out
    assert told == (
        f"{file} is of other code, data or settings: the run starts over\n"
    )


def test_no_code_in_a_file_is_run(file, capsys):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(file.parent / "exploded"),)

    archive = io.BytesIO()
    torch.save(["me", Bomb()], archive)
    file.parent.mkdir()
    data = archive.getvalue()
    file.write_bytes(hashlib.sha256(data).digest() + data)
    assert Checkpoint(file, "me").read() is None
    told = capsys.readouterr().out
    assert told.startswith(f"{file} cannot be read (")
    assert told.count("\n") == 1
    assert os.listdir(file.parent) == ["run.pt"]


def test_a_place_of_no_use_is_told_once(tmp_path, always, capsys):
    (tmp_path / "file").write_text("no folder")
    ours = Checkpoint(tmp_path / "file" / "run.pt", "me")
    assert ours.due
    ours.write(CONTENT)
    told = capsys.readouterr().out
    assert str(tmp_path) in told and told.count("\n") == 1
    assert not ours.due and ours.read() is None
    ours.remove()


def test_short_runs_write_nothing(file, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ours = Checkpoint(file, "me")
    due = []
    for now[0] in (0, 29, 31, 59, 62, 92):
        due.append(ours.due)
        if ours.due:
            ours.write(CONTENT)
    assert due == [False, False, True, False, True, True]
    assert not Checkpoint(None, "").due


# ------------------------------------------------------------------ benchopt

SOLVER = '''
import os
import signal
from pathlib import Path

from benchmark_shine.adjoint import Shine
from benchmark_shine.bench.solver import ImplicitSolver

FLAG = Path({flag!r})


class Solver(ImplicitSolver):
    """SHINE, but spoilt in the backward pass that a file names."""

    name = "Cut"

    def make_adjoint(self):
        calls = []

        def adjoint(system):
            calls.append(1)
            how, call = FLAG.read_text().split() if FLAG.exists() else "x0"
            if len(calls) == int(call):
                FLAG.unlink()
                if how == "spoil":
                    return system.rhs * float("nan")
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise KeyboardInterrupt
            return Shine()(system)

        return adjoint
'''
DATA = "digits[width=12,'batch_size, epochs'=[(64, 1)]]"
OBJECTIVE = f"outer-loss[n_outer={N},reference=0]"


@pytest.fixture
def folder(tmp_path, monkeypatch, always):
    """A folder with a solver file and a cache of its own."""
    monkeypatch.setenv("BENCHOPT_CACHE", str(tmp_path / "cache"))
    flag = str(tmp_path / "flag")
    (tmp_path / "cut.py").write_text(SOLVER.format(flag=flag))
    return tmp_path


def curve_of(root_dir, folder, objective=OBJECTIVE, data=DATA, **settings):
    """The rows of one run, whatever a run before it has left."""
    return sweep(
        root_dir, folder / f"{len(list(folder.iterdir()))}.parquet",
        [str(folder / "cut.py")], [data], objective_filters=[objective],
        **{"no_cache": False} | settings,
    )


def cut_off(root_dir, folder, how, call=4, **settings):
    (folder / "flag").write_text(f"{how} {call}")
    if how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            curve_of(root_dir, folder, **settings)
    else:
        process = FORKED.Process(target=run_elsewhere, args=(
            root_dir, folder, os.environ["BENCHOPT_CACHE"]
        ))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not (folder / "flag").exists()


def run_elsewhere(root_dir, folder, cache):
    """In a process of its own, which may be killed."""
    os.environ["BENCHOPT_CACHE"] = cache
    checkpoint.SECONDS = 0.0
    curve_of(root_dir, folder)


def checkpoints(folder):
    return sorted(folder.glob("cache/*/checkpoints/*"))


def written(path):
    """What a checkpoint holds."""
    data = io.BytesIO(path.read_bytes()[32:])
    return torch.load(data, weights_only=True)[1]


def same(a, b):
    """Compare two curves in all but times."""
    names = [
        name for name in a
        if name == "stop_val" or name.startswith(("objective_", "p_"))
        and not name.endswith(("_time", "_fingerprint"))
    ]
    assert len(names) > 20
    pd.testing.assert_frame_equal(a[names], b[names], check_exact=True)


@pytest.fixture(scope="module")
def whole(root_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "cut.py").write_text(SOLVER.format(flag=str(folder / "flag")))
    return curve_of(root_dir, folder, no_cache=True)


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_a_run_that_was_cut_off_goes_on(how, root_dir, folder, whole, capfd):
    cut_off(root_dir, folder, how)
    path, = checkpoints(folder)
    left = written(path)
    assert left["totals"]["n_outer"] == 3
    capfd.readouterr()
    curve = curve_of(root_dir, folder)
    told, = (line for line in capfd.readouterr().out.splitlines()
             if "resumed" in line)
    for word in "Cut", "digits[", "width=12", "step 3 of 6":
        assert word in told
    same(curve, whole)
    # what was measured before is kept, and the clock went on from there
    for name in "time", "objective_forward_time", "objective_backward_time":
        times = curve[name].tolist()
        assert times[:4] == [point[name] for point in left["curve"]]
        assert times == sorted(times)
    assert curve["objective_forward_time"].iloc[4] > (
        left["totals"]["forward_time"]
    )
    assert checkpoints(folder) == []
    # and benchopt has it
    again = curve_of(root_dir, folder, collect=True)
    pd.testing.assert_frame_equal(again[["time"]], curve[["time"]])


def test_a_run_may_be_cut_off_more_than_once(root_dir, folder, whole):
    # the calls are those of the run that goes on: steps 2, 4 and 6
    for call, n_outer in (2, 1), (3, 3), (3, 5):
        cut_off(root_dir, folder, "interrupt", call)
        path, = checkpoints(folder)
        assert written(path)["totals"]["n_outer"] == n_outer
    same(curve_of(root_dir, folder), whole)


@pytest.mark.parametrize("package", [True, False])
def test_other_code_starts_over(
    package, root_dir, folder, whole, capfd, monkeypatch
):
    cut_off(root_dir, folder, "interrupt")
    objective = OBJECTIVE
    if package:
        monkeypatch.setattr(workers, "LOADED", "other")
        objective = OBJECTIVE[:-1] + ",fingerprint=other]"
    else:
        with (folder / "cut.py").open("a") as file:
            file.write("# edited\n")
    capfd.readouterr()
    curve = curve_of(root_dir, folder, objective)
    told = capfd.readouterr().out
    assert "settings: the run starts over" in told and "resumed" not in told
    assert curve["objective_test_loss"].equals(whole["objective_test_loss"])
    assert checkpoints(folder) == []


def test_replaced_data_start_over(root_dir, folder, capfd):
    data = (
        f"pictures[path='{folder / 'pictures'}',width=8,"
        "'batch_size, epochs, unrolled_steps'=[(4, 9, 0)]]"
    )
    for shift in 0, 90:
        for i in range(20):
            path = folder / "pictures" / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (9 * i, shift, 7)).save(path)
        if shift == 0:
            cut_off(root_dir, folder, "interrupt", data=data)
    capfd.readouterr()
    curve = curve_of(root_dir, folder, data=data)
    told = capfd.readouterr().out
    assert "the run starts over" in told and "resumed" not in told
    assert curve["objective_n_outer"].tolist() == list(range(N + 1))


def test_other_settings_have_their_own_place(root_dir, folder):
    cut_off(root_dir, folder, "interrupt")
    left = checkpoints(folder)
    curve_of(root_dir, folder, data=DATA.replace("12", "11"))
    assert checkpoints(folder) == left


def test_a_damaged_checkpoint_costs_only_the_time(
    root_dir, folder, whole, capfd
):
    cut_off(root_dir, folder, "interrupt")
    path, = checkpoints(folder)
    path.write_bytes(path.read_bytes()[:-100])
    capfd.readouterr()
    same(curve_of(root_dir, folder), whole)
    assert "is damaged: the run starts over" in capfd.readouterr().out


def test_points_from_before_count(root_dir, folder):
    cut_off(root_dir, folder, "interrupt")
    curve = curve_of(root_dir, folder, max_runs=4)
    assert curve["stop_val"].tolist() == [0, 1, 2, 3, 4]


def test_divergence_between_two_points(root_dir, folder):
    every_other = {"objective": "outer-loss[n_outer=20,reference=0]"}
    cut_off(root_dir, folder, "interrupt", call=6, **every_other)
    (folder / "flag").write_text("spoil 1")
    curve = curve_of(root_dir, folder, **every_other)
    assert curve["objective_n_outer"].tolist() == [0, 2, 4, 5]
    assert curve["objective_diverged"].tolist() == [0, 0, 0, 1]


def test_writing_is_not_on_the_clock(root_dir, folder, monkeypatch):
    ticks = itertools.count()
    late = [0]
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) + late[0])
    write = Checkpoint.write

    def slow(self, content):
        late[0] += 1e6
        write(self, copy.deepcopy(content))

    monkeypatch.setattr(Checkpoint, "write", slow)
    curve = curve_of(root_dir, folder)
    assert late[0] == 1e6 * N  # the last step leaves nothing to go on with
    assert 0 < curve["time"].iloc[-1] < 1e4


def test_the_first_optimiser_is_made_before_the_clock(
    root_dir, folder, monkeypatch
):
    made = []

    def noted(name, original):
        def call(self, *args):
            made.append(name)
            return original(self, *args)
        return call

    for name, cls in ("optimiser", GradientOptimizer), ("clock", _Callback):
        monkeypatch.setattr(cls, "start", noted(name, cls.start))
    curve_of(root_dir, folder, max_runs=1)
    assert made[:3] == ["optimiser", "clock", "optimiser"]
