"""The line search, L-BFGS and outer-problem awareness."""
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark_shine.equation import Equation
from benchmark_shine.root import LBFGS, EveryFewSteps, Opa, loss_gradient
from benchmark_shine.root.lbfgs import STALLED
from benchmark_shine.root import LBFGSInverse
from benchmark_shine.root.line_search import (
    Point, cubic_minimiser, place_at, strong_wolfe,
)

from helpers.problems import (
    counted, model, normal, quadratic, relative, theta_of,
)

EVERY = Opa(lambda k: 1)


def on_a_line(function):
    """Energy of z (1,), where function(t) is (value, slope)."""
    def energy(z):
        value, slope = function(float(z))
        return value, torch.tensor([slope], dtype=torch.float64)

    return counted(energy)


def search(function, t=1.0, c1=1e-4, c2=0.9, max_trials=20):
    """Line search downhill from 0: origin, point, n_trials, true calls."""
    energy, calls = on_a_line(function)
    place = place_at(energy, torch.zeros(1, dtype=torch.float64))
    direction = -place.gradient.sign()
    slope = float(place.gradient @ direction)
    origin = Point(0.0, place.value, slope, lambda: place)
    calls.clear()
    point, n_trials = strong_wolfe(
        place.along(direction), origin, t, c1, c2, max_trials
    )
    return origin, point, n_trials, len(calls)


def random_function(seed, convex):
    """A well-shaped or a wavy function of t, over scales of e^±6."""
    rng = np.random.RandomState(seed)
    a, centre = math.exp(rng.uniform(-6, 6)), math.exp(rng.uniform(-3, 3))
    if convex:
        def function(t):
            u = t - centre
            return a * (u ** 2 + u ** 4), a * (2 * u + 4 * u ** 3)
    else:
        w, phase = rng.uniform(0.5, 5, 3), rng.uniform(0, 2 * math.pi, 3)
        b = rng.uniform(0, 2, 3) * a * centre

        def function(t):
            u = t - centre
            return (
                a * u ** 2 + float(b @ np.sin(w * t + phase)),
                2 * a * u + float(b * w @ np.cos(w * t + phase)),
            )
    return function, math.exp(rng.uniform(-4, 4))


@pytest.mark.parametrize("convex", [True, False])
@pytest.mark.parametrize("c2", [0.9, 0.1])
def test_accepted_points_satisfy_strong_wolfe(convex, c2):
    for seed in range(200):
        function, t = random_function(seed, convex)
        origin, point, n_trials, n_calls = search(function, t, c2=c2)
        assert n_trials == n_calls <= 20
        assert point.t > 0
        assert point.value == function(float(point.arrive().z))[0]
        bound = origin.value + 1e-4 * point.t * origin.slope
        assert point.value <= bound, seed
        assert abs(point.slope) <= c2 * abs(origin.slope), seed


@pytest.mark.parametrize("t, accepted", [(1.1, True), (1.5, False)])
def test_the_decrease_is_c1_times_the_tangents(t, accepted):
    # 4 (t² / 2 - t) ≤ -4 c1 t where t ≤ 2 (1 - c1); the slope is flat enough
    origin, point, n_trials, _ = search(
        lambda t: (4 * (t * t / 2 - t), 4 * (t - 1)), t, c1=0.4
    )
    assert (n_trials == 1) == accepted
    assert float(point.t) <= 1.2


def test_cubic_minimiser_is_exact_on_cubics():
    def point(t):
        return Point(t, t ** 3 - 3 * t, 3 * t ** 2 - 3, None)

    assert cubic_minimiser(point(0.0), point(3.0)) == pytest.approx(1)
    assert cubic_minimiser(point(3.0), point(0.0)) == pytest.approx(1)
    assert cubic_minimiser(point(0.2), point(0.7)) == pytest.approx(1)


@pytest.mark.parametrize("outside", [math.nan, math.inf])
def test_search_comes_back_into_the_domain(outside):
    def function(t):
        if t >= 0.05:
            return outside, outside
        return (t - 0.02) ** 2, 2 * (t - 0.02)

    origin, point, n_trials, n_calls = search(function, t=1e3)
    assert n_trials == n_calls
    assert point.value < origin.value
    assert abs(point.slope) <= 0.9 * abs(origin.slope)


