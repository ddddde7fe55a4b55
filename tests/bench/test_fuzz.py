"""Bad inputs of every kind: a sentence that names them, never a traceback.

Each target below feeds what hypothesis draws to one entrance of the suite and
says whether it was turned away; `explained` decides what is a sentence.
"""
import ast
import contextlib
import hashlib
import io
import os
import re
import resource
import sys
import tempfile
import warnings
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from benchopt.benchmark import Benchmark
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark_shine.bench.checkpoint import Checkpoint
from benchmark_shine.bench.dataset import loaded
from benchmark_shine.bench.door.files import load
from benchmark_shine.bench.door.invalid import Invalid, Source
from benchmark_shine.data.readers import (
    list_folder, open_picture, read_pictures, two_folders,
)
from figures.results import ResultError, read_inputs
from figures.tables import league

ROOT = Path(__file__).resolve().parents[2]


def sentence(told, names):
    """Whether a message is one line that names one of these."""
    return len(told.splitlines()) == 1 and any(
        str(name) in told for name in names
    )


def turned_away(call, *names):
    """Whether a call ends in a sentence; any other error is the test's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except (ValueError, ResultError) as error:
        if not sentence(str(error), names):
            raise
        return True
    return False


def reason_of(data, *names):
    """The same for what a data set hands to benchopt."""
    if data["problem"] is not None:
        return False
    assert sentence(data["reason"], names), data["reason"]
    return True


def damaged(wholes):
    """Bytes of which some are cut off, changed, inserted or exchanged."""
    @st.composite
    def draw_one(draw):
        data = bytearray(draw(st.sampled_from(wholes)))
        place = st.integers(0, len(data))
        for _ in range(draw(st.integers(1, 4))):
            where = draw(place)
            end = draw(st.sampled_from([where, where + 8]) | place)
            data[where:end] = draw(st.binary(max_size=8))
        return bytes(data)

    return draw_one()


WORDS = (
    "", "x", "secant", "None", "1", "nan", "../..", "~nosuchuser/x", "\0",
    "a\nb", "cuda:99", "meta", "large", "é" * 300,
)
# what YAML knows
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats()
    | st.sampled_from((2 ** 31, 2 ** 63, -2 ** 63, 10 ** 30))
    | st.sampled_from(WORDS) | st.text(max_size=6) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)

# Data sets

LINES = st.lists(
    st.sampled_from([
        b"1 1:1 3:0.5", b"-1 2:1e3", b"1", b"", b"# comment", b"1 qid:2 1:3",
        b"1,2 1:1", b"nan 1:1", b"1e400 2:1", b"1 1:nan", b"1 0:1", b"1 -1:1",
        b"1 2:1 1:1", b"1 1:1 1:2", b"1 one", b"1 99999999999:1", b"1 1:",
        b"1:1", b"\xff 1:1", b"1\t1:1", b"1 1_0:1", "1 \u0661:1".encode(),
    ]) | st.binary(max_size=12), max_size=14,
)
GOOD_SVM = b"".join(
    b"%d 1:%d %d:%d\n" % (i % 2, i, 2 + i % 3, i % 5) for i in range(40)
)


def fuzz_svmlight(content, world):
    path = world.folder / "my.svm"
    path.write_bytes(content)
    data = world.datasets["svmlight"].get_instance(path=str(path)).get_data()
    if reason_of(data, path, "y:", "X:", "train_size"):
        return True
    theta, z = data["problem"].start()
    assert data["problem"].draw(theta, z, 1).g(z).shape == z.shape
    return False


def setting(classes):
    """A class of these, one of its parameters, and a value for it."""
    return st.tuples(st.sampled_from([
        (name, key) for name, cls in sorted(classes.items())
        for keys in cls.parameters for key in keys.split(", ")
    ]), VALUES)


def usual_settings(folder):
    """Small settings of each data set that is at hand."""
    return {
        "simulated": {
            "formulation": "ridge", "n_samples": 40, "n_features": 8,
        },
        "breast_cancer": {}, "digits_multinomial": {},
        "svmlight": {"path": str(folder / "good.svm"), "train_size": 0.5},
        "digits": {"width": 4, "batch_size": 32, "epochs": 1},
        "text": {"n_train": 2_000, "n_test": 500, "width": 8, "inner": 8},
    }


def fuzz_datasets(drawn, world):
    (name, key), value = drawn
    usual = usual_settings(world.folder)[name]
    data = world.datasets[name].get_instance(**usual | {key: value}).get_data()
    # what does not fit into memory is a sum of settings
    names = [key, "memory", *[value] * isinstance(value, str)]
    if reason_of(data, *names):
        return True
    data["problem"].start()
    return False


def fuzz_solvers(drawn, world):
    ((name, key), value), which = drawn
    problem = world.problems[which]
    solver, usual = (
        world.solvers[name].get_instance(**some) for some in ({key: value}, {})
    )
    if usual.skip(problem, 1, 1)[0]:
        return True  # it has nothing to say about this problem
    skipped, told = solver.skip(problem, 1, 1)
    if skipped:
        assert sentence(told, [key]), told
        return True
    if isinstance(value, int) and value > 50:
        return False  # a long run, but a run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(solver.method(problem, 1).run(problem))
    return False


# Pictures

def picture_file(form, mode="RGB", size=(6, 5)):
    file = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 255, (*size[::-1], 4))
    picture = Image.fromarray(noise.astype("uint8"), "RGBA").convert(mode)
    picture.save(file, form)
    return file.getvalue()


PICTURES = [picture_file(*kind) for kind in (
    ("PNG",), ("JPEG",), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "CMYK"),
)]
# what Pillow would read, some of it with the help of other programs
OTHERS = [*map(picture_file, ("GIF", "BMP", "TIFF", "EPS", "PDF", "WEBP")),
          b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
          b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<svg/>"]


def fuzz_picture(content, world):
    path = world.folder / "one.jpg"
    path.write_bytes(content)
    return turned_away(lambda: open_picture(path).load(), path)


TREES = st.lists(st.tuples(
    st.lists(st.sampled_from([
        "train", "test", "a", ".hidden", "x.jpg", "y.PNG", "é\n.jpg",
    ]), min_size=1, max_size=4),
    st.sampled_from(["picture", "wide", "text", "folder", "fifo", "loop"]),
), max_size=9)


PLAUSIBLE = [([part, label, f"{i}.png"], "picture")
             for part in ("train", "test") for label in "ab" for i in range(3)]


def plant(root, entries):
    """Make files of any kind; what does not go is left out."""
    contents = {
        "picture": PICTURES[0], "wide": picture_file("PNG", size=(9, 5)),
        "text": b"no picture",
    }
    for names, kind in entries:
        path = root.joinpath(*names)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir()
            elif kind == "fifo":
                os.mkfifo(path)
            elif kind == "loop":
                path.symlink_to(path.name)
            elif not path.exists():  # a pipe would wait for a reader
                path.write_bytes(contents[kind])


def fuzz_folder(drawn, world):
    whole, entries = drawn
    root = Path(tempfile.mkdtemp(dir=world.folder))
    plant(root, PLAUSIBLE * whole + entries)

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for paths, labels in two_folders(root)[:2]:
                assert len(read_pictures(paths)) == len(labels)
            return list_folder(root / "train")[2]

    # a name may have two lines: what is said has one
    return reason_of(loaded(read), root)


# Result files, checkpoints, solvers

RESULTS = pd.read_parquet(ROOT / "results" / "rivals_quick.parquet")
RESULTS = RESULTS[
    RESULTS["solver_name"].isin(["SHINE", "HOAG", "Grid-search"])
    & (RESULTS["p_dataset_seed"] < 2) & (RESULTS["stop_val"] < 5)
].reset_index(drop=True)


class Bomb:
    """What a pickle could do, if anybody unpickled it."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


