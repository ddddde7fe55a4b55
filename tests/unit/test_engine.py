"""The one loop: what it yields, counts and survives."""
import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmark_shine import engine
from benchmark_shine.adjoint import (
    ConjugateGradient, Gmres, JacobianFree, Neumann, QuasiNewtonSolve, Refine,
    Shine,
)
from benchmark_shine.engine import (
    Loop, Method, RootAndAdjoint, Totals, start,
)
from benchmark_shine.outer import GradientOptimizer, Hoag, Search
from benchmark_shine.root import (
    LBFGS, AdjointBroyden, Anderson, Broyden, EveryFewSteps, Opa,
)

from helpers.problems import counted, model, network, ridge_solution, theta_of

ADJOINTS = [
    Shine(), JacobianFree(), ConjugateGradient(), Neumann(3, 2),
    Refine(Shine(), ConjugateGradient(2)), None,
]
OPA = Opa(EveryFewSteps(3, 1, 6))


class Watched:
    """A problem whose equations pass through ``change(equation)``."""

    def __init__(self, problem, change):
        self.problem, self.change = problem, change
        self.start = problem.start

    def draw(self, theta, z, k):
        return self.change(self.problem.draw(theta, z, k))


def outer_of(adjoint):
    return Hoag() if adjoint else Search((-3.0, -1.0, 2.0))


def points_of(problem, adjoint, finder=LBFGS(), n_outer=6, outer=None):
    outer = outer or outer_of(adjoint)
    method = Method(RootAndAdjoint(finder, adjoint), outer, n_outer)
    return method.run(problem)


def steps_of(problem, adjoint=Shine(), finder=LBFGS(), n_outer=6, outer=None):
    points = points_of(problem, adjoint, finder, n_outer, outer)
    return [point.step for point in points]


def test_the_start_comes_first():
    problem = model("logistic", 2, theta=0.5)
    step = steps_of(problem)[0]
    (theta,), z = problem.start()
    assert torch.equal(step.theta[0], theta)
    assert torch.equal(step.z, z)
    assert torch.equal(theta, torch.full((3,), 0.5, dtype=theta.dtype))
    assert step.value == float(problem.loss(z))
    assert (step.grads, step.q, step.root) == (None, None, None)
    assert (step.n_outer, step.n_g, step.n_vjp) == (0, 0, 0)
    assert (step.forward_time, step.backward_time) == (0, 0)
    assert not step.diverged


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=str)
def test_one_point_per_outer_step(adjoint):
    problem = model("logistic")
    steps = steps_of(problem, adjoint)
    assert [step.n_outer for step in steps] == list(range(7))
    assert [step.equation.step for step in steps] == list(range(7))
    for step in steps[1:]:
        assert step.forward_time > 0 and step.n_g > 0


def test_costs_of_steps_add_up_to_totals():
    points = list(points_of(model("logistic"), ConjugateGradient()))
    assert points[0].totals == Totals()
    for name in "n_g", "n_vjp", "n_cheap", "forward_time", "backward_time":
        each = [getattr(point.step, name) for point in points]
        sums = [getattr(point.totals, name) for point in points]
        assert sums == list(itertools.accumulate(each)) and any(sums)
    assert [point.totals.n_outer for point in points] == list(range(7))


def test_a_loop_of_its_own_has_the_same_points():
    problem = model("logistic")
    usual = list(points_of(problem, Shine()))

    def steps(problem):
        return (point.step for point in points_of(problem, Shine()))

    for own, point in zip(Loop(steps, 6).run(problem), usual, strict=True):
        assert torch.equal(own.step.theta[0], point.step.theta[0])
        assert own.totals.n_g == point.totals.n_g
        assert own.totals.n_outer == point.totals.n_outer
        assert own.state is None


def test_a_loop_of_its_own_ends_where_it_diverges():
    def steps(problem):
        for value in 1.0, math.nan, 1.0:
            yield replace(start(problem, *problem.start()), value=value)

    points = list(Loop(steps, 3).run(model("logistic")))
    assert [point.step.diverged for point in points] == [False, True]