def test_search_returns_the_best_point_when_trials_run_out():
    # down for ever: no trial meets the curvature condition
    origin, point, n_trials, n_calls = search(
        lambda t: (-t, -1.0), max_trials=4
    )
    assert n_trials == n_calls == 4
    assert point.t == 64


def test_search_returns_none_where_nothing_decreases():
    origin, point, n_trials, n_calls = search(
        lambda t: (t, -1.0 if t == 0 else 1.0), max_trials=6
    )
    assert point is None
    assert n_trials == n_calls == 6


def test_close_to_a_minimum_the_slope_decides():
    # the value has no digits left, only rounding noise; the slope has
    def function(t):
        return 1e8 + (3e-8 if t else 0.0), 2e-20 * (t - 1)

    origin, point, n_trials, n_calls = search(function, t=1.0, c2=0.1)
    assert point.value > origin.value
    assert n_trials == n_calls == 1
    assert point.t == 1


# L-BFGS


@pytest.mark.parametrize("settings", [
    {}, {"memory": 3}, {"scale": 1.0}, {"c2": 1e-3}, {"opa": EVERY},
    {"memory": 4, "opa": Opa(lambda k: 3)},
], ids=str)
def test_converges_on_quadratics(settings):
    problem = quadratic(np.geomspace(0.1, 10, 12))
    start = problem.equation.start.clone()
    root = LBFGS(**settings)(problem.equation, atol=1e-9)
    assert root.converged
    assert torch.equal(problem.equation.start, start)
    assert relative(root.z, problem.solution) < 1e-7
    residual = problem.equation.g(root.z).norm()
    assert root.residual == pytest.approx(float(residual), rel=1e-6)
    assert root.residual <= 1e-9


@pytest.mark.parametrize("a, r", [(1, 0), (0, 1), (1, 0.9), (0.9, 1)])
def test_tolerance_is_the_larger_of_both(a, r):
    equation = quadratic(np.geomspace(0.1, 10, 12)).equation
    finder = LBFGS(c2=0.1)
    first = float(equation.g(equation.start).norm())
    for tol in np.geomspace(1e-6, 1, 30):
        root = finder(equation, atol=a * tol, rtol=r * tol / first)
        assert root.first_residual == pytest.approx(first)
        assert root.converged
        assert root.residual <= tol
        # not an iteration too many
        before = replace(finder, max_iter=root.n_iter - 1)(equation)
        assert before.residual > tol
        assert before.n_iter == root.n_iter - 1


def test_a_start_that_will_do():
    equation = quadratic([1.0, 2.0, 3.0]).equation
    energy, calls = counted(equation.energy)
    root = LBFGS()(replace(equation, energy=energy), rtol=1.0)
    assert root.converged
    assert (root.n_iter, root.n_g, len(calls)) == (0, 1, 1)
    assert torch.equal(root.z, equation.start)
    assert len(root.inverse) == 0


@pytest.mark.parametrize("opa", [None, EVERY, Opa(lambda k: 4)])
@pytest.mark.parametrize("c2", [0.9, 1e-3])
def test_n_g_is_the_true_number(opa, c2):
    problem = model("logistic")
    equation = problem.draw(theta_of(problem, -1.0), problem.start()[1], 1)
    energy, calls = counted(equation.energy)
    root = LBFGS(opa=opa, c2=c2)(replace(equation, energy=energy), atol=1e-6)
    assert root.converged
    assert root.n_g == len(calls) > root.n_iter
    pairs = root.n_iter
    if opa:
        pairs += root.n_iter // opa.every(1)
    assert len(root.inverse) == pairs


def test_a_tolerance_below_rounding_ends_soon():
    # g cannot get smaller than its own rounding, about 1e-15 here; by chance
    # it gets a tenth smaller now and then
    problem = model("logistic", n=100, p=20)
    equation = problem.draw(theta_of(problem, 0.0), problem.start()[1], 1)
    enough = LBFGS()(equation, atol=1e-13)
    root = LBFGS()(equation, atol=0.0)
    assert enough.converged and not root.converged
    assert root.residual < 1e-13
    assert root.n_iter < 900 < LBFGS().max_iter


