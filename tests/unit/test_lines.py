"""Energies along lines: the same numbers as the energy, without products."""
from dataclasses import replace

import pytest
import torch

from benchmark_shine.adjoint import ConjugateGradient, Shine
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.outer import Hoag
from benchmark_shine.problems.design import Design
from benchmark_shine.problems.linear_energy import DRIFT, LinearPlace
from benchmark_shine.root import LBFGS
from benchmark_shine.root.line_search import Place, place_at

from helpers.problems import cleaning, model, normal, relative

PROBLEMS = {
    f"{kind}-{groups}-{losses}-{sparse}": (
        lambda kind=kind, groups=groups, losses=losses, sparse=sparse: model(
            kind, groups, sparse, losses=losses
        )
    )
    for kind, groups, losses, sparse in [
        ("logistic", None, "sum", False), ("logistic", 3, "mean", True),
        ("nls", None, "mean", False), ("nls", 2, "sum", True),
        ("ridge", None, "sum", True), ("ridge", 3, "mean", False),
        ("multinomial", None, "mean", False), ("multinomial", 3, "sum", True),
        ("multinomial", "class", "sum", False),
    ]
} | {
    f"cleaning-{losses}": lambda losses=losses: cleaning(losses)
    for losses in ("mean", "sum")
}
everywhere = pytest.mark.parametrize("name", PROBLEMS)


def drawn(problem, seed=0):
    """Draw an equation where theta and z are at random."""
    theta, z = problem.start()
    theta = tuple(t + normal(seed, *t.shape) for t in theta)
    return problem.draw(theta, z, 1)


def plain(equation):
    """Hide what the energy knows along lines."""
    return replace(equation, energy=lambda z: equation.energy(z))


def count_products(monkeypatch):
    """Return a list that grows by one with each product with X or Xᵀ."""
    calls, multiply = [], Design.__matmul__

    def counting(X, w):
        calls.append(w)
        return multiply(X, w)

    monkeypatch.setattr(Design, "__matmul__", counting)
    return calls


@everywhere
def test_value_slope_and_gradient_are_those_of_the_energy(name):
    equation = drawn(PROBLEMS[name]())
    z, d = equation.start, normal(5, len(equation.start))
    place = place_at(equation.energy, z)
    assert isinstance(place, LinearPlace)
    place = place.along(d)(0.3).arrive()  # where X z is a sum already
    for t in -2.0, 1e-9, 0.7, 30.0:
        point, at = place.along(d)(t), place.z + t * d
        value, gradient = equation.energy(at)
        assert point.t == t
        assert point.value == pytest.approx(value, rel=1e-13)
        assert point.slope == pytest.approx(
            float(gradient @ d), abs=1e-13 * float(gradient.norm() * d.norm())
        )
        there = point.arrive()
        torch.testing.assert_close(there.z, at)
        assert there.value == pytest.approx(value, rel=1e-14)
        assert relative(there.gradient, gradient) < 1e-13


@everywhere
def test_energy_is_the_integral_of_g(name):
    equation = drawn(PROBLEMS[name]())
    z, d = equation.start, normal(6, len(equation.start))
    value, gradient = equation.energy(z)
    torch.testing.assert_close(gradient, equation.g(z).detach())
    h = 1e-5
    difference = equation.energy(z + h * d)[0] - equation.energy(z - h * d)[0]
    assert difference / (2 * h) == pytest.approx(
        float(gradient @ d), rel=1e-7
    )


@everywhere
@pytest.mark.parametrize("c2", [0.9, 1e-3])
def test_same_iterates_as_by_the_energy(name, c2):
    equation = drawn(PROBLEMS[name]())
    for n in 1, 4, 12:
        finder = LBFGS(c2=c2, max_iter=n)
        # nearer a root, rounding decides how many points a search tries
        ours, theirs = (
            finder(e, atol=1e-3) for e in (equation, plain(equation))
        )
        assert relative(ours.z, theirs.z) < 1e-6
        assert (ours.n_iter, ours.n_g) == (theirs.n_iter, theirs.n_g)
        assert ours.n_cheap == ours.n_g - ours.n_iter - 1
        assert theirs.n_cheap == 0