def test_the_clock_is_read_three_times_a_step(monkeypatch):
    ticks = itertools.count(9)
    monkeypatch.setattr(engine, "clock", lambda like: float(next(ticks)))
    for _, totals, _ in points_of(model("logistic"), ConjugateGradient()):
        assert totals.forward_time == totals.backward_time == totals.n_outer


@pytest.mark.parametrize("kind", ["logistic", "multinomial", "ridge"])
def test_z_value_and_gradient_belong_to_theta(kind):
    problem = model(kind, 3)
    steps = steps_of(problem, ConjugateGradient(), outer=Hoag(tol=1e-8))
    thetas = [tuple(step.theta[0].tolist()) for step in steps[1:]]
    assert len(set(thetas)) == 6
    for step in steps[1:]:
        theta = theta_of(problem, step.theta[0].detach())
        equation = problem.draw(theta, step.z, 1)
        assert float(equation.energy(step.z)[1].norm()) < 1e-4
        assert step.value == float(problem.loss(step.z))
        assert torch.equal(step.root.z, step.z)
        part, = torch.autograd.grad(
            equation.g_theta(step.z), theta, -step.q
        )
        torch.testing.assert_close(step.grads[0], part)


def test_solves_are_warm():
    problem = model("logistic")
    before = None
    for step in steps_of(problem):
        if before:
            assert torch.equal(step.equation.start, before.z)
        before = step


def test_linear_solves_start_from_the_last_q():
    adjoint, asked = counted(ConjugateGradient())
    steps = steps_of(model("logistic"), adjoint)
    guesses = [system.q0 for system, in asked]
    assert guesses[0] is None
    for guess, step in zip(guesses[1:], steps[1:]):
        assert guess is step.q
    tols = [system.tol for system, in asked]
    assert tols == pytest.approx([1e-3 * 0.9 ** k for k in range(6)])


@pytest.mark.parametrize("outer", [
    Hoag(), Search((0.0, -3.0, 2.0, 1.0, -5.0, -4.0)),
    GradientOptimizer(partial(torch.optim.Adam, lr=0.1)),
], ids=["hoag", "search", "torch"])
def test_the_outer_optimiser_sets_the_tolerances(outer):
    problem = model("logistic")
    finder, asked = counted(LBFGS())
    steps = steps_of(problem, Shine(), finder, outer=outer)
    assert [previous for *_, previous in asked] == [
        step.root for step in steps[:-1]
    ]
    state = outer.start(problem.start()[0])
    for step, (equation, atol, rtol, _) in zip(steps[1:], asked, strict=True):
        assert (state.atol, state.rtol) == (atol, rtol)
        assert torch.equal(state.theta[0], step.theta[0].detach())
        assert equation is step.equation
        assert step.root.residual <= max(
            atol, rtol * step.root.first_residual
        )
        state = outer.step(
            state, step.value, step.grads, step.root.first_residual
        )


@pytest.mark.parametrize("opa", [None, OPA], ids=["plain", "opa"])
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=str)
def test_counts_are_the_true_ones(adjoint, opa):
    evaluations, products = [], []

    def watch(equation):
        energy, g = equation.energy, equation.g

        def watched_energy(z):
            evaluations.append("energy")
            return energy(z)

        def watched_g(z):
            evaluations.append("g")
            out = g(z)
            if z.requires_grad:
                out.register_hook(lambda grad: products.append(1))
            return out

        return replace(equation, energy=watched_energy, g=watched_g)

    problem = Watched(model("logistic", 3), watch)
    finder = LBFGS(opa=opa)
    for _, totals, _ in points_of(problem, adjoint, finder):
        assert totals.n_g == len(evaluations)
        assert totals.n_vjp == len(products)
    assert totals.n_outer == 6
    assert ("g" in evaluations) == bool(products)


