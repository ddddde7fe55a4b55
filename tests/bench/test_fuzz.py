"""Bad inputs of every kind: a sentence that names them, never a traceback.

Each target below feeds what hypothesis draws to one entrance of the suite and
says whether it was turned away; `explained` decides what is a sentence.
"""
import ast
import contextlib
import datetime
import gzip
import hashlib
import io
import os
import re
import resource
import sys
import tarfile
import tempfile
import traceback
import warnings
from argparse import Namespace
from pathlib import Path

import benchopt
import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
import yaml
from benchopt import run_benchmark
from benchopt.benchmark import Benchmark
from benchopt.cli.main import run as benchopt_run
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow.parquet import ParquetFile, write_table
from test_figures import FIGURES, results

from benchmark_shine.bench.checkpoint import Checkpoint
from benchmark_shine.bench.dataset import loaded
from benchmark_shine.checks import (
    check_integer, check_number, check_path, check_seed,
)
from benchmark_shine.data.pictures import pictures
from benchmark_shine.data.readers import (
    list_folder, open_picture, read_cifar10, read_idx_pictures, read_pictures,
    two_folders,
)

sys.path.insert(0, str(FIGURES))

import authors  # noqa: E402
import common  # noqa: E402
import fig2_opa  # noqa: E402
import fig3_deq  # noqa: E402
import figE2_deq_inversion  # noqa: E402
import league  # noqa: E402

ROOT = FIGURES.parent
BENCHOPT = Path(benchopt.__file__).parent


def sentence(told, names):
    """Whether a message is one line that names one of these."""
    return len(told.splitlines()) == 1 and any(
        str(name) in told for name in names
    )


def explained(error, *names):
    """Whether an exception is a sentence that names what is wrong."""
    return isinstance(error, (ValueError, common.ResultError)) and (
        sentence(str(error), names)
    )


def turned_away(call, *names):
    """Whether a call ends in an explained error; any other is the test's."""
    try:
        call()
    except Exception as error:
        if not explained(error, *names):
            raise
        return True
    return False


def reason_of(data, *names):
    """The same for what a data set hands to benchopt."""
    if data["problem"] is not None:
        return False
    assert sentence(data["reason"], names), data["reason"]
    return True


# ------------------------------------------------------------ what is drawn

def damaged(wholes):
    """Bytes of which some are cut off, changed, inserted or exchanged."""
    @st.composite
    def draw_one(draw):
        data = bytearray(draw(st.sampled_from(wholes)))
        place = st.integers(0, len(data))
        for _ in range(draw(st.integers(1, 4))):
            where = draw(place)
            how = draw(st.sampled_from(["cut", "set", "insert", "flip"]))
            if how == "cut":
                del data[where:draw(place)]
            elif how == "set":
                new = draw(st.binary(max_size=8))
                data[where:where + len(new)] = new
            elif how == "insert":
                data[where:where] = draw(st.binary(max_size=8))
            elif where < len(data):
                data[where] ^= 1 << draw(st.integers(0, 7))
        return bytes(data)

    return draw_one()


HUGE = 2 ** 31, 2 ** 63, -2 ** 63, 10 ** 30, 10 ** 12
WORDS = (
    "", "x", "secant", "corrected", "now", "None", "1", "nan", "../..",
    "~nosuchuser/x", "\0", "a\nb", "cuda", "cuda:99", "gpu", "meta", "dense",
    "large", "nls", "é" * 300,
)
# what YAML knows
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 40), st.sampled_from(HUGE),
        st.floats(), st.sampled_from(WORDS), st.text(max_size=6),
        st.binary(max_size=3), st.dates(max_value=datetime.date(2030, 1, 1)),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=2), inner, max_size=2
    ),
    max_leaves=4,
)


# -------------------------------------------------------------- svmlight files

