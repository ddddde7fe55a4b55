"""Error against cost, on a task so small that its numbers are known."""
import math

import pytest
import torch

from benchmark_shine.evaluate import tight
from benchmark_shine.evaluate.dense import solve_densely
from experiments import error_against_cost, tasks
from experiments.error_against_cost import (
    KEY, STARTS, STEPS, Task, exact_at, made, measure, measured,
)
from experiments.rows import Rows

METHODS = "HOAG", "Jacobian-Free"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "tiny", ("quadratic", {
        "dimension": 20, "condition": 10.0, "n_theta": 2,
    }))
    monkeypatch.setitem(tasks.TASKS, "words", ("simulated", dict(zip(
        tasks.SIZES, ("logistic", 80, 40)))))
    monkeypatch.setattr(error_against_cost, "TOLERANCES", (0.1, 1e-5))


@pytest.fixture
def tiny():
    return Task("tiny", 0)


def rows_of(task, label, start="warm", tol=1e-6):
    key = {"task": "tiny", "seed": 0, "start": start, "method": label,
           "tol": tol}
    return measured(task, key)


@pytest.mark.parametrize("start", STARTS)
def test_the_exact_method_is_as_exact_as_its_tolerance(tiny, start):
    rows = rows_of(tiny, "HOAG", start)
    assert [row["step"] for row in rows] == list(STEPS)
    for row in rows:
        # κ times the relative residual, and the root's own error
        assert row["q_error"] <= 10 * 1e-6 + 100 * row["z_error"]
        assert row["z_error"] < 1e-5 and row["gradient_error"] < 1e-2


@pytest.mark.parametrize("start", STARTS)
def test_the_error_of_jacobian_free_is_a_formula(tiny, start):
    for row in rows_of(tiny, "Jacobian-Free", start):
        exact = tiny.problem.solution(tiny.thetas[row["step"] - 1])
        rhs = exact.z - tiny.problem.target
        expected = float((rhs - exact.q).norm() / exact.q.norm())
        assert expected > 0.1
        assert row["q_error"] == pytest.approx(expected, rel=1e-3)
        assert row["n_vjp"] == 0


def test_costs_are_those_of_one_outer_step(tiny):
    hoag, free, one = (
        rows_of(tiny, label) for label in
        ("HOAG", "Jacobian-Free", "HOAG[backward_steps=1]")
    )
    for exact, rough, short in zip(hoag, free, one):
        # one root finder for all; a step, and the residual of the last q
        assert exact["z_error"] == rough["z_error"] == short["z_error"]
        # the graph of g for the products takes one more evaluation
        assert exact["n_g"] == rough["n_g"] + 1 == short["n_g"]
        assert short["n_vjp"] == 2 <= exact["n_vjp"]


def test_methods_are_led_along_the_path(tiny):
    steps = tiny.steps("warm", lambda: made("SHINE", tiny.problem), 0.1)
    for k in STEPS:
        assert torch.equal(steps[k].theta[0], tiny.thetas[k - 1][0])
    first = {float(theta.detach()[0]) for theta, in tiny.thetas}
    assert len(first) == len(tiny.thetas) == error_against_cost.N_OUTER


def test_nothing_is_remembered_after_a_cold_start(tiny):
    exact, recycled = (
        rows_of(tiny, label, "cold") for label in ("HOAG", "Recycled-PCG")
    )
    assert [row["n_vjp"] for row in exact] == [
        row["n_vjp"] for row in recycled]
    warm = rows_of(tiny, "Recycled-PCG")
    assert sum(row["n_vjp"] for row in warm) < sum(
        row["n_vjp"] for row in recycled)


@pytest.mark.parametrize("dense", [1000, 10])
def test_what_is_exact_agrees_with_dense_algebra(monkeypatch, dense):
    monkeypatch.setattr(error_against_cost, "DENSE", dense)
    monkeypatch.setattr(tight, "ROOT_TOL", 1e-2)  # Newton's step does the rest
    problem = tasks.problem_of("words", 0)
    method = tasks.method_of("HOAG", problem, 2)
    *_, (step, _, _) = method.run(problem)
    found = exact_at(problem, step)
    exact = solve_densely(step.equation, step.theta, step.z)
    for ours, theirs in ((found.z, exact.z), (found.q, exact.q),
                         (found.grads[0], exact.grads[0])):
        assert float((ours - theirs).norm()) < 1e-11 * float(theirs.norm())


def test_a_label_has_settings(tiny):
    refined, label = (
        rows_of(tiny, name) for name in
        ("SHINE[backward_steps=5]", "SHINE-refine")
    )
    assert [row["q_error"] for row in refined] == [
        row["q_error"] for row in label]


@pytest.mark.parametrize("label, told", [
    ("SHIN", "no solver SHIN"), ("SHINE[polis=1]", "no setting polis"),
    ("SOBA", "SOBA: has an outer loop"),
    ("SHINE[backward_steps=-1]", "backward_steps: must be"),
])
def test_a_wrong_label_is_told(tiny, label, told):
    with pytest.raises(ValueError, match=told):
        made(label, tiny.problem)


def test_a_method_for_other_problems_has_no_rows(tiny):
    assert rows_of(tiny, "SHINE-fallback") == []


def test_a_method_that_diverged_has_infinite_errors(tiny):
    found = tiny.compared(None, 2)
    assert found["q_error"] == found["gradient_error"] == math.inf
    assert math.isnan(found["n_g"])


def test_an_interrupted_measurement_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "errors.csv"
    measure(Rows(path, KEY), ["tiny"], 1, METHODS)
    whole = path.read_text().splitlines(keepends=True)
    assert len(whole) == 1 + len(METHODS) * len(STARTS) * 2 * len(STEPS)
    path.write_text("".join(whole[:8]))
    measure(Rows(path, KEY), ["tiny"], 1, METHODS)
    again = path.read_text().splitlines(keepends=True)
    assert again == whole
    monkeypatch.setattr(error_against_cost, "Task", None)  # nothing lacks
    measure(Rows(path, KEY), ["tiny"], 1, METHODS)