@pytest.mark.parametrize("name", ["logistic-None-sum-False", "cleaning-mean"])
def test_two_products_an_iteration(name, monkeypatch):
    equation = drawn(PROBLEMS[name]())
    products = count_products(monkeypatch)
    root = LBFGS(c2=1e-3, max_iter=9)(equation)
    assert root.n_iter == 9 and root.n_g > 20
    assert len(products) == 2 + 2 * root.n_iter


def test_outputs_are_made_afresh_before_they_drift(monkeypatch):
    # small steps: 30 of them, less the product itself, then one afresh
    equation = drawn(model("logistic"))
    place = place_at(equation.energy, equation.start)
    products, n = count_products(monkeypatch), []
    for _ in range(65):
        place = place.along(-1e-6 * place.gradient)(1.0).arrive()
        n.append(len(products))
        products.clear()
    afresh = [k for k, count in enumerate(n) if count == 3]
    assert set(n) == {2, 3} and len(afresh) == 2
    assert afresh[0] == pytest.approx(DRIFT, abs=2)


@pytest.mark.parametrize("far, tol", [
    (1.0, 2e-13), (1e4, 1e-12), (1e9, 1e-9),
])
def test_the_residual_is_that_of_g(far, tol):
    # X z shrinks by up to 1e9: its rounding there must not stay
    equation = drawn(model("logistic", n=100, p=20))
    equation = replace(equation, start=far * equation.start)
    root = LBFGS(c2=0.1)(equation, atol=tol)
    assert root.converged
    assert float(equation.g(root.z).detach().norm()) < tol + 3e-13


@pytest.mark.parametrize("adjoint", [Shine(), ConjugateGradient()], ids=str)
@pytest.mark.parametrize("name", ["logistic-3-mean-True", "cleaning-mean"])
def test_same_run_as_by_the_energy(name, adjoint):
    problem, other = (PROBLEMS[name]() for _ in range(2))
    draw = other.draw
    other.draw = lambda *arguments: plain(draw(*arguments))
    method = Method(
        RootAndAdjoint(LBFGS(c2=1e-3, keep_pairs=True), adjoint), Hoag(), 6
    )
    for a, b in zip(method.run(problem), method.run(other), strict=True):
        torch.testing.assert_close(
            a.step.theta[0], b.step.theta[0], rtol=1e-8, atol=1e-8
        )
        assert a.totals.n_g == b.totals.n_g
        assert b.totals.n_cheap == 0
    assert a.totals.n_cheap > a.totals.n_g / 3


@pytest.mark.parametrize("name, n", [
    ("logistic-3-mean-True", 0), ("cleaning-mean", 1),
])
def test_the_next_solve_begins_with_what_is_known(name, n, monkeypatch):
    # of cleaning, theta weighs the samples: X z alone is known
    problem = PROBLEMS[name]()
    finder = LBFGS()
    root = finder(drawn(problem), rtol=1e-2)
    theta = tuple(t + 0.5 for t in problem.start()[0])
    equation = problem.draw(theta, root.z, 2)
    others = replace(equation, start=root.z.clone()), replace(
        drawn(PROBLEMS[name]()), start=root.z
    )
    products = count_products(monkeypatch)
    again = finder(equation, rtol=2.0, warm_start=root)
    assert len(products) == n
    assert (again.n_g, again.n_cheap) == (1, int(n == 0))
    value, gradient = equation.energy(root.z)
    assert again.place.value == pytest.approx(value, rel=1e-14)
    assert relative(again.gradient, gradient) < 1e-13
    # nothing is known of another start, or of other data
    for other in others:
        products.clear()
        assert not place_at(other.energy, other.start, root.place).cheap
        assert len(products) == 2


def test_another_energy_brings_no_line_of_the_old():
    equation = drawn(model("logistic"))
    place = place_at(plain(equation).energy, equation.start)
    assert type(place) is Place
    doubled = replace(
        equation, energy=lambda z: tuple(2 * x for x in equation.energy(z))
    )
    root = LBFGS()(doubled, atol=1e-8)
    assert root.residual == pytest.approx(
        2 * float(equation.g(root.z).detach().norm())
    )
