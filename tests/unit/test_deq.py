"""Deep equilibrium problems."""
import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import Gmres, JacobianFree, Shine
from benchmark_shine.data import pictures as images
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.evaluate import networks as evaluate_networks
from benchmark_shine.evaluate import compare, metrics
from benchmark_shine.evaluate.networks import (
    N_CALIBRATION, probe, scores, spectral_radius, statistics,
)
from benchmark_shine.evaluate.reference import DIVERGED
from benchmark_shine.implicit import hypergradient
from benchmark_shine.outer import GradientOptimizer
from benchmark_shine.problems import MDEQ, Recipe, SmallDEQ
from benchmark_shine.problems.equilibrium import jacobian_penalty
from benchmark_shine.problems.functional import BoundNetwork
from benchmark_shine.problems.mdeq import LARGE, SMALL, TINY, branch_shapes
from benchmark_shine.root import Broyden, FixedPoint


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_pictures(channels=3, size=8):
    """Noise of three classes."""
    shape = 24, channels, size, size
    pixels = np.random.default_rng(0).integers(0, 228, shape)
    part = pixels.astype(np.uint8), np.arange(24) % 3
    return images.pictures(part, part)


def small(dtype=torch.float64, batch_size=8, **settings):
    recipe = Recipe(
        batch_size=batch_size, epochs=2,
        **{name: settings.pop(name) for name in list(settings)
           if name in Recipe.__dataclass_fields__},
    )
    train, test = some_pictures(channels=1)
    return SmallDEQ(
        train, test, recipe, **{"d": 10, "dtype": dtype} | settings
    )


def tiny(dtype=torch.float64, size=8, config=TINY, **changes):
    recipe = replace(
        config.recipe,
        **{"batch_size": 4, "epochs": 2, "unrolled_steps": 0} | changes,
    )
    train, test = some_pictures(size=size)
    return MDEQ(train, test, config, recipe, dtype=dtype)


PROBLEMS = {"small": small, "tiny": tiny}


def leaves(theta):
    return tuple(t.detach().clone().requires_grad_() for t in theta)


def at_random(problem, k=1):
    """Leaves, the equation of step k at them, and a z off the root."""
    theta, z = problem.start()
    theta = leaves(theta)
    equation = problem.draw(theta, z, k)
    z = torch.randn(z.shape, generator=generator(), dtype=z.dtype)
    return theta, equation, z


# ------------------------------------------------------------ parameters


@pytest.mark.parametrize("config, n_classes, size, total, f", [
    (TINY, 10, 8, 158_986, 111_456),
    (LARGE, 10, 8, 11_098_398, 8_712_832),
    (SMALL, 1000, 32, 16_808_936, 8_712_832),
])
def test_parameter_counts_are_the_published_ones(
        config, n_classes, size, total, f):
    pixels = np.zeros((4, 3, size, size), np.uint8)
    part = pixels, np.array([0, 1, 2, n_classes - 1])
    recipe = replace(config.recipe, batch_size=4)
    problem = MDEQ(*images.pictures(part, part), config, recipe)
    counts = problem.parameter_counts()
    gains = sum(
        t.numel() for name, t in zip(problem.names, problem.start()[0])
        if name.endswith(".gain")
    )
    assert sum(counts.values()) == total
    # the published count of f leaves out the gains of weight normalisation
    assert counts["cell"] == f + gains
    assert gains == 7 * sum(config.channels)


@pytest.mark.parametrize("config, size, d", [
    (TINY, 32, 30_720), (LARGE, 32, 61_440), (SMALL, 224, 188_160),
])
def test_state_has_the_published_size(config, size, d):
    shapes = branch_shapes((3, size, size), config)
    assert sum(math.prod(shape) for shape in shapes) == d
    assert [s[1] for s in shapes] == [
        shapes[0][1] // 2 ** i for i in range(len(shapes))
    ]


@pytest.mark.parametrize("config, size", [
    (TINY, 8), (LARGE, 8), (SMALL, 32),
    (replace(TINY, channels=(8,), head_channels=(4,)), 4),
])
def test_shapes_for_every_configuration(config, size):
    problem = tiny(torch.float32, size, config, batch_size=2)
    theta, z = problem.start()
    equation = problem.draw(theta, z, 1)
    with torch.no_grad():
        g, loss = equation.g(equation.start), equation.loss(equation.start)
    assert z.shape == g.shape == (2, problem.d)
    assert g.dtype == torch.float32 and bool(g.isfinite().all())
    assert loss.shape == () and bool(loss.isfinite())


