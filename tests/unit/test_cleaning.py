"""Hyper-cleaning and mean losses: closed forms, finite differences, scores."""
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark_shine.adjoint import ConjugateGradient
from benchmark_shine.evaluate import comparison, metrics, store, value
from benchmark_shine.evaluate.store import identity
from benchmark_shine.evaluate.tight import TightSolver, hessian
from benchmark_shine.implicit import hypergradient
from benchmark_shine.loops.soba import Soba
from benchmark_shine.problems.cleaning import share_below
from benchmark_shine.rivals.base import of_kind
from benchmark_shine.root import LBFGS

from helpers.problems import (
    MODELS, cleaning, jacobian_at, model, normal, relative, theta_of,
    tight_root,
)

N, P, K = 12, 4, 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))


def point(problem):
    theta = theta_of(problem, normal(1, N))
    return theta, problem.draw(theta, problem.start()[1], 1)


@pytest.mark.parametrize("losses", ["sum", "mean"])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_energy_and_the_loss_are_those_of_the_formula(losses, sparse):
    problem = cleaning(losses, sparse)
    theta, equation = point(problem)
    z, n = equation.start, N if losses == "mean" else 1

    def cross_entropy(part):
        X = torch.as_tensor(part.X @ torch.eye(P, dtype=torch.float64))
        scores = X @ z.view(P, K)
        return scores.logsumexp(dim=1) - scores[range(N), part.y]

    weights = 1 / (1 + torch.exp(-theta[0].detach()))
    energy = weights @ cross_entropy(problem.train) / n + 0.05 * z @ z
    assert equation.energy(z)[0] == pytest.approx(float(energy), rel=1e-12)
    for part, found in (
        (problem.validation, float(equation.loss(z))),
        (problem.test, problem.scores(z)["test_loss"]),
    ):
        loss = float(cross_entropy(part).sum()) / n
        assert found == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("losses", ["sum", "mean"])
def test_g_is_the_gradient_and_j_is_symmetric_and_positive(losses):
    problem = cleaning(losses)
    theta, equation = point(problem)
    z = equation.start
    _, gradient = equation.energy(z)
    assert not gradient.requires_grad
    assert relative(equation.g(z).detach(), gradient) < 1e-14
    v, step = normal(2, P * K), 1e-5
    slope = (
        equation.energy(z + step * v)[0] - equation.energy(z - step * v)[0]
    ) / (2 * step)
    assert slope == pytest.approx(float(gradient @ v), rel=1e-7)
    J = jacobian_at(equation, z)
    assert relative(J, J.T) < 1e-14
    assert float(torch.linalg.eigvalsh(J)[0]) > 2 * 0.05 * (1 - 1e-12)
    assert relative(hessian(problem, theta, z), J) < 1e-13
    assert equation.diagonal is None and equation.g_theta is None


@pytest.mark.parametrize("make", [
    cleaning, lambda: cleaning("sum", sparse=True),
    lambda: model("logistic", 1, losses="mean"),
    lambda: model("multinomial", "class", losses="mean"),
])
def test_the_hypergradient_by_finite_differences(make):
    problem = make()
    n = len(problem.start()[0][0])
    theta = theta_of(problem, normal(1, n) - 1)
    equation, root = tight_root(problem, theta)
    found = hypergradient(
        equation, theta, root, ConjugateGradient(), tol=1e-13)

    def F(theta):
        equation, moved = tight_root(problem, (theta,), root.z)
        return float(equation.loss(moved.z))

    step = 1e-4
    slopes = [
        (F(theta[0].detach() + e) - F(theta[0].detach() - e)) / (2 * step)
        for e in step * torch.eye(n, dtype=torch.float64)
    ]
    assert relative(found.grads[0], torch.tensor(slopes).double()) < 1e-6
    # dg/dtheta by g itself is an evaluation, and is counted
    assert found.n_g == (equation.g_theta is None) + 1
    exact = TightSolver(problem).at(theta, problem.start()[1])
    assert relative(exact.grads, found.grads[0]) < 1e-4
    assert exact.value == pytest.approx(float(found.value), rel=1e-9)


