"""The quadratic problem: its formulas, its spectrum, its references."""
import math
from types import SimpleNamespace

import pytest
import torch

from benchmark_shine.engine import start
from benchmark_shine.evaluate.bilevel import comparison
from benchmark_shine.evaluate.dense import jacobian, solve_densely
from benchmark_shine.evaluate.value import ClosedForm, ManyThetas
from benchmark_shine.problems import Quadratic
from benchmark_shine.problems.quadratic import hartley, spectrum

from helpers.problems import normal


def problem(**settings):
    return Quadratic(**{
        "dimension": 12, "condition": 100.0, "n_theta": 3, "seed": 1,
    } | settings)


def theta_of(model, seed=5):
    return (normal(seed, len(model.start()[0][0])).requires_grad_(),)


def test_hartley_is_symmetric_and_orthogonal():
    # its definition (Bracewell 1986): cos + sin
    angle = 2 * math.pi * torch.outer(*2 * [torch.arange(7.0).double()]) / 7
    expected = (angle.cos() + angle.sin()) / math.sqrt(7)
    found = hartley(torch.eye(7, dtype=torch.float64))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found @ found, torch.eye(7).double())


@pytest.mark.parametrize("clusters", [None, 3])
def test_the_spectrum_is_as_asked(clusters):
    model = problem(clusters=clusters)
    equation = model.draw(theta_of(model), model.start()[1], 1)
    J = jacobian(equation.g, equation.start)
    torch.testing.assert_close(J, J.T)
    found = torch.linalg.eigvalsh(J)
    torch.testing.assert_close(found, spectrum(12, 100.0, clusters))
    assert float(found[-1] / found[0]) == pytest.approx(100)
    assert float(found[0]) == pytest.approx(0.1) == float(equation.diagonal)
    distinct = 1 + (found.diff() > 1e-6).sum()
    assert distinct == (clusters or 12)
    # nothing is to be read from the diagonal of J
    assert float(J.diagonal().max() / J.diagonal().min()) < 10


def test_formulas_agree_with_dense_algebra():
    model = problem()
    theta = theta_of(model)
    equation = model.draw(theta, model.start()[1], 1)
    found, dense = model.solution(theta), solve_densely(
        equation, theta, equation.start)
    torch.testing.assert_close(found.z, dense.z, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.q, dense.q, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(found.grads, *dense.grads, rtol=1e-10, atol=0)
    value, slope = equation.energy(found.z)
    assert float(slope.norm()) < 1e-11
    assert value == pytest.approx(
        -0.5 * float((found.z @ model.force(theta)).detach()), rel=1e-10)


def test_gradients_agree_with_differences():
    model = problem()
    theta = theta_of(model)[0].detach()
    slopes = [
        (model.solution((theta + e,)).value
         - model.solution((theta - e,)).value) / 2
        for e in torch.eye(3, dtype=torch.float64)
    ]
    torch.testing.assert_close(
        model.solution((theta,)).grads,
        torch.tensor(slopes, dtype=torch.float64), rtol=1e-10, atol=0,
    )  # F is quadratic: differences are exact


def test_every_entry_of_q_counts():
    model = problem()
    equation = model.draw(theta_of(model), model.start()[1], 1)
    assert float(model.C.abs().min()) > 0
    assert torch.equal(equation.g_theta(equation.start).detach(),
                       -(model.C @ theta_of(model)[0]).detach())


def test_the_optimum_is_a_stationary_point_in_the_box():
    model = problem()
    value, theta = model.optimum()
    best, first = model.solution((theta,)), model.solution(model.start()[0])
    assert float(best.grads.norm()) < 1e-9 * float(first.grads.norm())
    assert value == best.value < first.value
    assert float(theta.abs().max()) <= 12


def test_the_numerical_reference_agrees():
    model = problem()
    exact, solved = ClosedForm(model), ManyThetas(model)
    (theta,), z = theta_of(model), model.start()[1]
    ours, theirs = exact.at((theta,)), solved.at((theta,), z)
    assert ours.value == pytest.approx(theirs.value, rel=1e-10)
    torch.testing.assert_close(ours.q, theirs.q, rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(ours.grads, theirs.grads, rtol=1e-10, atol=0)
    assert exact.optimum() == pytest.approx(solved.optimum(), rel=1e-8)


@pytest.mark.parametrize("n_theta", [1, 3])
def test_steps_are_compared_with_the_formulas(n_theta):
    model = problem(n_theta=n_theta)
    step = start(model, *model.start())
    found = comparison(model)(step, None)
    exact = model.solution(step.theta)
    assert found["value_function"] == exact.value
    assert found["optimum"] == model.optimum()[0]
    # an error of 1 % in q, and of nothing in the hypergradient
    step = SimpleNamespace(
        diverged=False, theta=step.theta, z=step.z, q=1.01 * exact.q,
        grads=(exact.grads,),
    )
    found = comparison(model)(step, None)
    assert found["q_rel_error"] == pytest.approx(0.01)
    assert found["hypergrad_rel_error"] == 0


def test_a_long_z_is_no_matrix():
    model = problem(dimension=100_000, condition=1e6)
    exact = model.solution(model.start()[0])
    equation = model.draw(model.start()[0], exact.z, 1)
    _, slope = equation.energy(exact.z)
    assert float(slope.norm()) < 1e-10 * float(model.b.norm())


@pytest.mark.parametrize("settings, name", [
    ({"dimension": 1}, "dimension"), ({"condition": 0.5}, "condition"),
    ({"n_theta": 7}, "n_theta"), ({"clusters": 13}, "clusters"),
    ({"clusters": 1}, "clusters"), ({"theta": 13.0}, "theta"),
    ({"seed": -1}, "seed"), ({"condition": math.nan}, "condition"),
])
def test_bad_settings_are_named(settings, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        problem(**settings)
