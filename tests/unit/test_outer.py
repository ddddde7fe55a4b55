"""Outer optimisers by numbers worked out by hand."""
import math
from functools import partial

import numpy as np
import pytest
import torch

from benchmark_shine.outer import (
    GradientOptimizer, Hoag, Search, Secant, from_now, from_start,
)

E = math.e


def theta(*values):
    return torch.tensor(values, dtype=torch.float64),


def run(hoag, start, steps, first_residual=50.0):
    """The states of HOAG after each of some (value, *gradient)."""
    state = hoag.start(theta(*start))
    states = [state]
    for value, *grads in steps:
        # only the first step's residual is the run's
        state = hoag.step(state, value, theta(*grads), first_residual)
        first_residual = -1.0
        states.append(state)
    return states


def of(states, name):
    return [getattr(state, name) for state in states]


def values(states):
    return [float(state.theta[0][0]) for state in states]


# L = 40, 38 after a decrease, 36.1 after another; then value 89 is neither a
# sufficient decrease (90 - 36.1 · 1²) nor a growth by 20 %, and 106.9 is.
STEPS = [(100, 40.0), (90, 19.0), (89, 36.1), (106.9, 7.22), (90, -7.22)]


def test_hoag_by_hand():
    states = run(Hoag(), [0.0], STEPS)
    assert of(states[1:], "lipschitz") == pytest.approx(
        [38, 36.1, 36.1, 72.2, 68.59]
    )
    assert values(states) == pytest.approx([0, -1, -1.5, -2.5, -2.5, -2.4])
    eps = [1e-3, 9e-4, 8.1e-4, 7.29e-4, 3.2805e-4, 2.95245e-4]
    assert of(states, "eps") == pytest.approx(eps)
    assert of(states, "rtol") == [1e-3, 0, 0, 0, 0, 0]


def test_hoag_moves_twice():
    states = run(Hoag(moves=2), [0.0], STEPS)
    # each accepted step twice, the rejected one not at all; the decrease is
    # judged by the length of a single step: L is that of the test above
    assert values(states) == pytest.approx([0, -2, -3, -5, -5, -4.8])
    assert of(states[1:], "lipschitz") == pytest.approx(
        [38, 36.1, 36.1, 72.2, 68.59]
    )


@pytest.mark.parametrize("slope", [1e6, -40.0, 0.002])
@pytest.mark.parametrize("moves", [1, 2])
def test_the_first_move_is_one(slope, moves):
    states = run(Hoag(moves=moves), [0.0], [(1.0, slope)])
    assert values(states)[1] == pytest.approx(-math.copysign(moves, slope))


def test_the_first_move_of_a_vector_has_norm_one():
    state = run(Hoag(), [1.0, 1.0], [(1.0, 3.0, -4.0)])[1]
    assert state.theta[0].tolist() == pytest.approx([0.4, 1.8])


def test_a_tiny_first_gradient_moves_by_itself():
    state = run(Hoag(), [0.0], [(1.0, 5e-4)])[1]
    assert float(state.theta[0]) == pytest.approx(-5e-4)


@pytest.mark.parametrize("anchor, exponents", [
    # previous theta less the first: 0, -1, -1.5, -2.5, -2.5
    (from_start, [0, -1, -1.5, -2.5, -2.5]),
    # previous theta less the present one; nothing moves on rejection
    (from_now, [1, 0.5, 1, 0, -0.1]),
])
def test_tolerance_follows_the_anchor(anchor, exponents):
    states = run(Hoag(anchor=anchor), [0.0], STEPS)
    assert states[0].atol == 0  # the first solve is relative
    expected = [
        state.eps * 50 * E ** exponent
        for state, exponent in zip(states[1:], exponents, strict=True)
    ]
    assert of(states[1:], "atol") == pytest.approx(expected)


@pytest.mark.parametrize("anchor, exponent", [
    (from_start, min(1.0, -2.0) - min(3.0, 0.0)),
    (from_now, min(1.0, -2.0) - min(5.0, -1.0)),
])
def test_anchors_compare_the_smallest_entries(anchor, exponent):
    assert anchor([1.0, -2.0], [3.0, 0.0], [5.0, -1.0]) == exponent


@pytest.mark.parametrize("moves", [1, 2])
@pytest.mark.parametrize("slope, end", [(-1.0, 2.0), (1.0, -2.0)])
def test_theta_stays_in_its_box(slope, end, moves):
    steps = [(100.0 - k, slope) for k in range(6)]
    states = run(Hoag(box=2.0, moves=moves), [0.0], steps)
    assert values(states)[-2:] == [end, end]


