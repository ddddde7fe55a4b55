"""Splits, files, data sets, simulations, and what wrong input is told."""
import re
import sys

import numpy as np
import pytest
import scipy.sparse
import torch
from benchopt.benchmark import Benchmark
from sklearn.datasets import fetch_20newsgroups_vectorized, load_digits
from sklearn.model_selection import train_test_split

from benchmark_shine.bench.dataset import loaded
from benchmark_shine.data.simulate import regression, text
from benchmark_shine.data.svmlight import read_svmlight
from benchmark_shine.data.tables import feature_groups, split, two_classes
from benchmark_shine.problems import (
    Logistic, Multinomial, NonlinearLeastSquares, Ridge,
)
from benchmark_shine.problems.design import Design

from helpers.problems import MODELS, model, normal, theta_of


@pytest.fixture(scope="module")
def datasets(root_dir):
    """The classes of datasets/ by name."""
    return {cls.name: cls for cls in Benchmark(root_dir).get_datasets()}


def one_line(reason):
    return isinstance(reason, str) and 10 < len(reason) and "\n" not in reason


# split


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("train_size", [0.5, 0.9])
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


@pytest.mark.parametrize("n, sizes", [
    (1000, (900, 50, 50)), (101, (90, 6, 5)), (18846, (16961, 943, 942)),
])
def test_split_sizes(n, sizes):
    X, y = np.zeros((n, 1)), np.arange(n)
    parts = [part[1] for part in split(X, y, 0)]
    assert tuple(map(len, parts)) == sizes
    assert sorted(np.concatenate(parts)) == list(range(n))


def test_split_keeps_rows_with_their_labels():
    X = scipy.sparse.csr_matrix(np.arange(1.0, 41).reshape(40, 1))
    for X_part, y_part in split(X, np.arange(1.0, 41), 3, 0.5):
        assert np.array_equal(X_part.toarray()[:, 0], y_part)


@pytest.mark.parametrize("train_size", [0, 1, 1.5, -0.1, float("nan")])
def test_bad_train_size_is_named(train_size):
    with pytest.raises(ValueError, match="^train_size: "):
        split(np.zeros((9, 1)), np.zeros(9), 0, train_size)


# labels and groups


@pytest.mark.parametrize("y", [
    [0, 1, 1], [1, 2, 2], [-1.0, 1.0, 1.0], ["ham", "spam", "spam"],
])
def test_two_classes(y):
    assert two_classes(np.array(y)).tolist() == [-1, 1, 1]


@pytest.mark.parametrize("y, shown", [
    ([3, 3], r"1 \(3\)"), ([0, 1, 2], r"3 \(0, 1, 2\)"),
    (range(9), r"9 \(0, 1, 2, 3, 4, …\)"),
])
def test_other_than_two_classes_are_shown(y, shown):
    with pytest.raises(ValueError, match=f"^y: .*two classes, got {shown}$"):
        two_classes(np.array(y))


@pytest.mark.parametrize("n, n_groups, sizes", [
    (6, 1, [6]), (6, 6, [1] * 6), (6, 2, [3, 3]), (7, 3, [3, 2, 2]),
])
def test_feature_groups(n, n_groups, sizes):
    groups = feature_groups(n, n_groups)
    assert groups.tolist() == sorted(groups)
    assert np.bincount(groups).tolist() == sizes


@pytest.mark.parametrize("n_groups", [0, 7, -1, 1.5, "two", None])
def test_bad_groups_are_named(n_groups):
    with pytest.raises(ValueError, match=f"^n_groups: .*{n_groups}"):
        feature_groups(6, n_groups)


# svmlight files


def write(path, *lines):
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_read_svmlight(tmp_path):
    path = write(
        tmp_path / "a b.svm", "# a comment", "+1 1:0.5 3:2", "-1 2:1.5", "",
        "1 3:-1 # another",
    )
    X, y = read_svmlight(str(path))
    assert X.toarray().tolist() == [[0.5, 0, 2], [0, 1.5, 0], [0, 0, -1]]
    assert y.tolist() == [1, -1, 1]


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


def test_a_file_of_no_samples_is_named(tmp_path):
    path = write(tmp_path / "empty.svm", "# nothing")
    with pytest.raises(ValueError, match="no samples") as error:
        read_svmlight(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["nowhere.svm", "."])
def test_a_missing_file_is_named(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(ValueError, match="^path: there is no file") as error:
        read_svmlight(path)
    assert str(path) in str(error.value)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "my.svm", "1 1:1")
    assert read_svmlight("~/my.svm")[1].tolist() == [1]


# loaded


@pytest.mark.parametrize("error", [
    ValueError("X: two\n  lines"), OSError("X: two\n  lines"),
    TypeError("X: two\n  lines"),
])
def test_loaded_turns_errors_into_one_line(error):
    def build():
        raise error

    assert loaded(build) == {"problem": None, "reason": "X: two lines"}


def test_loaded_hands_the_problem_over():
    assert loaded(lambda: 3) == {"problem": 3}