def hills(z):
    """Σ aᵢ cos(zᵢ), a from 1e-3 to 1: maxima at 0, minima at ±π."""
    a = torch.logspace(-3, 0, len(z), dtype=z.dtype)
    return float(a @ torch.cos(z)), -a * torch.sin(z)


@pytest.mark.parametrize("energy, start", [
    (quadratic(np.geomspace(1e-3, 1, 40)).equation.energy, normal(9, 40)),
    # starts all but stationary: the residual has to grow for a long while
    (hills, 1e-7 * normal(1, 40)),
], ids=["slow", "uphill"])
def test_a_long_solve_is_not_a_stalled_one(energy, start):
    equation = Equation(lambda z: energy(z)[1], torch.sum, start, energy)
    root = LBFGS(memory=1)(equation, atol=1e-9)
    assert root.converged
    assert root.n_iter > 2 * STALLED


@pytest.mark.parametrize("size, wasted", [(1e40, 20), (-1.0, 0)])
def test_useless_pairs_are_given_up(size, wasted):
    # kept pairs may be of a quite different theta: far too long a step, or
    # not even a descent
    problem = quadratic(np.geomspace(0.1, 10, 12))
    finder = LBFGS(keep_pairs=True)
    first = finder(problem.equation, atol=1e-3)
    first.inverse.clear()
    y = problem.equation.g(problem.equation.start)
    first.inverse.push(size * y, y)
    root = finder(problem.equation, atol=1e-9, warm_start=first)
    fresh = finder(problem.equation, atol=1e-9)
    assert root.converged
    assert torch.equal(root.z, fresh.z)
    assert root.n_g == fresh.n_g + wasted


def test_previous_memory_is_emptied():
    equation = quadratic(np.geomspace(0.1, 10, 12)).equation
    finder = LBFGS()
    fresh = finder(equation, atol=1e-6)
    first = finder(equation, atol=1e-3)
    place = first.inverse._rows.data_ptr()
    again = finder(equation, atol=1e-6, warm_start=first)
    assert again.inverse._rows.data_ptr() == place
    assert torch.equal(again.z, fresh.z)
    assert len(again.inverse) == again.n_iter == fresh.n_iter


def test_previous_memory_is_kept():
    problem = quadratic(np.geomspace(0.1, 10, 12))
    finder = LBFGS(memory=100, keep_pairs=True)
    first = finder(problem.equation, atol=1e-9)
    n_pairs = len(first.inverse)
    assert n_pairs == first.n_iter
    other = replace(problem.equation, start=normal(77, 12))
    again = finder(other, atol=1e-6, warm_start=first)
    assert len(again.inverse) == n_pairs + again.n_iter
    # a gradient by the old root would be that of the new one
    with pytest.raises(RuntimeError, match="handed to another solve"):
        first.inverse @ other.start
    # the kept pairs know the Hessian: no need to learn it again
    assert again.n_iter < finder(other, atol=1e-6).n_iter / 2


@pytest.mark.parametrize("other", [
    LBFGS(memory=5, keep_pairs=True),
    LBFGS(memory=100, keep_pairs=True, scale=2.0),
])
def test_memory_that_does_not_fit_is_left_alone(other):
    equation = quadratic(np.geomspace(0.1, 10, 12)).equation
    first = LBFGS(memory=100, keep_pairs=True)(equation, atol=1e-9)
    expected = first.inverse @ equation.start
    again = other(equation, atol=1e-6, warm_start=first)
    assert again.inverse.memory == other.memory
    assert again.inverse.fixed_scale == other.scale
    assert torch.equal(again.z, other(equation, atol=1e-6).z)
    assert torch.equal(first.inverse @ equation.start, expected)