CELLS = st.none() | st.floats() | st.integers(-5, 5) | st.text(max_size=5) | (
    st.sampled_from([
        "1", "nan", "x" * 100_000, "a[b=1,seed=", "[[[]]]", "\0", 2 ** 62,
        True, pd.Timestamp(2020, 1, 1), [1.0, 2.0], {"a": 1},
        b"\x00benchopt-pkl\x00cos\nmkdir\n(S'exploded'\ntR.",
    ])
)
CHANGES = st.lists(st.tuples(
    st.sampled_from(sorted(RESULTS)),
    st.sampled_from(["all", "one", "twice", "name"]), CELLS,
), min_size=1, max_size=3)


def fuzz_columns(changes, world):
    frame = RESULTS
    for name, how, cell in changes:
        cells = [cell] * len(frame)
        if how == "one" and name in frame:
            cells[1:] = frame[name][1:]
        if how == "twice":
            frame = pd.concat([frame, frame])
        elif how == "name":
            frame = frame.rename(columns={name: str(cell)[:9]})
        else:
            frame = frame.assign(**{name: pd.Series(cells, frame.index)})
    path = world.folder / "changed.parquet"
    try:
        frame.to_parquet(path)
    except Exception:
        return False  # no such file can be
    return turned_away(lambda: rank(path), path, "dataset", "reference")


