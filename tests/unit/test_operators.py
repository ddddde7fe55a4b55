"""The compact L-BFGS inverse against the recursion it stands for."""
import pytest
import torch

from benchmark_shine.root.lbfgs_inverse import LBFGSInverse

from helpers.problems import normal, spd

D = 7


def pairs(n, seed=0):
    """n pairs of one quadratic, so that sᵀy > 0."""
    A = spd(torch.linspace(0.5, 4, D), seed)
    return [(s, A @ s) for s in normal(seed + 1, n, D)]


def filled(n, memory, scale):
    B = LBFGSInverse(memory, torch.zeros(D, dtype=torch.float64), scale)
    for s, y in pairs(n):
        B.push(s, y)
    return B


def bfgs(some_pairs, scale):
    """B ← (I - ρ s yᵀ) B (I - ρ y sᵀ) + ρ s sᵀ, oldest pair first."""
    eye = torch.eye(D, dtype=torch.float64)
    B = scale * eye
    for s, y in some_pairs:
        rho = 1 / (s @ y)
        V = eye - rho * torch.outer(s, y)
        B = V @ B @ V.T + rho * torch.outer(s, s)
    return B


@pytest.fixture
def v():
    return normal(99, D)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("n, memory", [
    (0, 4), (1, 4), (3, 4), (4, 4), (5, 4), (6, 4), (11, 4), (3, 1), (9, 12),
])
def test_equals_the_bfgs_recursion(n, memory, scale, v):
    B = filled(n, memory, scale)
    kept = pairs(n)[-memory:]
    c = 1.0 if scale is None else scale
    if kept and scale is None:
        s, y = kept[-1]
        c = s @ y / (y @ y)
    expected = bfgs(kept, c)
    assert len(B) == len(kept)
    torch.testing.assert_close(B.dense(v), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(B @ v, expected @ v, rtol=0, atol=1e-10)
    assert torch.equal(B.T @ v, B @ v)


def test_pairs_come_oldest_first():
    S, Y = filled(11, 4, None).pairs()
    expected = pairs(11)[-4:]
    assert torch.equal(S, torch.stack([s for s, _ in expected]))
    assert torch.equal(Y, torch.stack([y for _, y in expected]))


def test_push_copies_its_pair(v):
    B = LBFGSInverse(4, v)
    (s, y), = pairs(1)
    B.push(s, y)
    before, copy = B @ v, v.clone()
    s.zero_()
    y.zero_()
    assert torch.equal(B @ v, before) and torch.equal(v, copy)


def test_rescale_false_leaves_the_scale_alone(v):
    B = filled(2, 4, None)
    scale = B.scale
    s, y = pairs(3)[-1]
    B.push(s, y, rescale=False)
    assert B.scale == scale
    torch.testing.assert_close(
        B.dense(v), bfgs(pairs(3), scale), rtol=0, atol=1e-10
    )
    B.push(s, y)
    assert B.scale == pytest.approx(float(s @ y / (y @ y)))


@pytest.mark.parametrize("memory", [1, 4, 20])
def test_a_solve_keeps_the_products_of_its_gradient(memory, v):
    # update takes y as a difference of gradients, learn takes its own change;
    # unsound pairs are refused; clear in the middle
    B, g, kept = LBFGSInverse(memory, v), v, []
    B.begin(g)
    for n, (s, y) in enumerate(pairs(12)):
        if n == 3:
            B.clear()
            kept.clear()
        if n == 5:
            y = -y
        g = g + y
        B.update(s, g)
        if n != 5:
            kept.append((s, y))
        if n % 3 == 0:
            scale, (e, change) = B.scale, pairs(1, seed=n)[0]
            B.learn(e, change)
            kept.append((e, change))
            assert B.scale == scale
        expected = bfgs(kept[-memory:], B.scale)
        torch.testing.assert_close(B.dense(v), expected)
        torch.testing.assert_close(B.direction(), -expected @ g)
    assert len(B) == min(memory, len(kept))


@pytest.mark.parametrize("scale, fresh", [(None, 1.0), (0.3, 0.3)])
def test_clear_makes_it_new(scale, fresh, v):
    B = filled(6, 4, scale)
    B.clear()
    assert len(B) == 0
    assert torch.equal(B @ v, fresh * v)
    for s, y in pairs(3):
        B.push(s, y)
    assert torch.equal(B @ v, filled(3, 4, scale) @ v)


def test_without_sound_pairs_the_scale_is_as_at_first(v):
    B = filled(3, 4, None)
    assert B.scale != 1
    B.shift(torch.tensor(-10.0, dtype=torch.float64))
    assert len(B) == 0
    assert torch.equal(B @ v, v)