@pytest.mark.parametrize("memory", [1, 4, 100])
@pytest.mark.parametrize("opa", [None, EVERY])
def test_the_inverse_is_that_of_its_pairs(memory, opa):
    # the solver gets its Gram matrices from differences of products, over
    # pairs that were refused, given up or are of an earlier solve
    start = 3 * normal(1, 8)
    equation = Equation(
        lambda z: wavy(z)[1], lambda z: z.sum(), start, wavy
    )
    finder = LBFGS(memory=memory, opa=opa, keep_pairs=True)
    previous = finder(equation, atol=1e-1)
    root = finder(replace(equation, start=-start), 1e-4, warm_start=previous)
    fresh = LBFGSInverse(memory, start, root.inverse.scale)
    for s, y in zip(*root.inverse.pairs()):
        fresh.push(s, y)
    assert len(fresh) == min(memory, len(root.inverse)) > 0
    assert relative(root.inverse.dense(start), fresh.dense(start)) < 1e-7


def test_each_gradient_meets_the_memory_once(monkeypatch):
    # the products of each gradient are taken once: 1 + one an iteration
    calls = []
    project = LBFGSInverse.project
    monkeypatch.setattr(
        LBFGSInverse, "project",
        lambda B, v: calls.append(v) or project(B, v),
    )
    root = LBFGS()(quadratic(np.geomspace(0.1, 10, 12)).equation, atol=1e-9)
    assert root.n_iter > 3
    assert len(calls) == 1 + root.n_iter


@pytest.mark.parametrize("value, slope", [
    (math.inf, math.nan), (math.nan, 1.0), (math.nan, math.inf),
])
def test_nan_at_the_start_ends_at_once(value, slope):
    def energy(z):
        return value, torch.full_like(z, slope)

    energy, calls = counted(energy)
    start = torch.ones(3, dtype=torch.float64)
    root = LBFGS()(
        Equation(lambda z: z, torch.sum, start, energy), atol=1e-6
    )
    assert not root.converged
    assert root.n_g == len(calls) <= 50


def wavy(z):
    """Not convex: Σ z² / 10 + cos(3 z), with its gradient."""
    value = float((0.1 * z ** 2 + torch.cos(3 * z)).sum())
    return value, 0.2 * z - 3 * torch.sin(3 * z)


@pytest.mark.parametrize("opa", [None, EVERY])
@pytest.mark.parametrize("seed", range(5))
def test_inverse_stays_positive_definite(opa, seed):
    start = 3 * normal(seed, 8)
    equation = Equation(
        lambda z: wavy(z)[1], lambda z: z.sum(), start, wavy
    )
    for n_iter in range(1, 12):
        root = LBFGS(memory=6, max_iter=n_iter, opa=opa)(equation, 1e-9)
        dense = root.inverse.dense(start)
        smallest = torch.linalg.eigvalsh((dense + dense.T) / 2).min()
        assert smallest > 0
    # OPA met negative curvature: some of its pairs were refused
    offered = root.n_iter * (2 if opa else 1)
    assert len(root.inverse) <= min(6, offered)


@pytest.mark.parametrize("name, value", [
    ("memory", 0), ("max_iter", 0), ("max_trials", 0), ("c2", 1.0),
    ("c2", 1e-5), ("scale", 0.0),
])
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: .*{value}"):
        LBFGS(**{name: value})