def fuzz_parquet(content, world):
    path = world.folder / "damaged.parquet"
    path.write_bytes(content)
    return turned_away(lambda: rank(path), path)


def rank(path):
    league.problems_of(read_inputs([path]).need_runs())


def parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def checkpoint(content):
    file = io.BytesIO()
    torch.save(["me", content], file)
    return file.getvalue()


def fuzz_checkpoint(content, world):
    path = world.folder / "run.pt"
    path.write_bytes(hashlib.sha256(content).digest() + content)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        found = Checkpoint(path, "me").read()
    if found is not None:
        return False
    assert sentence(told.getvalue(), [path])
    return True


FILES = [(ROOT / "solvers" / "template_solver.py").read_bytes(),
         (ROOT / "datasets" / "template_dataset.py").read_bytes()]


def fuzz_door(content, world):
    """A file for the door; it is not run where it could do harm."""
    path = Path(tempfile.mkdtemp(dir=world.folder)) / "mine.py"
    path.write_bytes(content)
    try:
        load(Source(path), world.benchmark)
    except Invalid as error:
        assert len(str(error).splitlines()) == 1 and str(error)
        return True
    return False


# The tests

@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What the targets need, made once."""
    benchmark = Benchmark(ROOT)
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "good.svm").write_bytes(GOOD_SVM)
    datasets = {cls.name: cls for cls in benchmark.get_datasets()}
    problems = {
        name: datasets[name].get_instance(
            **usual_settings(folder)[name]).get_data()["problem"]
        for name in ("simulated", "digits")
    }
    return Namespace(
        folder=folder, datasets=datasets, problems=problems,
        benchmark=benchmark, solvers={
            cls.name: cls for cls in benchmark.get_solvers()
            if cls.is_installed(quiet=True)
            and cls.library not in ("jaxopt", "optimistix")
        },
    )


# Target -> what is drawn for it (of the world), and how it is used.
TARGETS = {
    "svmlight": (lambda world: LINES.map(b"\n".join) | damaged([GOOD_SVM]),
                 fuzz_svmlight),
    "data set settings": (lambda world: setting({
        name: world.datasets[name] for name in usual_settings(world.folder)
    }), fuzz_datasets),
    "solver settings": (lambda world: st.tuples(
        setting(world.solvers), st.sampled_from(sorted(world.problems))
    ), fuzz_solvers),
    "picture": (lambda world: damaged(PICTURES) | st.sampled_from(OTHERS),
                fuzz_picture),
    "folder": (lambda world: st.tuples(st.booleans(), TREES), fuzz_folder),
    "parquet bytes": (lambda world: damaged([parquet(RESULTS)]),
                      fuzz_parquet),
    "parquet columns": (lambda world: CHANGES, fuzz_columns),
    "checkpoint": (lambda world: damaged(
        [checkpoint({"x": torch.ones(3)}), checkpoint(3)]), fuzz_checkpoint),
    "door": (lambda world: damaged(FILES), fuzz_door),
}

# What once ended in a traceback, a wrong answer or another program's start.
FOUND = {
    "svmlight": [
        b"1 1:1\n0 99999999999:1", b"nan 1:1\n1 1:2\n" * 9,
        b"1e400 1:1\n1 1:2\n" * 9,
    ],
    "data set settings": [
        (("digits", "width"), None), (("digits", "device"), ""),
        (("digits", "width"), 2 ** 31 - 1), (("digits", "contraction"), "x"),
        (("digits", "seed"), 2 ** 32), (("digits", "device"), "meta"),
        (("svmlight", "path"), "~nosuchuser/x"),
        (("simulated", "n_samples"), 10 ** 30),
    ],
    "solver settings": [
        ((("Phantom", "tau"), {}), "digits"),
        ((("SHINE-fallback", "ratio"), "x"), "digits"),
        ((("Grid-search", "n_points"), 2 ** 31 - 1), "simulated"),
        ((("HOAG", "max_iter"), 10 ** 30), "simulated"),
    ],
    "picture": OTHERS,
    "folder": [(True, [(["train", "a", "x.jpg"], kind)])
               for kind in ("fifo", "loop", "folder")],
    "parquet columns": [
        [("dataset_name", "all", None)], [("solver_name", "all", 1.0)],
        [("dataset_name", "one", b"x")], [("time", "all", b"\0\0")],
    ],
    "checkpoint": [checkpoint(Bomb()), b"", b"PK\x03\x04"],
}


@pytest.fixture
def little_memory():
    """4 GiB more than there are now: a slip must not take the machine."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the limit on memory is Linux's")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 2 ** 32, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def bad_inputs(name, n, world):
    """How many of some n inputs of a target were turned away, and of how many.

    The same inputs every time.
    """
    strategy, target = TARGETS[name]
    away = []

    def one(drawn):
        away.append(target(drawn, world))

    for drawn in FOUND.get(name, []):
        one = example(drawn)(one)
    one = settings(
        max_examples=n, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )(given(strategy(world))(one))
    with contextlib.chdir(world.folder):
        one()
    assert not (world.folder / "exploded").exists()
    return sum(away), len(away)