LINES = st.lists(
    st.one_of(
        st.sampled_from([
            b"1 1:1 3:0.5", b"-1 2:1e3", b"0 1:1", b"1", b"", b"# comment",
            b"1 qid:2 1:3", b"1,2 1:1", b"nan 1:1", b"inf 1:1", b"1e400 2:1",
            b"1 1:nan", b"1 1:1e400", b"1 0:1", b"1 -1:1", b"1 2:1 1:1",
            b"1 1:1 1:2", b"1 1.5:1", b"1 one", b"1 99999999999:1",
            b"1 2147483648:1", b"1 9223372036854775808:1", b"1 1:", b"1 :1",
            b"1:1", b"\xff 1:1", b"1 1:0x10", b"1\t1:1", b"1 1:1 # 2:2",
            b"1 1_0:1", "1 \u0661:1".encode(), b"1 1:1\x00", b"1 300000000:1",
        ]),
        st.binary(max_size=12), st.from_regex(
            rb"-?[0-9]{1,3}( [0-9]{1,3}:-?[0-9]{1,3}(e[0-9]{1,3})?){0,3}",
            fullmatch=True,
        ),
    ), max_size=14,
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
    problem = data["problem"]
    assert problem.train.y.unique().numel() <= 2
    theta, z = problem.start()
    assert problem.draw(theta, z, 1).g(z).shape == z.shape
    return False


# ------------------------------------------------------------ settings

def setting(classes):
    """A class of these, one of its parameters, and a value for it."""
    pairs = [
        (name, key) for name, cls in sorted(classes.items())
        for keys in cls.parameters for key in keys.split(", ")
    ]
    return st.tuples(st.sampled_from(pairs), VALUES)


def fuzz_datasets(drawn, world):
    (name, key), value = drawn
    if (name, key) == ("cifar10", "path") and value is None:
        value = ""  # None: the whole data set, where a machine has it
    usual = usual_settings(world.folder)[name]
    data = world.datasets[name].get_instance(**usual | {key: value}).get_data()
    # what does not fit into memory is a sum of settings
    names = [key, "memory", *[value] * isinstance(value, str)]
    if reason_of(data, *names):
        return True
    data["problem"].start()
    return False


def usual_settings(folder):
    """Of each data set that this machine has: those that are fast."""
    small = {"batch_size": 4, "epochs": 1, "unrolled_steps": 0}
    return {
        "simulated": {
            "formulation": "ridge", "n_samples": 40, "n_features": 8,
        },
        "breast_cancer": {}, "digits_multinomial": {},
        "svmlight": {"path": str(folder / "good.svm"), "train_size": 0.5},
        "digits": {"width": 4, "batch_size": 32, "epochs": 1},
        "cifar10": {
            "path": str(folder / "tree"), "size": None, "network": "dense",
            "width": 4, "n_train": None, "n_test": None, **small,
        },
        "imagenet": {
            "path": str(folder / "tree"), "size": 8, "network": "dense",
            "n_train": None, "n_test": None, **small,
        },
    }


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
    solver.set_objective(problem, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(solver.steps())
    return False


def fuzz_objective(drawn, world):
    (_, key), value = drawn
    instance = world.objective.get_instance(**{key: value})
    skipped, told = instance.skip(world.problems["bilevel"])
    if skipped:
        assert sentence(told, [key]), told
        return True
    instance.set_data(world.problems["bilevel"])
    threads = instance.get_objective()["threads"]
    assert threads <= 4096
    return False


# ------------------------------------------------------------ pictures

def picture_file(form, mode="RGB", size=(6, 5)):
    file = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 255, (*size[::-1], 4))
    picture = Image.fromarray(noise.astype("uint8"), "RGBA").convert(mode)
    picture.save(file, form)
    return file.getvalue()


PICTURES = [
    picture_file("PNG"), picture_file("JPEG"), picture_file("PNG", "P"),
    picture_file("PNG", "RGBA"), picture_file("JPEG", "CMYK"),
    picture_file("JPEG", "L"),
]
# what Pillow would read, some of it with the help of other programs
OTHERS = [
    *(picture_file(form) for form in (
        "GIF", "BMP", "TIFF", "PPM", "ICO", "EPS", "PDF", "WEBP", "TGA",
    )),
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<svg/>",
]


def fuzz_picture(content, world):
    path = world.folder / "one.jpg"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return turned_away(lambda: open_picture(path).load(), path)


NAMES = st.sampled_from([
    "train", "test", "a", "b", ".hidden", "x.jpg", "y.PNG", "z.txt",
    "é\n.jpg", "-rf.png",
])
KINDS = st.sampled_from([
    "picture", "picture", "wide", "text", "empty", "folder", "fifo",
    "dangling", "loop", "link", "closed",
])
TREES = st.lists(
    st.tuples(st.lists(NAMES, min_size=1, max_size=4), KINDS), max_size=9
)
PLAUSIBLE = [
    (part, label, f"{i}.png")
    for part in ("train", "test") for label in "ab" for i in range(3)
]


def plant(root, entries):
    """Make files of any kind; what does not go is left out."""
    for names, kind in entries:
        path = root.joinpath(*names)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir()
            elif kind == "fifo":
                os.mkfifo(path)
            elif kind == "dangling":
                path.symlink_to("nowhere")
            elif kind == "loop":
                path.symlink_to(path.name)
            elif kind == "link":
                path.symlink_to("/etc/passwd")
            elif not path.is_dir():
                path.unlink(missing_ok=True)
                path.write_bytes({
                    "picture": PICTURES[0], "wide": picture_file(
                        "PNG", size=(9, 5)
                    ), "text": b"no picture", "empty": b"",
                    "closed": PICTURES[1],
                }[kind])
                path.chmod(0 if kind == "closed" else 0o644)


def fuzz_folder(drawn, world):
    whole, entries, empty = drawn
    root = Path(tempfile.mkdtemp(dir=world.folder))
    if whole:
        plant(root, [(names, "picture") for names in PLAUSIBLE])
    plant(root, entries)
    if empty:
        plant(root, [(["train", "c"], "folder")])

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for paths, labels in two_folders(root)[:2]:
                assert len(read_pictures(paths)) == len(labels)
            return list_folder(root / "train")[2]

    # a name may have two lines: what is said has one
    return reason_of(loaded(read), root)


def idx(data, kind=8):
    data = np.asarray(data, np.uint8)
    shape = b"".join(n.to_bytes(4, "big") for n in data.shape)
    return bytes([0, 0, kind, data.ndim]) + shape + data.tobytes()


IDX = [
    idx(np.arange(32).reshape(2, 4, 4)), idx([1, 0]), idx([]), idx(3),
    gzip.compress(idx(np.arange(32).reshape(2, 4, 4)), mtime=0),
    gzip.compress(idx([1, 0]), mtime=0), idx([1, 0], kind=9),
    b"\0\0\x08\xff" + b"\xff" * 1020, b"\0\0\x08\x03" + b"\xff" * 12,
    gzip.compress(b"\0\0\x08\x01\xff\xff\xff\xff" + b"\0" * 9, mtime=0),
]


def fuzz_idx(drawn, world):
    paths = world.folder / "images-idx3", world.folder / "labels-idx1"
    for path, content in zip(paths, drawn):
        path.write_bytes(content)

    def read():
        x, y = read_idx_pictures(*paths)
        pictures((x, y), (x, y))

    return turned_away(read, *paths, "labels")


# ------------------------------------------------------------ archives

def member(name, kind="file", target="x", n=2, label=1):
    """A header and what goes with it."""
    info = tarfile.TarInfo(name)
    content = bytes([label] + [7] * 3072) * n
    info.type = {
        "file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE,
        "symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE,
        "device": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE,
        "character": tarfile.CHRTYPE,
    }[kind]
    info.linkname = target if kind in ("symlink", "link") else ""
    info.size = len(content) if kind == "file" else 0
    return info, content if kind == "file" else b""


WANTED = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
PLACE = "cifar-10-batches-bin/"


def archive(members, form="gz"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{form}") as whole:
        for info, content in members:
            whole.addfile(info, io.BytesIO(content))
    return file.getvalue()


ODD_MEMBERS = st.builds(
    member,
    st.sampled_from([
        *(PLACE + name for name in WANTED), "../escaped", "/tmp/escaped",
        PLACE + "../../escaped", PLACE, "x" * 200,
    ]),
    st.sampled_from([
        "file", "folder", "symlink", "link", "device", "fifo", "character",
    ]),
    st.sampled_from([
        PLACE + WANTED[0], WANTED[0], WANTED[1], "../../etc/passwd",
        "/etc/passwd", "nowhere",
    ]), st.integers(0, 2), st.sampled_from([0, 9, 10, 255]),
)
ARCHIVES = st.builds(
    lambda kept, odd, form: archive(
        [*odd, *(member(PLACE + name) for name in sorted(kept))], form
    ),
    st.sets(st.sampled_from(WANTED), min_size=4),
    st.lists(ODD_MEMBERS, min_size=1, max_size=4),
    st.sampled_from(["", "gz", "bz2", "xz"]),
)
WHOLE_ARCHIVES = [
    archive([member(PLACE + name, n=1) for name in WANTED], form)
    for form in ("", "gz", "bz2", "xz")
]


def fuzz_archive(content, world):
    path = world.folder / "cifar.tar"
    path.write_bytes(content)
    before = sorted(world.folder.rglob("*")), Path("/tmp/escaped").exists()
    away = turned_away(lambda: read_cifar10(path), path)
    assert before == (
        sorted(world.folder.rglob("*")), Path("/tmp/escaped").exists()
    )
    return away


# ------------------------------------------------------------ result files

def parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


RESULTS = results()
RESULTS = RESULTS[
    RESULTS["solver_name"].isin(["SHINE", "HOAG", "Grid-search"])
    & (RESULTS["p_dataset_seed"] < 2)
].reset_index(drop=True)
PARQUET = parquet(RESULTS)


class Bomb:
    """What a pickle could do, if anybody unpickled it."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


CELLS = st.one_of(
    st.none(), st.floats(), st.integers(-5, 5), st.sampled_from([
        "1", "", "nan", "x" * 100_000, "a[b=1,seed=", "[[[]]]", "\0",
        2 ** 62, True, datetime.datetime(2020, 1, 1),
        datetime.timedelta(days=1), [1.0, 2.0], {"a": 1},
        b"\x00benchopt-pkl\x00cos\nmkdir\n(S'exploded'\ntR.",
    ]), st.text(max_size=5), st.binary(max_size=4),
)
COLUMNS = sorted(RESULTS)


def fuzz_columns(changes, world):
    frame = RESULTS
    for name, how, cell in changes:
        if how == "drop":
            frame = frame.drop(columns=name, errors="ignore")
        elif how == "all":
            frame = frame.assign(**{name: [cell] * len(frame)})
        elif how == "one" and name in frame and len(frame):
            column = frame[name].astype(object)
            column.iloc[0] = cell
            frame = frame.assign(**{name: column})
        elif how == "rows":
            frame = frame[:len(name) % 3]
        elif how == "twice":
            frame = pd.concat([frame, frame])
        elif how == "name":
            frame = frame.rename(columns={name: str(cell)[:9]})
    path = world.folder / "changed.parquet"
    try:
        frame.to_parquet(path)
    except Exception:
        return False  # no such file can be
    return read_results_of(path)


def fuzz_parquet(content, world):
    path = world.folder / "damaged.parquet"
    path.write_bytes(content)
    return read_results_of(path)


def read_results_of(path):
    options = Namespace(results=[path], datasets=[], methods=None)

    def read():
        with contextlib.redirect_stderr(io.StringIO()):
            frame = common.load(options)
            for _, runs in frame.groupby(["protocol", "dataset", "method"]):
                common.over_seeds(runs, "time", (0.1, 0.9))
            league.read_problems(options)

    return turned_away(read, path)


def figE2_read(path):
    return figE2_deq_inversion.panels_of(figE2_deq_inversion.read([path]))


# A file that is read as a table, by what, and its first rows.
CSV = [
    (read, b"".join((ROOT / name).read_bytes().splitlines(True)[:5]))
    for name, read in (
        ("results/figE2_dense.csv", figE2_read),
        ("figures/authors_cifar10.csv", fig3_deq.read_authors),
        ("figures/authors_20news_seed0.csv", authors.read_authors),
        ("results/fig2_inversion.csv", fig2_opa.read_inversion),
    )
]
TABLES = st.one_of([
    st.tuples(st.just(read), damaged([whole])) for read, whole in CSV
])


def fuzz_csv(drawn, world):
    read, content = drawn
    path = world.folder / "table.csv"
    path.write_bytes(content)

    def quietly():
        with contextlib.redirect_stderr(io.StringIO()):
            read(path)

    return turned_away(quietly, path)


# ------------------------------------------------------------ checkpoints

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


# ------------------------------------------------------------ config files

def fuzz_config(drawn, world):
    """A whole run by a file: whatever is wrong in it, it is said."""
    pairs, value = drawn
    parts = {
        "objective": {"outer-loss": {"n_outer": 1, "reference": 0}},
        "dataset": {"svmlight": {"path": str(world.folder / "good.svm")}},
        "solver": {"SHINE": {}},
    }
    for part, key in pairs:
        own, = parts[part].values()
        own[key] = value
    path, output = (world.folder / name for name in ("a.yml", "a.parquet"))
    output.unlink(missing_ok=True)
    path.write_text(yaml.safe_dump(
        {part: [own] for part, own in parts.items()} | {"plot": False}
    ), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(benchopt_run, [
            str(ROOT), "--config", str(path), "--no-cache", "--output",
            str(output),
        ])
    assert "Traceback" not in done.output, done.output
    assert done.exception is None or own_words(done.exception), done.output
    reasons = re.findall("Reason: (.*)", done.output)
    assert output.exists() or done.exception or reasons, done.output
    for reason in reasons:
        assert any(key in reason for _, key in pairs), reason
    return bool(reasons) or done.exception is not None


def own_words(error):
    """Whether benchopt ended the run by itself, with a sentence."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, SystemExit) or (
        Path(frame.filename).is_relative_to(BENCHOPT) and str(error)
    )


# ------------------------------------------------------------ the tests

def network(dataset):
    data = dataset.get_instance(width=4, batch_size=32, epochs=1)
    return data.get_data()["problem"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What the targets need, made once."""
    benchmark = Benchmark(ROOT)
    folder = tmp_path_factory.mktemp("fuzz")
    plant(folder / "tree", [
        ([part, label, f"{i}.png"], "picture")
        for part in ("train", "test", "val") for label in "ab"
        for i in range(4)
    ])
    (folder / "good.svm").write_bytes(GOOD_SVM)
    datasets = {cls.name: cls for cls in benchmark.get_datasets()}
    bilevel = datasets["simulated"].get_instance(
        formulation="logistic", n_samples=40, n_features=8
    )
    return Namespace(
        folder=folder, datasets=datasets,
        solvers={
            cls.name: cls for cls in benchmark.get_solvers()
            if cls.is_installed(quiet=True) and cls.name != "jaxopt"
        },
        objective=benchmark.get_benchmark_objective(),
        problems={
            "bilevel": bilevel.get_data()["problem"],
            "network": network(datasets["digits"]),
        },
    )


TARGETS = (
    "svmlight lines", "svmlight bytes", "data set settings",
    "solver settings", "objective settings", "config file", "picture",
    "folder", "idx", "archive members", "archive bytes", "parquet bytes",
    "parquet columns", "csv", "checkpoint",
)


def targets(world):
    """name -> (strategy, target)."""
    usual = usual_settings(world.folder)
    some = {name: world.datasets[name] for name in usual}
    objective = {"SHINE": world.objective}
    changes = st.lists(st.tuples(
        st.sampled_from(COLUMNS),
        st.sampled_from(["drop", "all", "one", "rows", "twice", "name"]),
        CELLS,
    ), min_size=1, max_size=3)
    return {
        "svmlight lines": (LINES.map(b"\n".join), fuzz_svmlight),
        "svmlight bytes": (damaged([GOOD_SVM]), fuzz_svmlight),
        "data set settings": (setting(some), fuzz_datasets),
        "solver settings": (st.tuples(
            setting(world.solvers), st.sampled_from(sorted(world.problems))
        ), fuzz_solvers),
        "objective settings": (setting(objective), fuzz_objective),
        "picture": (
            damaged(PICTURES) | st.sampled_from(OTHERS), fuzz_picture
        ),
        "folder": (
            st.tuples(st.booleans(), TREES, st.booleans()), fuzz_folder
        ),
        "idx": (st.tuples(*[
            st.sampled_from(IDX) | damaged(IDX)
        ] * 2), fuzz_idx),
        "archive members": (ARCHIVES, fuzz_archive),
        "archive bytes": (damaged(WHOLE_ARCHIVES), fuzz_archive),
        "parquet bytes": (damaged([PARQUET]), fuzz_parquet),
        "parquet columns": (changes, fuzz_columns),
        "csv": (TABLES, fuzz_csv),
        "config file": (st.tuples(
            st.lists(st.sampled_from([
                ("objective", "n_outer"), ("objective", "threads"),
                ("objective", "reference"), ("dataset", "path"),
                ("dataset", "formulation"), ("dataset", "n_groups"),
                ("dataset", "train_size"), ("dataset", "seed"),
                ("solver", "memory"), ("solver", "tol"), ("solver", "decay"),
                ("solver", "anchor"), ("solver", "moves"), ("solver", "c2"),
                ("solver", "scale"), ("solver", "keep_pairs"),
                ("solver", "max_iter"), ("solver", "forward"),
                ("solver", "protocol"), ("solver", "figure"),
                ("solver", "backward_steps"), ("solver", "growth"),
            ]), min_size=1, max_size=2), VALUES,
        ), fuzz_config),
        "checkpoint": (damaged([checkpoint({"x": torch.ones(3)}),
                                checkpoint(3)]), fuzz_checkpoint),
    }


# What once ended in a traceback, a wrong answer or another program's start.
FOUND = {
    "svmlight lines": [
        b"1 1:1\n0 99999999999:1", b"nan 1:1\n1 1:2\n" * 9,
        b"1e400 1:1\n1 1:2\n" * 9,
    ],
    "data set settings": [
        (("digits", "width"), None), (("digits", "device"), ""),
        (("digits", "width"), 2 ** 31 - 1), (("digits", "contraction"), "x"),
        (("digits", "jacobian_weight"), None), (("digits", "seed"), 2 ** 32),
        (("cifar10", "device"), "gpu"), (("cifar10", "device"), "meta"),
        (("imagenet", "size"), {}), (("imagenet", "path"), 3),
        (("imagenet", "path"), "~nosuchuser/x"),
        (("svmlight", "path"), "~nosuchuser/x"),
        (("simulated", "n_features"), 2 ** 31 - 1),
        (("simulated", "n_samples"), 10 ** 30),
    ],
    "solver settings": [
        ((("Phantom", "tau"), {}), "network"),
        ((("SHINE-fallback", "ratio"), "x"), "network"),
        ((("Grid-search", "n_points"), 2 ** 31 - 1), "bilevel"),
        ((("HOAG", "max_iter"), 10 ** 30), "bilevel"),
        ((("Recycled-PCG", "n_recycled"), None), "bilevel"),
    ],
    "objective settings": [(("SHINE", "threads"), 2 ** 31)],
    "picture": OTHERS,
    "folder": [(True, [(["train", "a", "x.jpg"], kind)], False)
               for kind in ("fifo", "loop", "dangling", "link", "folder")],
    "archive members": [archive(
        [member(PLACE + name, "symlink", name) for name in WANTED]
    )],
    "parquet columns": [
        [("dataset_name", "all", None)], [("solver_name", "all", 1.0)],
        [("dataset_name", "one", b"x")], [("time", "all", b"\0\0")],
        [("objective_value", "all", "x" * 100_000)],
    ],
    "checkpoint": [checkpoint(Bomb()), b"", b"PK\x03\x04"],
}


@pytest.fixture
def little_memory():
    """4 GiB more than there are now: a slip must not take the machine."""
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
    strategy, target = targets(world)[name]
    away = []

    def one(drawn):
        away.append(target(drawn, world))

    found = FOUND.get(name, [])
    for drawn in found:
        one = example(drawn)(one)
    one = settings(
        max_examples=n, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )(given(strategy)(one))
    with contextlib.chdir(world.folder):
        one()
    assert not (world.folder / "exploded").exists()
    return sum(away), len(away)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the limit on memory"
)
@pytest.mark.parametrize("name", TARGETS)
def test_bad_inputs_get_a_sentence(name, world, little_memory):
    away, n = bad_inputs(name, 8, world)
    assert away >= n / 4


@pytest.mark.slow
def test_thousands_of_bad_inputs_get_a_sentence(world, little_memory):
    counts = {name: bad_inputs(name, 240, world) for name in TARGETS}
    print(counts)
    assert sum(away for away, _ in counts.values()) >= 2_000


# ------------------------------------------------------------ by the source

def calls(path):
    """Every call of a file, as it is written up to its bracket."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def sources(root):
    return [
        path for part in ("benchmark_shine", "datasets", "solvers", "figures",
                          "benchmarks")
        for path in (root / part).rglob("*.py")
    ] + [root / "objective.py"]


FORBIDDEN = re.compile(
    r"^(eval|exec)$|(^|\.)(pickle\.\w+|joblib\.load|yaml\.load|read_pickle|"
    r"extract|extractall|unpack_archive|np\.load|numpy\.load)$"
)


def test_nothing_is_unpickled_extracted_or_evaluated(root_dir):
    seen = 0
    for path in sources(root_dir):
        for name, node in calls(path):
            seen += 1
            assert not FORBIDDEN.search(name), f"{path}: {name}"
            if name == "torch.load":
                assert any(
                    word.arg == "weights_only" and word.value.value is True
                    for word in node.keywords
                ), path
            if name == "pooch.retrieve":
                assert re.search("md5|sha256:", ast.unparse(node)), path
    assert seen > 1_000


def test_the_search_for_such_calls_finds_them():
    for name in "eval", "pickle.loads", "np.load", "archive.extractall":
        assert FORBIDDEN.search(name), name
    for name in "archive.extractfile", "model.eval", "re.compile":
        assert not FORBIDDEN.search(name), name


def test_result_files_hold_plain_columns(root_dir, tmp_path):
    path = tmp_path / "plain.parquet"
    run_benchmark(
        str(root_dir), solver_names=["SHINE"],
        dataset_names=["simulated[formulation=ridge,n_samples=40,"
                       "n_features=8]"],
        objective_filters=["outer-loss[n_outer=1,reference=1]"], no_cache=True,
        plot_result=False, display=False, show_progress=False,
        output_file=str(path),
    )
    for field in ParquetFile(path).schema_arrow:
        assert not pyarrow.types.is_nested(field.type), field
        assert "binary" not in str(field.type), field


def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "x.jpg"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="x.jpg: not a readable picture"):
        open_picture(path)


@pytest.mark.parametrize("form", ["EPS", "GIF", "TIFF", "BMP"])
def test_pictures_of_other_formats_are_refused(form, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(picture_file(form))
    with pytest.raises(ValueError, match="x.png: not a readable picture"):
        open_picture(path)


@pytest.mark.parametrize("error, caught", [
    (MemoryError("Unable to allocate 8 TiB"), True),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
    (RuntimeError("shapes do not match"), False),
])
def test_what_does_not_fit_is_said_and_slips_are_not_hidden(error, caught):
    def build():
        raise error

    if caught:
        assert "does not fit into memory" in loaded(build)["reason"]
    else:
        with pytest.raises(RuntimeError, match="shapes"):
            loaded(build)


def test_two_columns_of_one_name(tmp_path):
    path = tmp_path / "twice.parquet"
    table = pyarrow.Table.from_pandas(RESULTS)
    write_table(table.append_column("time", table["time"]), path)
    with pytest.raises(common.ResultError, match="two columns of one name"):
        common.read_results([path])


@pytest.mark.parametrize("train, test, told", [
    ((4, 3, 6), (4, 4, 6), "labels: 3 for 4 training pictures"),
    ((4, 4, 6), (0, 0, 6), "labels: 0 for 0 test pictures"),
    ((4, 4, 6), (4, 4, 5), "pictures of different shapes"),
])
def test_pictures_that_do_not_go_together(train, test, told):
    def part(n, n_labels, size):
        return np.zeros((n, 3, size, size), np.uint8), np.zeros(n_labels, int)

    with pytest.raises(ValueError, match=told):
        pictures(part(*train), part(*test))


@pytest.mark.parametrize("check, words", [
    (lambda: check_integer("n", 2 ** 31, least=1), "at most 2147483647"),
    (lambda: check_integer("n", 0, least=1), "at least 1, got 0"),
    (lambda: check_integer("n", True, least=0), "at least 0, got True"),
    (lambda: check_seed(2 ** 32), "seed: .* at most 4294967295"),
    (lambda: check_seed(-1), "seed: .* at least 0"),
    (lambda: check_number("n", True, least=0), "number in .*, got True"),
    (lambda: check_path("path", 3), "path: must be text, got 3"),
    (lambda: check_path("path", "~nosuchuser/x"), "path: ~nosuchuser/x: "),
])
def test_checks_say_what_is_wrong(check, words):
    with pytest.raises(ValueError, match=words):
        check()


def test_checks_let_pass_what_is_right():
    check_integer("n", 2 ** 31 - 1, least=1)
    check_seed(2 ** 32 - 1)
    check_number("n", 0, least=0)
    assert check_path("path", "a/b") == Path("a/b")