@pytest.mark.parametrize("first, last, n_outer, expected", [
    (5, 5, 4, [5, 5, 5, 5]),
    (12.25, 0, 50, [max(1, (50 - k) // 4) for k in range(1, 51)]),
    (3, 1, 1, [3]),
])
def test_every_few_steps(first, last, n_outer, expected):
    every = EveryFewSteps(first, last, n_outer)
    assert [every(k) for k in range(1, n_outer + 1)] == expected


def test_opa_pair():
    problem = model("logistic")
    equation = problem.draw(theta_of(problem, -1.0), problem.start()[1], 1)
    root = LBFGS(max_iter=1, opa=EVERY)(equation)
    (step, e), (_, change) = root.inverse.pairs()
    # one pair earlier, the inverse that chose the direction
    before = LBFGSInverse(30, root.z)
    before.push(*(both[0] for both in root.inverse.pairs()))
    wanted = before @ loss_gradient(equation, root.z)
    assert float(torch.cosine_similarity(e, wanted, dim=0)) == pytest.approx(1)
    assert float(e.norm()) == pytest.approx(float(step.norm()))
    g = equation.g
    with torch.no_grad():
        torch.testing.assert_close(change, g(root.z + e) - g(root.z))
    # its secant holds, and it did not touch the scale
    torch.testing.assert_close(root.inverse @ change, e)
    assert root.inverse.scale == before.scale


@pytest.mark.parametrize("k, n_pairs", [(1, 4), (2, 5), (3, 8)])
def test_opa_follows_the_outer_step(k, n_pairs):
    opa = Opa({1: 5, 2: 4, 3: 1}.get)
    equation = replace(quadratic(np.geomspace(0.1, 10, 8)).equation, step=k)
    root = LBFGS(max_iter=4, opa=opa)(equation)
    assert len(root.inverse) == n_pairs


def test_opa_takes_any_direction():
    problem = quadratic(np.geomspace(0.1, 10, 8))
    v = normal(3, 8)
    root = LBFGS(opa=Opa(lambda k: 1, lambda equation, z: v))(
        problem.equation, atol=1e-9
    )
    assert relative(root.inverse @ v, torch.linalg.solve(problem.A, v)) < 1e-6


@pytest.mark.parametrize("v", [0.0, math.nan])
def test_opa_without_a_direction_is_skipped(v):
    equation = quadratic(np.geomspace(0.1, 10, 8)).equation
    finder = LBFGS()
    plain = finder(equation, atol=1e-9)
    opa = Opa(lambda k: 1, lambda equation, z: torch.full_like(z, v))
    same = replace(finder, opa=opa)(equation, atol=1e-9)
    assert torch.equal(same.z, plain.z)
    assert same.n_g == plain.n_g


def drawn(problem):
    theta, z = problem.start()
    return problem.draw(theta, z, 1)


@pytest.mark.parametrize("kind", ["ridge", "logistic", "multinomial"])
@pytest.mark.parametrize("groups, theta", [(None, -3.0), (3, 2.0)])
def test_energy_criterion_bounds_the_energy(kind, groups, theta):
    equation = drawn(model(kind, groups, theta=theta))
    finder = LBFGS(criterion="energy", scale=1.0)
    least = LBFGS()(equation, rtol=1e-12).z
    for tol in 1e-1, 1e-2, 1e-3:
        root = finder(equation, atol=tol)
        (value, _), (lowest, _) = map(equation.energy, (root.z, least))
        assert root.converged and value - lowest <= tol ** 2 * value
        # near and far starts stop by the same rule
        elsewhere = replace(equation, start=100 * equation.start)
        value, gradient = equation.energy(finder(elsewhere, atol=tol).z)
        bound = gradient @ (gradient / equation.diagonal) / 2
        assert bound <= tol ** 2 * value


def test_energy_criterion_without_a_diagonal_is_newtons_decrement():
    # with the exact J⁻¹ it is the distance itself: here (h - min h) / h = 1
    equation = quadratic(np.ones(5)).equation
    assert LBFGS(criterion="energy")(equation, atol=0.99).n_iter
    stays = LBFGS(criterion="energy")(equation, atol=1.01)
    assert stays.n_iter == 0 and stays.converged


def test_scale_of_the_diagonal():
    problem = model("logistic", theta=-4.0)
    equation = drawn(problem)
    finder = LBFGS(scale="diagonal", keep_pairs=True)
    root = finder(equation, rtol=1e-3)
    assert root.inverse.scale == pytest.approx(math.exp(4))
    # at another theta the pairs stay, with the scale of that theta
    theta = theta_of(problem, -3.0)
    other = problem.draw(theta, root.z, 2)
    again = finder(other, rtol=1e-3, warm_start=root)
    assert again.inverse.scale == pytest.approx(math.exp(3))
    with pytest.raises(ValueError, match="one penalty"):
        finder(drawn(model("logistic", groups=3)))
    with pytest.raises(ValueError, match="scale: 'diagonal'"):
        finder(quadratic(np.ones(3)).equation)
