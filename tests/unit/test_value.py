"""Exact F, its derivatives and its optimum: closed forms, dense algebra."""
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from benchmark_shine.engine import Step
from benchmark_shine.evaluate import comparison, store, value
from benchmark_shine.evaluate.store import Store, identity, store_of
from benchmark_shine.evaluate.tight import TightSolver
from benchmark_shine.evaluate.value import (
    ManyThetas, ValueFunction, hermite, lagrange,
)
from benchmark_shine.problems import Logistic

from helpers.problems import (
    jacobian_at, model, normal, relative, ridge_solution, theta_of,
    tight_root,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    return tmp_path


def step_at(problem, theta, grads=None, q=None):
    leaf, z = theta_of(problem, theta), problem.start()[1]
    equation = problem.draw(leaf, z, 1)
    grads = None if grads is None else (torch.as_tensor(grads),)
    return Step(leaf, z, float(equation.loss(z)), equation, grads, q)


def closed(problem, theta):
    return ridge_solution(problem, torch.tensor([theta]).double())


@pytest.mark.parametrize("kind", ["ridge", "logistic", "multinomial"])
@pytest.mark.parametrize("sparse", [False, True])
def test_tight_solves_are_those_of_dense_algebra(kind, sparse):
    problem = model(kind, groups=2, sparse=sparse)
    theta = theta_of(problem, normal(1, 3))
    found = TightSolver(problem).at(theta, 5 * problem.start()[1])
    equation, root = tight_root(problem, theta)
    q = torch.linalg.solve(
        jacobian_at(equation, root.z),
        torch.autograd.functional.jacobian(equation.loss, root.z),
    )
    assert relative(found.z, root.z) < 1e-5
    assert relative(found.q, q) < 1e-4
    assert found.value == pytest.approx(
        float(equation.loss(root.z)), rel=1e-9
    )


def test_a_loose_root_is_corrected():
    problem = model("logistic")
    theta = theta_of(problem, -2.0)
    exact = TightSolver(problem).at(theta, problem.start()[1]).value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark_shine.evaluate.tight.ROOT_TOL", 1e-3)
        loose = TightSolver(problem).at(theta, problem.start()[1])
    assert loose.value == pytest.approx(exact, rel=1e-8)
    equation = problem.draw(theta, loose.z, 1)
    assert abs(float(equation.loss(loose.z)) - exact) > 1e-8 * exact


@pytest.mark.parametrize("kind", ["ridge", "logistic", "multinomial"])
def test_between_nodes_f_is_exact(kind):
    problem = model(kind, n=40)
    function, solve = ValueFunction(problem), TightSolver(problem)
    range_ = np.ptp([function.at(t).value for t in (-12.0, 12.0)]) or 1
    for theta in np.random.RandomState(0).uniform(-12, 12, 25):
        read = function.at(float(theta))
        exact = solve.at(theta_of(problem, theta), problem.start()[1])
        assert abs(read.value - exact.value) < 1e-6 * range_
        assert abs(read.value - exact.value) < 3 * read.error
        assert float((read.grads - exact.grads).abs()) < 3 * read.grads_error
        assert relative(read.q.double(), exact.q) < 3 * read.q_error


def test_f_in_closed_form_and_by_finite_differences():
    problem = model("ridge", n=40)
    function = ValueFunction(problem)
    for theta in -7.3, -0.4, 1.1, 3.0:
        read, exact = function.at(theta), closed(problem, theta)
        assert read.value == pytest.approx(float(exact.value), rel=1e-6)
        h = 1e-4
        difference = (
            function.at(theta + h).value - function.at(theta - h).value
        ) / (2 * h)
        assert float(read.grads) == pytest.approx(difference, rel=1e-3)
        assert float(read.grads) == pytest.approx(
            float(exact.grad), rel=1e-4
        )


def test_interpolants_of_polynomials():
    p = np.polynomial.Polynomial(normal(0, 8).tolist())
    xs = [-1.0, 0.5, 1.0, 2.0]
    data = [(p(x), p.deriv()(x)) for x in xs]
    assert hermite(xs, data, 0.3) == pytest.approx((p(0.3), p.deriv()(0.3)))
    cubic = np.polynomial.Polynomial([1, -2, 0.5, 3])
    weights = lagrange(xs, 0.3)
    assert np.dot(weights, [cubic(x) for x in xs]) == pytest.approx(
        cubic(0.3)
    )


def test_f_does_not_depend_on_who_came_first():
    thetas = [-3.3, 0.7, -8.2, 2.4, 1.0]
    one, two = (ValueFunction(model("logistic", n=40)) for _ in range(2))
    one._store = two._store = Store(None)
    first = [one.at(t) for t in thetas]
    second = [two.at(t) for t in thetas[::-1]][::-1]
    for a, b in zip(first, second):
        assert abs(a.value - b.value) <= a.error
    assert first[-1].value == pytest.approx(second[-1].value, rel=1e-9)


def test_the_optimum_of_ridge():
    problem = model("ridge", n=40)
    best = minimize_scalar(
        lambda t: float(closed(problem, t).value), bounds=(-12, 12),
        method="bounded", options={"xatol": 1e-9},
    )
    assert ValueFunction(problem).optimum() == pytest.approx(
        best.fun, rel=1e-9
    )


def test_the_lower_of_two_valleys(monkeypatch):
    # each node is asked for F and its slope: a double well in theta
    def well(theta):
        f = np.polynomial.Polynomial([5, 0.3, -0.5, 0, 0.01])
        return f(theta), f.deriv()(theta)

    function = ValueFunction(model("ridge"))
    function._store = Store(None)

    def made(theta):
        f, slope = well(theta)
        v = torch.ones(6)
        return value.Exact(v, v, f, torch.tensor([slope]), 0.0)

    monkeypatch.setattr(function, "_made", made)
    grid = np.linspace(-12, 12, 240001)
    assert function.optimum() == pytest.approx(well(grid)[0].min(), abs=1e-7)


def test_the_optimum_of_several_thetas():
    problem = model("ridge", 2, n=40)

    def f(x):
        return float(ridge_solution(problem, torch.as_tensor(x)).value)

    starts = np.full(3, -4.0), np.zeros(3), np.full(3, 4.0)
    best = min(
        minimize(f, x, bounds=[(-12, 12)] * 3, method="L-BFGS-B").fun
        for x in starts
    )
    assert ManyThetas(problem).optimum() == pytest.approx(best, rel=1e-5)


# What a row says


@pytest.mark.parametrize("groups", [None, 2])
def test_the_columns_of_a_step(groups):
    problem = model("ridge", groups, n=40)
    theta = np.full(1 if groups is None else 3, -0.4)
    exact = ridge_solution(problem, torch.as_tensor(theta))
    wrong = exact.grad.clone()
    wrong[0] *= -2
    found = comparison(problem)(
        step_at(problem, theta, wrong, 2 * exact.q), None
    )
    n = len(theta)
    assert found["hypergrad_sign"] == (n - 1) / n
    assert found["hypergrad_cosine"] == pytest.approx(float(
        torch.cosine_similarity(wrong, exact.grad, dim=0)
    ), abs=1e-4)
    assert found["hypergrad_rel_error"] == pytest.approx(
        relative(wrong, exact.grad), rel=1e-3
    )
    assert found["q_cosine"] == pytest.approx(1, abs=1e-4)
    assert found["q_rel_error"] == pytest.approx(1, rel=0.01)
    assert found["q_error"] < 0.01
    assert found["value_function"] == pytest.approx(
        float(exact.value), rel=1e-6
    )
    assert found["optimum"] <= found["value_function"]


def test_a_search_has_no_hypergradient():
    found = comparison(model("ridge"))(step_at(model("ridge"), 1.3), None)
    assert not any(name.startswith(("q_", "hyper")) for name in found)
    assert found["value_error"] < 1e-5 * found["value_function"]


def test_at_the_optimum_no_sign_is_right_or_wrong():
    problem = model("ridge", n=40)
    best = minimize_scalar(
        lambda t: float(closed(problem, t).value), bounds=(-12, 12),
        method="bounded", options={"xatol": 1e-12},
    ).x
    found = comparison(problem)(step_at(problem, best, [1.0]), None)
    assert math.isnan(found["hypergrad_sign"])


def test_where_the_root_is_not_unique_it_is_that_of_the_run():
    problem = model("nls")
    found = comparison(problem)(step_at(problem, -1.0), None)
    equation, root = tight_root(problem, theta_of(problem, -1.0))
    assert found["value_function"] == pytest.approx(
        float(equation.loss(root.z)), rel=1e-7
    )
    assert "optimum" not in found


# The cache


def forbidden(*arguments):
    raise AssertionError("solved again")


def test_the_disk_gives_the_same_numbers(monkeypatch):
    thetas = -3.3, 0.0, 1.7
    function = ValueFunction(model("logistic"))
    first = [function.at(t) for t in thetas]
    best = function.optimum()
    monkeypatch.setattr(TightSolver, "at", forbidden)
    again = ValueFunction(model("logistic"))
    for before, t in zip(first, thetas):
        after = again.at(t)
        assert (before.value, before.error) == (after.value, after.error)
        assert torch.equal(before.q, after.q)
    assert again.optimum() == best


def test_the_key_is_of_the_data_and_the_model():
    problems = [
        model("logistic"), model("logistic", seed=1), model("logistic", 2),
        model("nls"), model("logistic", sparse=True),
    ]
    keys = [identity(problem) for problem in problems]
    assert len(set(keys)) == 5 and identity(model("logistic")) == keys[0]


def test_the_key_is_of_the_code_that_defines_f(monkeypatch):
    before = identity(model("ridge"))
    monkeypatch.setattr(store, "_CODE", "other")
    assert identity(model("ridge")) != before


def test_a_problem_of_another_class_is_kept_in_memory_alone(cache):
    class Mine(Logistic):
        """A class that the suite does not know."""

    problem = model("logistic")
    problem.__class__ = Mine
    assert identity(problem) is None
    ValueFunction(problem).at(0.0)
    assert not list(cache.iterdir())
    problem.fingerprint = "mine"
    assert identity(problem) is not None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_file_is_made_anew(cache, damage):
    first = ValueFunction(model("ridge")).at(0.0).value
    file, = cache.rglob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[:len(whole) // 2] if damage is None else damage)
    assert ValueFunction(model("ridge")).at(0.0).value == first
    assert file.read_bytes() == whole


def test_a_file_of_something_else_is_made_anew(cache):
    kept = store_of(model("ridge"))
    kept.save((0.0).hex(), {"theta": 1.0, "z": np.ones(6)})
    exact = float(closed(model("ridge"), 0.0).value)
    assert ValueFunction(model("ridge")).at(0.0).value == pytest.approx(exact)


def test_a_folder_that_cannot_be_written(cache, monkeypatch, capsys):
    (cache / "file").write_text("")
    monkeypatch.setenv(store.VARIABLE, str(cache / "file"))
    function = ValueFunction(model("ridge"))
    for theta in 0.0, 1.0:
        exact = float(closed(model("ridge"), theta).value)
        assert function.at(theta).value == pytest.approx(exact)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and store.VARIABLE in told[0]


def _read(theta):
    return ValueFunction(model("ridge")).at(theta).value


def test_two_processes_at_once(cache):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = list(pool.map(_read, [0.4] * 4))
    exact = float(closed(model("ridge"), 0.4).value)
    assert found == pytest.approx([exact] * 4, rel=1e-6)
    assert not [path for path in cache.rglob(".*") if path.is_file()]


def test_a_diverged_step_asks_for_nothing(monkeypatch):
    problem = model("ridge")
    monkeypatch.setattr(TightSolver, "at", forbidden)
    step = replace(step_at(problem, 0.0), value=math.nan)
    assert comparison(problem)(step, None).keys() == {"unmeasured"}