# problems


def parts(n=6, p=3, y=None):
    rng = np.random.RandomState(0)
    y = np.sign(rng.randn(n)) if y is None else y
    return [(rng.randn(n, p), np.array(y)) for _ in range(3)]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which, name", [
    (0, "training"), (1, "validation"), (2, "test"),
])
def test_nan_in_X_is_named(which, name, value, sparse):
    data = parts()
    data[which][0][2, 1] = value
    if sparse:
        data = [(scipy.sparse.csr_matrix(X), y) for X, y in data]
    with pytest.raises(ValueError, match=f"^X: NaN .* {name} data"):
        Logistic(*data)


@pytest.mark.parametrize("kind", [Ridge, Logistic])
@pytest.mark.parametrize("which, name", [
    (0, "training"), (1, "validation"), (2, "test"),
])
def test_nan_in_y_is_named(which, name, kind):
    data = parts()
    data[which][1][2] = np.nan
    with pytest.raises(ValueError, match=f"^y: NaN .* {name} data"):
        kind(*data)


@pytest.mark.parametrize("kind", [Logistic, NonlinearLeastSquares])
def test_labels_of_other_classes_are_named(kind):
    data = parts()
    data[1][1][:3] = [0, 2, 0.5]
    with pytest.raises(ValueError, match="^y: .*two classes.*validation"):
        kind(*data)


@pytest.mark.parametrize("label", [-1, 3, 0.5])
def test_unknown_class_numbers_are_named(label):
    data = parts(y=[0, 1, 2, 0, 1, 2])
    y = np.array([0, 1, 2, 0, 1, label])
    data[2] = data[2][0], y
    with pytest.raises(ValueError, match="^y: .* 0 .. 2 .*test data"):
        Multinomial(*data)


@pytest.mark.parametrize("kind", [Ridge, Multinomial])
@pytest.mark.parametrize("which, name", [
    (0, "training"), (1, "validation"), (2, "test"),
])
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


def test_parts_of_different_width_are_named():
    data = parts()
    data[2] = data[2][0][:, :2], data[2][1]
    with pytest.raises(ValueError, match="^X: .*number of features"):
        Logistic(*data)


@pytest.mark.parametrize("n_targets, n_samples", [(5, 6), (6, 5), (0, 0)])
def test_samples_and_targets_must_match(n_targets, n_samples):
    data = parts()
    data[0] = data[0][0][:n_samples], data[0][1][:n_targets]
    with pytest.raises(
        ValueError, match=f"^y: {n_targets} targets for {n_samples} samples"
    ):
        Logistic(*data)


def test_groups_of_the_wrong_shape_are_named():
    with pytest.raises(ValueError, match=r"^groups: .* 3 features.*\(2,\)"):
        Logistic(*parts(), groups=[0, 1])


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


def test_design_dtype():
    A = scipy.sparse.csr_matrix(np.eye(3, dtype=np.int64))
    for X in (A, A.toarray()):
        w = torch.ones(3, dtype=torch.float32)
        assert (Design(X, torch.float32) @ w).dtype == torch.float32


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


@pytest.mark.parametrize("draw", [regression, text])
@pytest.mark.parametrize("name", ["n_samples", "n_features"])
@pytest.mark.parametrize("value", [0, 7, 9.5, None])
def test_bad_sizes_are_named(draw, name, value):
    sizes = {"n_samples": 20, "n_features": 20, name: value}
    with pytest.raises(ValueError, match=f"^{name}: .*{value}"):
        draw(**sizes, seed=0)


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
@pytest.mark.parametrize("n_groups", [1, 8])
def test_bundled_data(name, settings, kind, sizes, d, n_groups, datasets):
    data = datasets[name].get_instance(**settings, n_groups=n_groups)
    problem = data.get_data()["problem"]
    assert type(problem) is kind
    all_parts = problem.train, problem.validation, problem.test
    assert tuple(len(part.y) for part in all_parts) == sizes
    (theta,), z = problem.start()
    assert theta.shape == (n_groups,)
    assert z.shape == (d,)


@pytest.mark.parametrize("name", [
    "simulated", "breast_cancer", "digits_multinomial",
])
def test_bundled_data_follow_their_seed(name, datasets):
    def start(seed):
        problem = datasets[name].get_instance(seed=seed).get_data()["problem"]
        z = problem.start()[1]
        return z, problem.loss(z)

    for a, b in zip(start(1), start(1)):
        assert torch.equal(a, b)
    for a, b in zip(start(1), start(2)):
        assert not torch.equal(a, b)


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
    data = datasets["digits_multinomial"].get_instance()
    problem = data.get_data()["problem"]
    X, y = load_digits(return_X_y=True)
    (X_train, y_train), *_ = split(X, y, 0, 0.5)
    eye = torch.eye(64, dtype=torch.float64)
    assert np.array_equal((problem.train.X @ eye).numpy(), X_train / 16)
    assert np.array_equal(problem.train.y.numpy(), y_train)