def test_a_step_into_the_box_counts_as_far_as_it_went():
    # moves of 0: any decrease is a sufficient one
    states = run(Hoag(box=2.0), [2.0], [(10.0, -1.0), (9.99, -1.0)])
    assert states[2].lipschitz == pytest.approx(0.95 ** 2)


def test_a_rejection_remembers_the_bad_value():
    # so that 107 after 120 is a decrease (the published rule)
    states = run(Hoag(), [0.0], [(100, 40.0), (120, 1.0), (107, 1.0)])
    assert of(states[1:], "lipschitz") == pytest.approx([38, 76, 72.2])
    assert of(states[1:], "value") == [100, 120, 107]


def test_hoag_does_not_change_its_input():
    start, grads = theta(0.0), theta(40.0)
    hoag = Hoag(moves=2)
    hoag.step(hoag.start(start), 1.0, grads, 50.0)
    assert (float(start[0]), float(grads[0])) == (0, 40)


def run_secant(secant, start, slopes):
    """All theta of a run whose hypergradients are slopes(theta)."""
    state = secant.start(theta(*start))
    thetas, tolerances = [state.theta[0]], [state.atol]
    for _ in range(12):
        grads = slopes(state.theta[0]),
        state = secant.step(state, math.nan, grads, math.nan)
        thetas.append(state.theta[0])
        tolerances.append(state.atol)
    return torch.stack(thetas), tolerances


def test_secant_by_hand():
    # 1 down, then the secant step, which is exact where dF/dtheta is linear
    thetas, _ = run_secant(Secant(), [0.0], lambda t: t + 2)
    assert thetas[:4, 0].tolist() == pytest.approx([0, -1, -2, -2])
    # into the box; then the radius is 2, as F'' < 0 has no secant step
    thetas, _ = run_secant(Secant(), [20.0], lambda t: 1 / t)
    assert thetas[1:6, 0].tolist() == pytest.approx([12, 10, 8, 6, 4])


def test_a_change_of_sign_halves_the_move():
    signs = iter([1.0, 1.0, -1e9, -1e9])

    def slopes(t):
        return torch.full_like(t, next(signs, 0.0))

    thetas, _ = run_secant(Secant(), [0.0], slopes)
    # half of the last move, 2; the secant step would be all of it
    assert thetas[1:3, 0].tolist() == pytest.approx([-1, -3])
    assert float(thetas[3, 0]) == pytest.approx(-3 + 1)


def test_secant_finds_each_entry_of_a_quadratic():
    centre = torch.tensor([-5.0, 0.3, 7.0], dtype=torch.float64)
    weights = torch.tensor([1e-3, 1.0, 1e6], dtype=torch.float64)
    thetas, _ = run_secant(
        Secant(), [4.0, 4.0, 4.0], lambda t: weights * (t - centre)
    )
    assert torch.allclose(thetas[-1], centre, atol=1e-6)
    # nothing depends on the units of the outer loss, or on other entries
    alone, _ = run_secant(Secant(), [4.0], lambda t: 5 * (t + 5))
    assert torch.equal(alone[:, 0], thetas[:, 0])


def test_tolerances_of_secant_depend_on_nothing_but_the_step():
    _, tolerances = run_secant(Secant(0.1, 0.5), [3.0], lambda t: t ** 3)
    assert tolerances == pytest.approx([0.1 * 0.5 ** k for k in range(13)])


@pytest.mark.parametrize("decay, power", [("quadratic", 2), ("cubic", 3)])
def test_tolerances_may_fall_by_a_power(decay, power):
    expected = [0.1 / k ** power for k in range(1, 14)]
    _, tolerances = run_secant(Secant(0.1, decay), [3.0], lambda t: t ** 3)
    assert tolerances == pytest.approx(expected)
    states = run(Hoag(0.1, decay), [0.0], STEPS)
    # the fourth step is rejected, which halves what follows
    expected = np.multiply(expected[:6], [1, 1, 1, 1, 0.5, 0.5])
    assert of(states, "eps") == pytest.approx(expected)
    assert of(states[1:], "atol") == pytest.approx([
        state.eps * 50 * E ** exponent for state, exponent in zip(
            states[1:], [0, -1, -1.5, -2.5, -2.5], strict=True)
    ])


def test_a_hypergradient_of_zero_stays():
    thetas, _ = run_secant(Secant(), [1.0, 2.0], torch.zeros_like)
    assert (thetas == thetas[0]).all()