@pytest.mark.parametrize("adjoint", [Shine(), ConjugateGradient()], ids=str)
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nan_flags_divergence_and_ends(adjoint, where):
    def spoil(equation):
        if equation.step < 3:
            return equation
        loss = equation.loss
        if where == "loss":
            return replace(equation, loss=lambda z: loss(z) * math.nan)
        part, g = equation.g_theta, equation.g
        return replace(
            equation, g_theta=lambda z: part(z) * math.nan,
            g=lambda z: g(z) * math.nan,
        )

    steps = steps_of(Watched(model("logistic"), spoil), adjoint)
    assert [step.n_outer for step in steps] == [0, 1, 2, 3]
    assert [step.diverged for step in steps] == [False] * 3 + [True]
    assert math.isnan(steps[3].value) == (where == "loss")


def test_infinite_gradients_and_q_count_as_divergence():
    step = steps_of(model("logistic"), n_outer=1)[1]
    assert not step.diverged
    for value in math.inf, math.nan:
        bad = torch.tensor([0.0, value])
        assert replace(step, grads=(bad,)).diverged
        assert replace(step, q=bad).diverged
    assert replace(step, value=math.inf).diverged


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=str)
def test_same_seed_same_bits(adjoint):
    first, second = (
        steps_of(model("logistic", 2, sparse=True, seed=3), adjoint)
        for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.theta[0], b.theta[0])
        assert torch.equal(a.z, b.z)
        assert (a.value, a.n_g, a.n_vjp) == (b.value, b.n_g, b.n_vjp)
    other = steps_of(model("logistic", 2, sparse=True, seed=4), adjoint)
    assert other[-1].value != first[-1].value


def test_runs_share_nothing():
    # one problem object serves every solver of a run
    problem = model("logistic")
    first = steps_of(problem)
    steps_of(problem, ConjugateGradient(), LBFGS(opa=OPA))
    again = steps_of(problem)
    assert [s.value for s in first] == [s.value for s in again]


def test_exact_hoag_finds_the_optimum_of_ridge():
    problem = model("ridge")
    steps = steps_of(problem, ConjugateGradient(), n_outer=60)
    grid = torch.linspace(-12, 12, 2401, dtype=torch.float64)
    best = min(
        float(ridge_solution(problem, theta.view(1)).value) for theta in grid
    )
    assert steps[-1].value == pytest.approx(best, rel=1e-3)
    # a start far from it
    assert steps[1].value > 1.1 * best


def test_torch_descends_the_closed_form():
    problem = model("ridge", 3)
    outer = GradientOptimizer(partial(torch.optim.SGD, lr=0.05), tol=1e-10)
    steps = steps_of(problem, ConjugateGradient(), outer=outer)
    theta = problem.start()[0][0]
    for step in steps[1:]:
        torch.testing.assert_close(
            step.theta[0].detach(), theta, rtol=0, atol=1e-7
        )
        theta = theta - 0.05 * ridge_solution(problem, theta).grad
    values = [step.value for step in steps[1:]]
    assert values == sorted(values, reverse=True)


def test_search_solves_at_each_value():
    problem = model("ridge")
    values = np.linspace(-4, 4, 5)
    steps = steps_of(
        problem, None, n_outer=5, outer=Search(tuple(values), 1e-9)
    )
    for step, value in zip(steps[1:], values, strict=True):
        theta = torch.tensor([value])
        assert torch.equal(step.theta[0].detach(), theta)
        solution = ridge_solution(problem, theta)
        assert step.value == pytest.approx(float(solution.value), rel=1e-6)
        assert (step.grads, step.q, step.n_vjp) == (None, None, 0)


# ------------------------------------------------- deep equilibrium networks

FINDERS = {
    "broyden": Broyden(60, 60), "adjoint": AdjointBroyden(60, 60),
    "anderson": Anderson(max_iter=60), "opa": AdjointBroyden(90, 60, OPA),
}
DEQ_ADJOINTS = [
    Shine(), JacobianFree(), Gmres(), QuasiNewtonSolve(Broyden(20, 20)),
    Refine(Shine(), QuasiNewtonSolve(Broyden(2, 2), tol=0.0)), Neumann(3, 0),
]


def network_points(problem, adjoint=Shine(), finder=Broyden(60, 60), n=4):
    outer = GradientOptimizer(
        partial(torch.optim.Adam, lr=0.01), tol=1e-10, decay=1.0, atol=1e-11
    )
    return list(points_of(problem, adjoint, finder, n, outer))