@pytest.mark.parametrize("kind", MODELS)
def test_mean_losses_are_sums_in_another_unit(kind):
    n = 30
    total, mean = model(kind, 2), model(kind, 2, losses="mean")
    theta = theta_of(total, normal(1, 3))
    lower = tuple((t - math.log(n)).detach() for t in theta)
    one, other = total.draw(theta, total.start()[1], 1), mean.draw(
        lower, mean.start()[1], 1)
    z = one.start
    assert relative(n * other.g(z).detach(), one.g(z).detach()) < 1e-13
    assert n * other.energy(z)[0] == pytest.approx(one.energy(z)[0])
    assert n * float(other.loss(z)) == pytest.approx(float(one.loss(z)))
    assert n * mean.unit == total.unit == 1
    assert identity(mean) != identity(total)
    with pytest.raises(ValueError, match="losses=sum"):
        of_kind({type(mean): None}, mean, "a library")


def test_no_loss_of_another_name():
    with pytest.raises(ValueError, match="losses: 'max' is not one of sum"):
        model("ridge", losses="max")


# Scores


@pytest.mark.parametrize("theta", [
    normal(0, N), normal(0, N).round(), np.zeros(N),
])
def test_the_auc_is_that_of_scikit_learn(theta):
    problem = cleaning()
    theta = theta_of(problem, theta)
    found = problem.scores_of_theta(theta)["corrupted_auc"]
    assert found == pytest.approx(
        roc_auc_score(problem.corrupted, -theta[0].detach().numpy()))


def test_there_is_no_auc_without_both_kinds():
    assert math.isnan(share_below(np.ones(0), np.ones(3)))


def test_a_step_is_scored_on_test_data_and_by_the_mask():
    problem = cleaning()
    point, *_ = Soba(LBFGS(), 1)(problem)
    found = metrics(problem, point)
    X, y = problem.test.X.numpy(), problem.test.y.numpy()
    hits = (X @ point.z.numpy().reshape(P, K)).argmax(axis=1) == y
    assert found["test_accuracy"] == pytest.approx(hits.mean())
    assert found["corrupted_auc"] == 0.5


# Methods and F*


def test_soba_counts_the_evaluation_that_stands_for_g_theta():
    problem, other = cleaning(), model("multinomial", 1)
    (_, one), (_, two) = (
        Soba(LBFGS(max_iter=1), 1, n_iter=7, n_power=0)(each)
        for each in (problem, other)
    )
    roots = [
        LBFGS(max_iter=1)(each.draw(*each.start(), 1)).n_g
        for each in (problem, other)
    ]
    assert one.n_g - roots[0] == 14 and two.n_g - roots[1] == 7


def test_descents_find_a_low_value(monkeypatch):
    problem = cleaning()
    low = value.ManyThetas(problem).optimum()
    rng = np.random.RandomState(0)
    solver = TightSolver(problem)
    for _ in range(20):
        theta = theta_of(problem, rng.uniform(-12, 12, N))
        assert low < solver.at(theta, problem.start()[1]).value
    # in sums the same problem has n times the optimum
    total = cleaning("sum", ridge=N * 0.05)
    assert value.ManyThetas(total).optimum() == pytest.approx(
        N * low, rel=1e-5)


@pytest.mark.parametrize("most, known", [
    (N * P * K, True), (N * P * K - 1, False),
])
def test_many_entries_and_a_long_z_have_no_known_optimum(
        most, known, monkeypatch):
    problem = cleaning()
    monkeypatch.setattr(value, "MOST", most)
    monkeypatch.setattr(value.ManyThetas, "_least", lambda self: (3.0, [0]))
    theta, equation = point(problem)
    step = replace(next(iter(Soba(LBFGS(), 1)(problem))), theta=theta,
                   equation=equation)
    found = comparison(problem)(step, None)
    assert math.isfinite(found["value_function"])
    assert found["optimum"] == 3.0 if known else math.isnan(found["optimum"])


def test_the_key_of_f_is_of_the_ridge():
    assert identity(cleaning()) == identity(cleaning())
    assert identity(cleaning()) != identity(cleaning(ridge=0.06))


@pytest.mark.parametrize("settings, message", [
    ({"ridge": 0.0}, "ridge: .*0.0"),
    ({"theta": 13}, "theta: .*13"),
    ({"corrupted": np.ones(N)}, f"corrupted: .*{N} training .*float64"),
    ({"corrupted": np.ones(N - 1, bool)}, "corrupted: .*bool of shape"),
])
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        cleaning(**settings)