@pytest.mark.parametrize("settings, word", [
    ({"contraction": 1.0}, "contraction"), ({"d": 0}, "width:"),
    ({"batch_size": 100}, "batch_size"), ({"forward_steps": 1.5}, "forward"),
    ({"backward_steps": -1}, "backward_steps: .*-1"),
    ({"dtype": torch.bfloat16}, "dtype: .*bfloat16"),
])
def test_small_deq_says_what_is_wrong(settings, word):
    with pytest.raises(ValueError, match=word):
        small(**settings)


def test_initial_weights_of_the_published_kinds():
    problem = tiny(torch.float32)
    theta = dict(zip(problem.names, problem.start()[0]))
    normalised = theta["cell.blocks.0.conv1.weight"]
    plain = theta["cell.fuse.1.0.0.weight"]
    assert float(plain.std()) == pytest.approx(0.01, rel=0.1)
    assert float(normalised.std()) == pytest.approx(
        (3 * 24 * 9) ** -0.5, rel=0.1
    )
    gain = theta["cell.blocks.0.conv1.weight.gain"]
    torch.testing.assert_close(
        gain.flatten(), normalised.flatten(1).norm(dim=1)
    )
    assert bool((theta["cell.blocks.0.norm1.weight"] == 1).all())


# -------------------------------------------------------------- equation


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_f_is_deterministic_given_the_step(make):
    problem = make()
    theta, equation, z = at_random(problem)
    again = problem.draw(theta, z, 1)
    with torch.no_grad():
        assert torch.equal(equation.g(z), equation.g(z))
        assert torch.equal(equation.g(z), again.g(z))
        assert torch.equal(equation.loss(z), again.loss(z))
    assert not torch.equal(equation.g(z), problem.draw(theta, z, 2).g(z))