@pytest.mark.parametrize("name", TARGETS)
def test_bad_inputs_get_a_sentence(name, world, little_memory):
    away, n = bad_inputs(name, 8, world)
    assert away >= n / 4


@pytest.mark.slow
def test_thousands_of_bad_inputs_get_a_sentence(world, little_memory):
    counts = {name: bad_inputs(name, 300, world) for name in TARGETS}
    print(counts)
    assert sum(away for away, _ in counts.values()) >= 2_000


FORBIDDEN = re.compile(
    r"^(eval|exec)$|(^|\.)(pickle\.(loads?|Unpickler)|joblib\.load|yaml\.load|"
    r"read_pickle|extract|extractall|unpack_archive|(np|numpy)\.load)$"
)


def test_nothing_is_unpickled_extracted_or_evaluated():
    seen = []
    for folder in "benchmark_shine", "datasets", "solvers", "figures":
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    name, words = ast.unparse(node.func), ast.unparse(node)
                    seen.append(name)
                    if name != "np.load" or "allow_pickle=False" not in words:
                        assert not FORBIDDEN.search(name), f"{path}: {name}"
                    if name == "torch.load":
                        assert "weights_only=True" in words, path
                    if name == "pooch.retrieve":
                        assert re.search("md5|sha256:", words), path
    assert len(seen) > 1_000
    assert FORBIDDEN.search("pickle.loads") and not FORBIDDEN.search("re.eval")