@pytest.mark.parametrize("formulation", ["logistic", "nls"])
def test_svmlight_file(formulation, tmp_path, datasets):
    X, y = text(40, 12, 0)
    lines = [
        f"{label + 3} " + " ".join(
            f"{j + 1}:{v!r}" for j, v in zip(row.indices, row.data.tolist())
        ) for label, row in zip(y, X)
    ]
    path = write(tmp_path / "my.svm", *lines)
    data = datasets["svmlight"].get_instance(
        path=str(path), formulation=formulation, train_size=0.5, n_groups=3
    )
    problem = data.get_data()["problem"]
    (X_train, y_train), *_ = split(X.toarray(), y, 0, 0.5)
    eye = torch.eye(12, dtype=torch.float64)
    np.testing.assert_allclose((problem.train.X @ eye).numpy(), X_train)
    assert np.array_equal(problem.train.y.numpy(), y_train)
    assert problem.start()[0][0].shape == (3,)


BAD = [
    ("simulated", {"formulation": "lasso"}, "formulation: 'lasso'"),
    ("simulated", {"n_samples": 3}, "n_samples: .*3"),
    ("simulated", {"n_groups": 0}, "n_groups: .*0"),
    ("breast_cancer", {"formulation": "ridge"}, "formulation: 'ridge'"),
    ("breast_cancer", {"train_size": 1.5}, "train_size: .*1.5"),
    ("breast_cancer", {"train_size": "half"}, "train_size: .*half"),
    ("breast_cancer", {"n_groups": 31}, "n_groups: .*31"),
    ("breast_cancer", {"seed": -1}, "seed: .*-1"),
    ("digits_multinomial", {"n_groups": 65}, "n_groups: .*65"),
    ("20news", {"formulation": "lasso"}, "formulation: 'lasso'"),
    ("real-sim", {"formulation": "lasso"}, "formulation: 'lasso'"),
    ("svmlight", {}, "svmlight: name a file"),
    ("svmlight", {"path": "/nowhere.svm"}, "path: .*/nowhere.svm"),
    ("svmlight", {"path": 3}, "path: .*3"),
]


@pytest.mark.parametrize("name, settings, reason", BAD)
def test_bad_settings_skip_the_data_set(name, settings, reason, datasets):
    data = datasets[name].get_instance(**settings).get_data()
    assert data["problem"] is None
    assert one_line(data["reason"])
    assert re.match(reason, data["reason"])


@pytest.mark.parametrize("lines, reason", [
    (["0 1:1", "1 1:2", "2 1:3"] * 5, "y: labels must be two classes, got 3"),
    (["1 1:1", "1 1:2"] * 5, "y: labels must be two classes, got 1"),
    (["0 1:1", "1 1:nan"] * 9, "X: NaN or infinite entries in the"),
    (["0 1:1", "1 one"], "{path}, line 2: not svmlight format"),
])
def test_bad_files_skip_the_data_set(lines, reason, tmp_path, datasets):
    path = write(tmp_path / "bad.svm", *lines)
    data = datasets["svmlight"].get_instance(path=str(path)).get_data()
    assert data["problem"] is None
    assert one_line(data["reason"])
    assert data["reason"].startswith(reason.format(path=path))


def test_missing_20news_says_how_to_get_it(tmp_path, monkeypatch, datasets):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    data = datasets["20news"].get_instance().get_data()
    assert data["problem"] is None
    assert one_line(data["reason"])
    assert "benchopt prepare . -d 20news" in data["reason"]


def test_missing_real_sim_says_how_to_get_it(
    tmp_path, monkeypatch, datasets
):
    module = sys.modules[datasets["real-sim"].__module__]
    monkeypatch.setattr(module, "LIBSVM_DATA_HOME", tmp_path)

    def fetch_dataset(name):
        raise AssertionError("went to the network")

    monkeypatch.setattr(module, "fetch_dataset", fetch_dataset)
    data = datasets["real-sim"].get_instance().get_data()
    assert data["problem"] is None
    assert one_line(data["reason"])
    assert "benchopt prepare . -d real-sim" in data["reason"]


def test_real_sim_reads_what_libsvmdata_keeps(
    tmp_path, monkeypatch, datasets
):
    module = sys.modules[datasets["real-sim"].__module__]
    X, y = text(40, 12, 0)
    (tmp_path / "binary").mkdir()
    scipy.sparse.save_npz(tmp_path / "binary" / "real-sim_X.npz", X)
    monkeypatch.setattr(module, "LIBSVM_DATA_HOME", tmp_path)
    monkeypatch.setattr(
        module, "fetch_dataset", lambda name: (X.tocsc(), y)
    )
    problem = datasets["real-sim"].get_instance().get_data()["problem"]
    assert problem.train.X.shape == (36, 12)
    (X_train, y_train), *_ = split(X.toarray(), y, 0)
    eye = torch.eye(12, dtype=torch.float64)
    np.testing.assert_allclose((problem.train.X @ eye).numpy(), X_train)


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