def test_dropout_is_drawn_once_a_solve():
    problem = tiny()
    masks = [
        problem.mask(torch.zeros(500, 1), problem.generator(3, k))
        for k in (1, 1, 2)
    ]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert masks[0].shape == (500, 48)
    assert float((masks[0] == 0).double().mean()) == pytest.approx(
        TINY.dropout, abs=0.01
    )
    assert float(masks[0].mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("k", [1, 3], ids=["unrolled", "implicit"])
def test_theta_derivatives_against_finite_differences(make, k):
    problem = make(unrolled_steps=2, unrolled_layers=2)
    theta, _, z = at_random(problem, k)
    # the first theta has biases 0, and relu its kink there
    theta = leaves(
        t + 0.05 * torch.randn(t.shape, generator=generator(50 + i))
        for i, t in enumerate(theta)
    )
    equation = problem.draw(theta, z, k)
    w = torch.randn(z.shape, generator=generator(1), dtype=z.dtype)
    move = [
        torch.randn(t.shape, generator=generator(i), dtype=t.dtype) * 1e-2
        for i, t in enumerate(theta)
    ]

    def value(theta, equation):
        return (equation.g(z) * w).sum() / 100 + equation.loss(z)

    def shifted(t):
        at = [a.detach() + t * b for a, b in zip(theta, move)]
        with torch.no_grad():
            return float(value(at, problem.draw(at, z, k)))

    grads, again = (
        torch.autograd.grad(value(theta, equation), theta) for _ in range(2)
    )
    assert all(map(torch.equal, grads, again))
    slope = sum(float((a * b).sum()) for a, b in zip(grads, move))
    # relu has many kinks: only a small step stays between them
    h = 1e-7
    finite = (shifted(h) - shifted(-h)) / (2 * h)
    assert slope == pytest.approx(finite, rel=1e-5)
    assert abs(slope) > 1e-4


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("unrolled_steps", [0, 5])
def test_an_equation_is_freed_with_its_weights(unrolled_steps, make):
    problem = make()
    problem.recipe = replace(problem.recipe, unrolled_steps=unrolled_steps)
    theta = leaves(problem.start()[0])
    equation = problem.draw(theta, None, 1)
    root = FixedPoint(2)(equation, atol=0.0)
    found = hypergradient(equation, theta, root, Gmres(2))
    alive = [weakref.ref(t) for t in theta]
    del theta, equation, root, found
    gc.collect()
    assert not any(ref() is not None for ref in alive)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_rows_are_the_equation_of_some_samples(make):
    theta, equation, z = at_random(make())
    indices = torch.tensor([3, 0])
    with torch.no_grad():
        whole, part = equation.g(z), equation.restrict(indices)(z[indices])
    torch.testing.assert_close(part, whole[indices])


@pytest.mark.parametrize("adjoint", [JacobianFree(), Shine(), Gmres(5)])
def test_unrolled_steps_are_backpropagation_for_every_method(adjoint):
    problem = tiny(unrolled_steps=1, unrolled_layers=3)
    theta, z = problem.start()
    theta = leaves(theta)
    equation = problem.draw(theta, z, 1)
    root = Broyden(5, 5)(equation, 1e-10)
    assert root.n_iter == 1 and root.residual == 0
    found = hypergradient(equation, theta, root, adjoint)
    # the same by hand: the implicit equation of the same step, stacked
    implicit = tiny(unrolled_layers=3).draw(theta, z, 1)
    z = implicit.start
    for _ in range(3):
        z = z - implicit.g(z)
    loss = implicit.loss(z)
    assert found.value == pytest.approx(float(loss.detach()), rel=1e-12)
    for a, b in zip(found.grads, torch.autograd.grad(loss, theta)):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_unrolled_steps_go_through_the_layers_once(monkeypatch):
    # and the derivative uses their graph, however often a method evaluates g
    calls = []
    f = BoundNetwork._f
    monkeypatch.setattr(
        BoundNetwork, "_f",
        lambda self, *args: calls.append(1) or f(self, *args),
    )
    problem = tiny(unrolled_steps=1, unrolled_layers=3)
    theta, z = problem.start()
    theta = leaves(theta)
    equation = problem.draw(theta, z, 1)
    z = equation.start
    with torch.enable_grad():
        for _ in range(4):
            z = z - equation.g(z)
        torch.autograd.grad(equation.loss(z), theta)
    assert len(calls) == 3


@pytest.fixture
def rows():
    """Lists of the numbers of rows that stems, cells and heads are given."""
    rows = {"_Stem": [], "_Cell": [], "_Head": []}

    def count(module, inputs):
        found = rows.get(type(module).__name__)
        if found is not None:
            found.append(len(inputs[0]))

    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    yield rows
    hook.remove()


@pytest.mark.parametrize("adjoint", [Shine(), Gmres(3)])
def test_a_step_pays_for_what_it_needs(rows, adjoint):
    problem = tiny()
    theta, z = problem.start()
    theta = leaves(theta)
    equation = problem.draw(theta, z, 1)
    root = Broyden(9, 9)(equation, rtol=0.5)
    assert root.converged and len(set(root.steps.tolist())) > 1
    # samples that are done are not evaluated any more
    assert sum(rows["_Cell"]) == 4 + int(root.steps.sum())
    found = hypergradient(equation, theta, root, adjoint)
    assert len(rows["_Cell"]) == root.n_g + found.n_g
    assert rows["_Stem"] == rows["_Head"] == [4]


# ------------------------------------------------- contraction, penalties


@pytest.mark.parametrize("c", [0.5, 0.95])
def test_small_deq_contracts_from_both_sides(c):
    problem = small(contraction=c)
    theta, _ = problem.start()
    # any theta: the bound must not depend on how V got where it is
    theta = [3 * t for t in theta]
    equation = probe(problem, theta)
    z = FixedPoint(2_000)(equation, 1e-10).z
    radius = spectral_radius(equation.g, z, generator(), n_iter=200)
    assert radius.shape == (8,)
    assert bool((radius < c * (1 + 1e-6)).all())
    assert bool((radius > c / 2 * (1 - 1e-2)).all())
    other = z + torch.randn(z.shape, generator=generator(), dtype=z.dtype)
    f, f_other = z - equation.g(z), other - equation.g(other)
    ratio = (f - f_other).norm(dim=1) / (z - other).norm(dim=1)
    assert bool((ratio <= c).all())


def matrix_map(A):
    return lambda z: torch.tanh(z) @ A.T


def test_spectral_radius_against_eigenvalues():
    A = torch.randn(6, 6, generator=generator(), dtype=torch.float64) / 3
    z = torch.zeros(2, 6, dtype=torch.float64)

    def g(z):
        return z - matrix_map(A)(z)

    radius = spectral_radius(g, z, generator(), n_iter=2_000)
    exact = float(torch.linalg.eigvals(A).abs().max())
    assert radius.tolist() == pytest.approx([exact] * 2, rel=1e-2)


def test_jacobian_penalty_estimates_the_frobenius_norm():
    A = torch.randn(6, 6, generator=generator(), dtype=torch.float64)
    A.requires_grad_()
    z = torch.zeros(4_000, 6, dtype=torch.float64)
    penalty = jacobian_penalty(matrix_map(A), z, generator())
    exact = A.square().sum() / 6
    assert penalty.item() == pytest.approx(exact.item(), rel=0.05)
    slope, = torch.autograd.grad(penalty, A)
    torch.testing.assert_close(slope, A.detach() / 3, rtol=0.2, atol=0.05)


def test_penalty_is_in_the_loss_where_it_is_asked_for():
    losses = []
    for problem in (small(jacobian_weight=w) for w in (0.0, 1.0)):
        theta, equation, z = at_random(problem)
        with torch.no_grad():
            losses.append(float(equation.loss(z)))
    assert losses[0] < losses[1]


def test_penalty_is_in_a_share_of_the_steps():
    plain, all_, some = (
        small(jacobian_weight=w, jacobian_frequency=p)
        for w, p in ((0.0, 1.0), (1.0, 1.0), (1.0, 0.3))
    )
    kinds = []
    for k in range(1, 101):
        a, b, c = (
            at_random(p, k)[1].loss(at_random(p, k)[2]).detach()
            for p in (plain, all_, some)
        )
        assert c in (a, b)
        kinds.append(bool(c == b))
    assert 20 <= sum(kinds) <= 40


# ------------------------------------------------ batches, sharing, scores


def test_an_epoch_sees_every_sample_once_in_a_new_order():
    problem = small()
    problem.train = replace(
        problem.train, labels=torch.arange(24), n_classes=24
    )
    epochs = [
        torch.cat([problem.batch(k)[1] for k in range(first, first + 3)])
        for first in (1, 4)
    ]
    for seen in epochs:
        assert sorted(seen.tolist()) == list(range(24))
    assert not torch.equal(*epochs)
    assert problem.steps_per_epoch == 3 and problem.n_steps == 6


def test_the_seed_decides_everything():
    (a, _), (b, _), (c, _) = (
        small(seed=seed).start() for seed in (0, 0, 1)
    )
    assert all(map(torch.equal, a, b)) and not torch.equal(a[0], c[0])
    x, same, other = (small(seed=seed).batch(5)[0] for seed in (0, 0, 1))
    assert torch.equal(x, same) and not torch.equal(x, other)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_two_solvers_on_one_problem_do_not_see_each_other(make):
    def steps(problem, factor, n):
        theta, z = problem.start()
        for k in range(1, n + 1):
            theta = leaves(theta)
            equation = problem.draw(theta, z, k)
            root = FixedPoint(4)(equation, 1e-6)
            h = hypergradient(equation, theta, root, JacobianFree())
            theta = tuple(
                (t - factor * g).detach() for t, g in zip(theta, h.grads)
            )
            yield theta, h.value

    shared, alone = make(), list(steps(make(), 0.1, 2))
    first, second = steps(shared, 0.1, 2), steps(shared, -0.5, 2)
    mixed = []
    for ours, _ in zip(first, second):
        mixed.append(ours)
        scores(shared, ours[0], FixedPoint(2))
    for (theta, value), (expected, expected_value) in zip(mixed, alone):
        assert value == expected_value
        assert all(map(torch.equal, theta, expected))


def test_scores_are_those_of_the_test_data():
    problem = small(torch.float32, batch_size=5)
    theta, _ = problem.start()
    finder = Broyden(20, 60)
    found = scores(problem, theta, finder)
    x, y = problem.test.batch(torch.arange(24))
    network = problem.bind(theta, x)
    with torch.no_grad():
        z = FixedPoint(500)(problem.equation(network, x, y, 0), 1e-5).z
        logits = network.head(z)
    loss = torch.nn.functional.cross_entropy(logits, y)
    assert found["test_loss"] == pytest.approx(float(loss), rel=1e-4)
    hits = float((logits.argmax(dim=1) == y).double().mean())
    assert found["test_accuracy"] == pytest.approx(hits)
    assert found["test_residual"] < 1e-4


@pytest.mark.parametrize("n_scored, sizes", [(0, [5] * 4 + [4]), (200, [24])])
def test_test_data_are_scored_in_batches_that_fit(n_scored, sizes,
                                                  monkeypatch):
    """At least a training batch, and more where z is short."""
    problem = small(torch.float32, batch_size=5)
    monkeypatch.setattr(evaluate_networks, "N_SCORED", n_scored * problem.d)
    seen = []

    def finder(equation, *tolerances):
        seen.append(len(equation.start))
        return Broyden(20, 60)(equation, *tolerances)

    found = scores(problem, problem.start()[0], finder)
    assert seen == sizes
    assert found["test_residual"] < 1e-4


def test_statistics_belong_to_theta_alone():
    problem = tiny(torch.float32)
    theta, z = problem.start()
    finder = FixedPoint(3)
    first = statistics(problem, theta, finder)
    problem.draw(theta, z, 1).loss(z)
    second = statistics(problem, theta, finder)
    assert first.keys() == second.keys() and len(first) > 10
    assert all(torch.equal(first[name], second[name]) for name in first)
    x = torch.cat([
        problem.fixed_batch(6, i)[0] for i in range(N_CALIBRATION)
    ])
    weight = dict(zip(problem.names, theta))["stem.0.weight"]
    mean = torch.conv2d(x, weight, padding=1).mean(dim=(0, 2, 3))
    torch.testing.assert_close(
        first["stem.1.running_mean"], mean, rtol=1e-3, atol=1e-5
    )
    moved = statistics(problem, [2 * t for t in theta], finder)
    assert not torch.equal(
        moved["stem.1.running_mean"], first["stem.1.running_mean"]
    )


def test_probe_in_double_precision_is_fixed_and_differentiable():
    problem = tiny(torch.float32)
    theta = leaves(problem.start()[0])
    one, two, other = (
        probe(problem, theta, torch.float64, index) for index in (0, 0, 1)
    )
    z = torch.randn(one.start.shape, dtype=torch.float64)
    assert one.start.dtype == torch.float64 == one.g(z).dtype
    assert torch.equal(one.g(z), two.g(z))
    assert not torch.equal(one.g(z), other.g(z))
    grads = torch.autograd.grad(one.loss(z) + one.g(z).sum(), theta)
    assert all(g.dtype == torch.float32 for g in grads)


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_scores_of_weights_that_are_no_numbers(make):
    problem = make(torch.float32)
    theta = leaves(t * math.nan for t in problem.start()[0])
    outer = GradientOptimizer(torch.optim.Adam)
    method = Method(RootAndAdjoint(Broyden(3, 3), Shine()), outer, 1)
    steps = (point.step for point in method.run(problem))
    step = replace(next(steps), theta=theta, value=math.nan)
    found = metrics(problem, step)
    assert math.isnan(found["test_loss"])
    assert 0 <= found["test_accuracy"] < 1
    assert step.diverged
    assert compare(problem, step, None) == {"unmeasured": DIVERGED}


@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("adjoint", [Shine(), Gmres(3)], ids=["shine", "full"])
def test_batches_of_one(make, adjoint):
    problem, finder = make(torch.float32, batch_size=1), Broyden(4, 8)
    outer = GradientOptimizer(torch.optim.Adam, atol=1e-3)
    method = Method(RootAndAdjoint(finder, adjoint), outer, 2)
    *_, (step, *_) = method.run(problem)
    assert step.n_outer == 2 and not step.diverged
    assert step.q.shape == (1, problem.d) and bool(step.q.any())
    found = compare(problem, step, method)
    assert found["peak_memory"] > 0 and found["spectral_radius"] > 0


def test_a_pixel_alone_cannot_be_normalised():
    assert tiny(size=8, config=LARGE, batch_size=2).shapes[-1][1:] == (1, 1)
    with pytest.raises(ValueError, match="batch_size: 1 .*one pixel"):
        tiny(size=8, config=LARGE, batch_size=1)


def test_the_probe_is_of_the_step_it_is_compared_at():
    # a finder may do other things at other steps, such as OPA
    problem, asked = small(torch.float32), []

    def finder(equation, *tolerances):
        asked.append(equation.step)
        return Broyden(4, 4)(equation, *tolerances)

    outer = GradientOptimizer(torch.optim.Adam, atol=1e-3)
    method = Method(RootAndAdjoint(Broyden(4, 4), Shine()), outer, 2)
    asking = replace(method, outer_step=RootAndAdjoint(finder, Shine()))
    for step, *_ in method.run(problem):
        compare(problem, step, asking)
    assert asked == [1, 1, 2]


@pytest.mark.parametrize("k, rate", [(1, 1e-3), (51, 5.005e-4), (101, 1e-6)])
def test_learning_rate_is_a_cosine(k, rate):
    assert TINY.recipe.rate_at(k, 100) == pytest.approx(rate)


def test_learning_rate_warms_up():
    recipe = replace(TINY.recipe, warm_up=10)
    assert recipe.rate_at(1, 100) == pytest.approx(recipe.rate / 10)
    assert recipe.rate_at(9, 100) == pytest.approx(0.9 * recipe.rate)
    for k in 10, 60:
        assert recipe.rate_at(k, 100) == TINY.recipe.rate_at(k, 100)