def network_steps(problem, adjoint=Shine(), finder=Broyden(60, 60), n=4):
    return [p.step for p in network_points(problem, adjoint, finder, n)]


@pytest.mark.parametrize(
    "adjoint", DEQ_ADJOINTS, ids=lambda adjoint: type(adjoint).__name__
)
@pytest.mark.parametrize("finder", FINDERS.values(), ids=FINDERS)
def test_counts_in_networks_are_the_true_ones(adjoint, finder):
    evaluations, products = [], []

    def watched(g):
        def watched_g(z):
            evaluations.append(1)
            out = g(z)
            if out.requires_grad:
                out.register_hook(lambda grad: products.append(1))
            return out

        return watched_g

    def watch(equation):
        return replace(
            equation, g=watched(equation.g),
            restrict=lambda index: watched(equation.restrict(index)),
        )

    problem = Watched(network(), watch)
    totals = network_points(problem, adjoint, finder)[-1].totals
    assert totals.n_g == len(evaluations)
    # the product with dg/dtheta, one an outer step, is not one with Jᵀ
    assert totals.n_vjp + 4 == len(products)


def test_no_q_is_handed_from_batch_to_batch():
    adjoint, asked = counted(Gmres())
    steps = network_steps(network(), adjoint)
    assert [system.q0 for system, in asked] == [None] * 4
    assert {system.tol for system, in asked} == {1e-10}
    for step in steps:
        assert not step.equation.start.any()
        assert not step.diverged


@pytest.mark.parametrize("finder", FINDERS.values(), ids=FINDERS)
def test_gradients_of_a_run_are_those_of_many_unrolled_steps(finder):
    problem = network()
    for step in network_steps(problem, Gmres(tol=1e-12), finder)[1:]:
        theta = tuple(t.detach().requires_grad_() for t in step.theta)
        equation = problem.draw(theta, None, step.n_outer)
        z = equation.start
        for _ in range(200):
            z = z - equation.g(z)
        exact = torch.autograd.grad(equation.loss(z), theta)
        for a, b in zip(step.grads, exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_networks_are_trained_as_by_hand():
    problem = network()
    steps = network_steps(problem, Gmres(tol=1e-12))
    theta = [t.clone().requires_grad_() for t in problem.start()[0]]
    optimizer = torch.optim.Adam(theta, lr=0.01)
    for step in steps[1:]:
        for a, b in zip(step.theta, theta, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-7)
        for leaf, grad in zip(theta, step.grads):
            leaf.grad = grad
        optimizer.step()


class Spoilt:
    """A network that fails, all of it or in some samples."""

    def __init__(self, bad):
        self.problem, self.bad = network(), torch.tensor(bad)
        self.start = self.problem.start

    def draw(self, theta, z, k):
        equation = self.problem.draw(theta, z, k)

        def spoil(values, index):
            bad = torch.isin(index, self.bad).unsqueeze(1)
            return values * torch.where(bad, math.nan, 1.0)

        def rows(index):
            g = equation.restrict(index)
            return lambda z: spoil(g(z), index)

        everyone = torch.arange(len(equation.start))
        return replace(
            equation, g=lambda z: spoil(equation.g(z), everyone), restrict=rows
        )


@pytest.mark.parametrize("bad", [[2], list(range(8))], ids=["one", "all"])
@pytest.mark.parametrize(
    "adjoint", DEQ_ADJOINTS, ids=lambda adjoint: type(adjoint).__name__
)
@pytest.mark.parametrize("finder", FINDERS.values(), ids=FINDERS)
def test_samples_that_are_no_numbers_end_a_run(finder, adjoint, bad):
    first, last = network_steps(Spoilt(bad), adjoint, finder)
    assert not first.diverged and last.n_outer == 1
    assert last.root.diverged.nonzero().flatten().tolist() == bad
    assert last.z.isfinite().all()
    # the loss is one, of the iterate that was returned; its derivative not
    assert math.isfinite(last.value) and last.diverged


def test_a_run_of_no_steps_is_its_start():
    step, = network_steps(network(), n=0)
    assert step.n_outer == 0