@pytest.mark.parametrize("make, name, value", [
    (Hoag, "tol", 0.0), (Hoag, "tol", math.nan), (Hoag, "decay", 1.1),
    (Hoag, "moves", 0), (Hoag, "moves", 1.5), (Hoag, "decay", "linear"),
    (Secant, "decay", "linear"), (Secant, "decay", 0.0),
    (partial(GradientOptimizer, torch.optim.SGD), "tol", -1.0),
    (partial(GradientOptimizer, torch.optim.SGD), "decay", 0.0),
])
def test_bad_settings_are_named(make, name, value):
    with pytest.raises(ValueError, match=f"^{name}: .*{value}"):
        make(**{name: value})


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_torch_is_the_optimiser_run_by_hand(momentum):
    # F(theta) = ½ ‖theta - 1‖² and the same for a second tensor
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=momentum)
    outer = GradientOptimizer(optimizer)
    first = theta(3.0, -2.0) + theta(0.5)
    state = outer.start(first)
    hand = [t.tolist() for t in first]
    speed = [[0.0] * len(t) for t in hand]
    values = []
    for _ in range(60):
        grads = tuple(t - 1 for t in state.theta)
        values.append(sum(float((g ** 2).sum()) for g in grads))
        state = outer.step(state, values[-1], grads, 1.0)
        for t, v in zip(hand, speed):
            for i in range(len(t)):
                v[i] = momentum * v[i] + t[i] - 1
                t[i] -= 0.1 * v[i]
        for t, expected in zip(state.theta, hand, strict=True):
            assert t.tolist() == pytest.approx(expected)
    assert values[-1] < 0.01 * values[0]
    assert [t.tolist() for t in first] == [[3.0, -2.0], [0.5]]


@pytest.mark.parametrize("clip, factor", [(10.0, 1.0), (2.5, 0.5)])
def test_long_hypergradients_are_clipped(clip, factor):
    sgd = partial(torch.optim.SGD, lr=1.0)
    outer = GradientOptimizer(sgd, clip=clip)
    grads = torch.tensor([3.0, 0.0]), torch.tensor([4.0])  # of norm 5
    state = outer.start(tuple(map(torch.zeros_like, grads)))
    moved = outer.step(state, 0.0, grads, 1.0).theta
    for t, grad in zip(moved, grads):
        torch.testing.assert_close(t, -factor * grad)
    assert grads[0].tolist() == [3.0, 0.0]  # reported as it was
    with pytest.raises(ValueError, match="clip"):
        GradientOptimizer(sgd, clip=0.0)


def test_torch_tolerances_decay():
    outer = GradientOptimizer(
        partial(torch.optim.SGD, lr=0.1), tol=1e-2, decay=0.5
    )
    state = outer.start(theta(0.0))
    assert (state.atol, state.rtol, state.eps) == (0, 1e-2, 1e-2)
    for k, residual in enumerate([30.0, 7.0, 5.0], 1):
        # absolute from the second solve on: 1e-2 · 30 · 0.5^k
        state = outer.step(state, 1.0, theta(1.0), residual)
        assert state.rtol == 0
        assert state.atol == pytest.approx(0.3 * 0.5 ** k)
        assert state.eps == pytest.approx(1e-2 * 0.5 ** k)


def test_torch_with_a_fixed_tolerance_and_a_schedule():
    outer = GradientOptimizer(
        partial(torch.optim.SGD, lr=7.0), tol=1e-5, decay=1.0, atol=0.25,
        rate=lambda k: 0.1 ** k,
    )
    state, at = outer.start(theta(0.0)), 0.0
    for k in range(1, 4):
        assert (state.atol, state.rtol, state.eps) == (0.25, 0, 1e-5)
        state = outer.step(state, 1.0, theta(1.0), 30.0)
        at -= 0.1 ** k
        assert state.theta[0].tolist() == pytest.approx([at])


def test_search_visits_its_values():
    outer = Search((-12.0, 0.5, 3.0), rtol=1e-2)
    state = outer.start(theta(7.0, 7.0))
    seen = []
    for _ in range(4):
        assert (state.atol, state.rtol) == (0, 1e-2)
        seen.append(state.theta[0].tolist())
        state = outer.step(state, 1.0, None, 1.0)
    assert seen == [[-12, -12], [0.5, 0.5], [3, 3], [3, 3]]


@pytest.mark.parametrize("settings, message", [
    ({"values": ()}, "n_points: "), ({"rtol": -1.0}, "rtol: .*-1"),
    ({"atol": -1.0}, "atol: .*-1"), ({"rtol": 0.0}, "atol: .*0"),
])
def test_search_needs_values_and_a_tolerance(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Search(**{"values": (1.0,)} | settings)
