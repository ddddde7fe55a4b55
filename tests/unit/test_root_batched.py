"""Batched root finders: Broyden, adjoint Broyden, Anderson, fixed point."""
from dataclasses import replace

import pytest
import torch

from benchmark_shine.operators import (
    Identity, LowRank, Product, transposed, untransposed,
)
from benchmark_shine.root import (
    AdjointBroyden, Anderson, Broyden, FixedPoint, Opa,
)
from benchmark_shine.root.pairs import Pairs

from helpers.batched_problems import (
    Linear, Tanh, broyden_matrix, normal, relative, times,
)

NORMS = [0.3, 0.9, 0.5, 1.1]
D = 12
EYE = torch.eye(D, dtype=torch.float64)


def every(M):
    """OPA every M steps."""
    return Opa(lambda k: M)


FINDERS = {
    "broyden": Broyden(60, 60),
    "broyden, m = 4": Broyden(4, 60),
    "adjoint": AdjointBroyden(80, 60),
    "adjoint + OPA": AdjointBroyden(80, 60, every(3)),
    "adjoint + OPA, published": AdjointBroyden(
        80, 60, every(3), untransposed
    ),
    "adjoint + OPA, m = 4": AdjointBroyden(4, 60, every(3)),
    "anderson": Anderson(5, 60),
    "anderson, mixing": Anderson(5, 90, 0.5),
    "fixed point": FixedPoint(200),
    "damped": FixedPoint(200, 0.7),
}
LEARNING = {
    name: finder for name, finder in FINDERS.items()
    if not isinstance(finder, FixedPoint)
}
all_finders = pytest.mark.parametrize(
    "finder", FINDERS.values(), ids=FINDERS.keys()
)
learning_finders = pytest.mark.parametrize(
    "finder", LEARNING.values(), ids=LEARNING.keys()
)


def secants(problem):
    """(s, y) of all steps that one sample made, from the places recorded."""
    places = list(problem.places)
    values = [problem.g(z) for z in places]
    return [
        (places[i + 1][0] - places[i][0], values[i + 1][0] - values[i][0])
        for i in range(len(places) - 1)
    ]


# the root


@all_finders
@pytest.mark.parametrize("rows", [False, True], ids=["batch", "rows"])
def test_every_sample_meets_its_own_tolerance(finder, rows):
    problem = Tanh(NORMS, D)
    root = finder(problem.equation(rows), atol=1e-10)
    n_calls = problem.n_calls
    residuals = problem.g(root.z).norm(dim=1)
    assert root.converged and root.solved.all() and not root.diverged.any()
    assert (residuals <= 1e-10).all()
    torch.testing.assert_close(root.residuals, residuals, rtol=0, atol=1e-14)
    assert root.residual == pytest.approx(float(residuals.norm()), rel=1e-3)
    first = problem.g(problem.first).norm()
    assert root.first_residual == pytest.approx(float(first))
    # easy samples were done sooner, and none made a step too many
    assert len(set(root.steps.tolist())) > 1
    assert root.n_iter == int(root.steps.max())
    assert root.n_g == n_calls == root.n_iter + 1
    short = replace(finder, max_iter=root.n_iter - 1)
    assert not short(problem.equation(rows), atol=1e-10).converged


@all_finders
def test_relative_tolerance_is_per_sample(finder):
    scale = torch.tensor([[1e-3], [1], [10], [1e3]], dtype=torch.float64)
    problem = Linear([0.5] * 4, D)
    problem.A = problem.A[:1].expand(4, D, D)
    problem.b = torch.zeros_like(problem.b)
    problem.first = problem.first + normal(5, 1, D) * scale
    problem.weights = problem.weights[:1] * scale
    root = finder(problem.equation(), rtol=1e-6)
    first = problem.g(problem.first).norm(dim=1)
    assert (root.residuals <= 1e-6 * first).all()
    # one matrix, four scales: the same steps
    assert root.solved.all() and (root.steps == root.steps[0]).all()
    # the larger of two tolerances counts
    both = finder(problem.equation(), 1e-3 * float(first[1]), 1e-6)
    assert (both.steps[:3] < root.steps[:3]).all()
    assert both.steps[3] == root.steps[3]


@all_finders
@pytest.mark.parametrize("rows", [False, True], ids=["batch", "rows"])
def test_samples_do_not_feel_each_other(finder, rows):
    problem = Tanh(NORMS, D)
    together = finder(problem.equation(rows), atol=1e-8)
    B = together.inverse.dense(together.z)
    for i in range(len(NORMS)):
        alone = finder(problem.alone(i).equation(), atol=1e-8)
        assert torch.equal(alone.z[0], together.z[i])
        assert alone.steps[0] == together.steps[i]
        # a batch's small systems are padded to one size: rounding only
        assert relative(alone.inverse.dense(alone.z), B[i:i + 1]) < 1e-12


@all_finders
def test_samples_that_are_done_cost_nothing(finder):
    problem = Tanh(NORMS, D)
    root = finder(problem.equation(restrict=True), atol=1e-8)
    assert problem.n_rows == len(NORMS) + int(root.steps.sum())


@all_finders
def test_the_host_waits_once_a_step(finder, monkeypatch):
    waits = []
    for name in ("tolist", "item", "__bool__", "__float__", "__int__",
                 "nonzero", "cpu", "numpy", "__index__"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, _original=original, _name=name, **kwargs):
            waits.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    root = finder(Tanh(NORMS, D).equation(), atol=1e-8)
    # one a visit, and the numbers of the report
    assert root.n_iter < len(waits) <= root.n_iter + 1 + 5


# the estimate


@all_finders
def test_operator_agrees_with_its_dense_form(finder):
    problem = Tanh(NORMS, D)
    root = finder(problem.equation(), atol=1e-6)
    v, w = normal(3, 4, D), normal(4, 4, D)
    B = root.inverse.dense(root.z)
    assert B.shape == (4, D, D)
    torch.testing.assert_close(root.inverse @ v, times(B, v))
    torch.testing.assert_close(root.inverse.T @ v, times(B.mT, v))
    torch.testing.assert_close(root.inverse.T.dense(root.z), B.mT)
    torch.testing.assert_close(root.inverse.T.T @ v, root.inverse @ v)
    left = ((root.inverse @ v) * w).sum(dim=1)
    torch.testing.assert_close(left, (v * (root.inverse.T @ w)).sum(dim=1))


def test_low_rank_is_what_it_says():
    L, R, K = normal(1, 3, 2, D), normal(2, 3, 2, D), normal(3, 3, 2, 2)
    order = torch.tensor([2, 0, 1])
    dense = 0.5 * EYE + L.mT @ torch.linalg.inv(K) @ R
    v = normal(4, 3, D)
    torch.testing.assert_close(LowRank(L, R, K, 0.5).dense(v), dense)
    B = LowRank(L, R, K, 0.5, order)
    torch.testing.assert_close(B.dense(v)[order], dense)
    torch.testing.assert_close(B.T.dense(v)[order], dense.mT)
    K[1] = 0  # a sample that cannot be inverted
    singular = LowRank(L, R, K, 0.5)
    torch.testing.assert_close(singular.dense(v)[::2], dense[::2])
    assert torch.equal((singular @ v)[1], 0.5 * v[1])
    A = LowRank(R, L, normal(5, 3, 2, 2))
    both = Product(A, B)
    torch.testing.assert_close(both.dense(v), A.dense(v) @ B.dense(v))
    torch.testing.assert_close(both.T.dense(v), both.dense(v).mT)


def test_fixed_point_leaves_the_identity():
    root = FixedPoint(9)(Tanh(NORMS, D).equation())
    assert isinstance(root.inverse, Identity)
    v = normal(1, 4, D)
    product = root.inverse.T @ v
    assert torch.equal(product, v) and product is not v


def test_damped_steps():
    problem = Tanh([0.9], D)
    FixedPoint(3, 0.7)(problem.equation())
    for z, after in zip(problem.places[:3], problem.places[1:4]):
        torch.testing.assert_close(after, z - 0.7 * problem.g(z))


@pytest.mark.parametrize("m", [1, 3, 20])
def test_broyden_is_broyden_of_the_newest_pairs(m):
    problem = Tanh([0.9], D)
    root = Broyden(m, 7)(problem.equation())
    assert torch.equal(root.z, problem.places[7])
    pairs = secants(problem)
    B = broyden_matrix(pairs[-m:], D)
    assert relative(root.inverse.dense(root.z), B[None]) < 1e-8


def test_broyden_steps_are_broyden_steps():
    problem = Tanh([0.9], D)
    Broyden(4, 9)(problem.equation())
    places, pairs = problem.places[:10], secants(problem)
    for n in range(9):
        B = broyden_matrix(pairs[max(0, n - 4):n], D)
        step = B @ problem.g(places[n])[0]
        torch.testing.assert_close(
            places[n + 1][0], places[n][0] - step, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("dtype, tol", [
    (torch.float64, 1e-10), (torch.float32, 1e-2),
])
def test_steps_alone_say_as_much_as_pairs(dtype, tol):
    problem = Tanh(NORMS, 50, dtype=dtype)
    chain = Broyden(20, 20)(problem.equation(), atol=1e-5)
    pairs = Broyden(20, 21)(problem.equation(), atol=1e-5)
    assert chain.converged and torch.equal(chain.steps, pairs.steps)
    assert relative(chain.z, pairs.z) < tol
    v = normal(1, 4, 50, dtype=dtype)
    assert relative(chain.inverse @ v, pairs.inverse @ v) < tol
    assert relative(chain.inverse.T @ v, pairs.inverse.T @ v) < tol


@pytest.mark.parametrize("d", [3, 30])
@pytest.mark.parametrize("m", [1, 5])
def test_sixty_pairs_in_little_memory(m, d):
    J = torch.eye(d, dtype=torch.float64) - 0.5 * normal(1, 2, d, d) / d ** .5
    pairs = Pairs(m, torch.zeros(2, d, dtype=torch.float64))
    steps = normal(2, 60, 2, d)
    for n, s in enumerate(steps):
        y = times(J, s)
        pairs.push_secant(s, y)
        assert relative(pairs.operator() @ y, s) < 1e-8
    for i in range(2):
        kept = [(s[i], J[i] @ s[i]) for s in steps[-m:]]
        B = pairs.operator().dense(steps[0])[i]
        assert relative(B[None], broyden_matrix(kept, d)[None]) < 1e-8


@pytest.mark.parametrize("problem", [
    Tanh([3.0], 200, seed=3), Linear([1.5], 80, seed=3),
    Linear([1.5], 200, seed=3),
], ids=["tanh", "linear", "larger"])
def test_sixty_steps_in_little_memory(problem):
    problem.forget()
    root = Broyden(5, 60)(problem.equation())
    assert root.n_iter == 60 and torch.equal(root.z, problem.places[60])
    s, y = secants(problem)[59]
    assert ((root.inverse @ y[None])[0] - s).norm() <= 1e-8 * s.norm()
    # no worse than the same memory, emptied whenever it is full
    start = problem.first
    for _ in range(12):
        equation = replace(problem.equation(), start=start)
        restarted = Broyden(5, 5)(equation)
        start = restarted.z
    assert root.residual <= 2 * restarted.residual
    assert root.residual < 1e-3 * root.first_residual


def test_broyden_from_an_estimate():
    problem = Linear([0.9, 0.5, 0.7], D)
    exact = torch.linalg.inv(problem.jacobian(problem.first))
    near = exact + 0.02 * normal(9, 3, D, D)
    eye = EYE.expand(3, D, D)
    # any matrix is a low-rank one of full rank
    first = LowRank((near - EYE).mT.contiguous(), eye, eye)
    torch.testing.assert_close(first.dense(problem.first), near)
    cold = Broyden(30, 60)(problem.equation(), atol=1e-8)
    warm = Broyden(30, 60, first)(problem.equation(), atol=1e-8)
    assert warm.converged and (warm.steps < cold.steps).all()
    one = problem.alone(0)
    root = Broyden(30, 3, LowRank(
        first.left[:1], first.right[:1], first.middle[:1]
    ))(one.equation())
    B = near[0]
    for s, y in secants(one):
        B = B + torch.outer(s - B @ y, s @ B) / (s @ B @ y)
    assert relative(root.inverse.dense(root.z), B[None]) < 1e-8
    torch.testing.assert_close(
        root.inverse.T.dense(root.z), root.inverse.dense(root.z).mT
    )


@pytest.mark.parametrize("m", [1, 3, 40])
def test_adjoint_secant(m):
    problem = Tanh(NORMS, D)
    root = AdjointBroyden(m, 7)(problem.equation())
    assert root.n_vjp == 7
    sigma, J = problem.g(root.z), problem.jacobian(root.z)
    A = torch.linalg.inv(root.inverse.dense(root.z))
    assert relative(times(A.mT, sigma), times(J.mT, sigma)) < 1e-8


def test_adjoint_broyden_is_the_rank_one_update():
    problem = Tanh([0.9], D)
    root = AdjointBroyden(40, 6)(problem.equation())
    A = EYE
    for z in problem.places[1:7]:
        sigma, J = problem.g(z)[0], problem.jacobian(z)[0]
        A = A + torch.outer(sigma, sigma @ J - sigma @ A) / (sigma @ sigma)
    B = torch.linalg.inv(A)
    assert relative(root.inverse.dense(root.z), B[None]) < 1e-8


@pytest.mark.parametrize("side", [transposed, untransposed])
def test_opa_teaches_its_direction_last(side):
    problem = Tanh([0.9], D)
    plain = AdjointBroyden(40, 6)(problem.equation())
    root = AdjointBroyden(40, 6, every(6), side)(problem.equation())
    assert (plain.n_vjp, root.n_vjp) == (6, 7)
    assert torch.equal(root.z, plain.z)
    # the direction, from the estimate of just before
    v = side(plain.inverse) @ problem.rhs(plain.z)
    J = problem.jacobian(root.z)
    assert relative(root.inverse.T @ times(J.mT, v), v) < 1e-10


def test_opa_follows_its_schedule_and_the_outer_step():
    problem = Tanh([0.9], D)
    finder = AdjointBroyden(40, 12, Opa(lambda k: 2 * k))
    for k, extra in ((1, 6), (2, 3), (7, 0)):
        root = finder(replace(problem.equation(), step=k))
        assert root.n_vjp == 12 + extra
        assert root.n_g == 13


def test_a_loss_that_does_not_depend_on_a_sample_does_no_harm():
    problem = Tanh(NORMS, D)
    problem.loss = lambda z: z[0].sum()
    root = AdjointBroyden(40, 60, every(2))(problem.equation(), atol=1e-8)
    assert root.converged
    assert root.inverse.dense(root.z).isfinite().all()


@pytest.mark.parametrize("beta", [1.0, 0.6])
def test_anderson_satisfies_all_its_secants(beta):
    problem = Tanh([0.9], D)
    root = Anderson(4, 7, beta, ridge=0.0)(problem.equation())
    assert torch.equal(root.z, problem.places[7])
    kept = secants(problem)[3:7]
    for s, y in kept:
        By = (root.inverse @ y[None])[0]
        assert (By - s).norm() <= 1e-8 * s.norm()
    # and is beta times the identity beside them
    Y = torch.stack([y for _, y in kept], dim=1)
    v = normal(3, D)
    v = v - Y @ torch.linalg.lstsq(Y, v[:, None]).solution[:, 0]
    torch.testing.assert_close((root.inverse @ v[None])[0], beta * v)


def test_anderson_step_is_the_least_squares_step():
    problem = Tanh([0.9], D)
    Anderson(3, 7, 0.8, ridge=0.0)(problem.equation())
    places, pairs = problem.places[:8], secants(problem)
    for n in range(1, 7):
        S, Y = (
            torch.stack(columns, dim=1)
            for columns in zip(*pairs[max(0, n - 3):n])
        )
        g = problem.g(places[n])[0]
        gamma = torch.linalg.lstsq(Y, g[:, None]).solution[:, 0]
        expected = places[n][0] - 0.8 * g - (S - 0.8 * Y) @ gamma
        torch.testing.assert_close(places[n + 1][0], expected)


def test_the_ridge_is_relative():
    problem = Tanh([0.9], D)
    root = Anderson(1, 3, ridge=0.25)(problem.equation())
    s, y = secants(problem)[2]
    expected = EYE + torch.outer(s - y, y) / (1.25 * y @ y)
    torch.testing.assert_close(root.inverse.dense(root.z)[0], expected)


# the best iterate


@learning_finders
def test_the_best_iterate_comes_with_its_own_estimate(finder):
    # expanding: residuals go down and up
    problem = Tanh([4.0, 6.0, 0.5, 5.0], 40, seed=2)
    finder = replace(finder, memory=80, max_iter=14)
    root = finder(problem.equation(), atol=1e-9)
    values = torch.stack([
        problem.g(z).norm(dim=1) for z in list(problem.places)
    ])
    best = values.argmin(dim=0)
    torch.testing.assert_close(root.residuals, values.min(dim=0).values)
    assert ((0 < best) & (best < 14) & ~root.solved).any()
    B = root.inverse.dense(root.z)
    for i in range(4):
        upto = replace(finder, max_iter=int(best[i]), memory=80)
        alone = upto(problem.alone(i).equation(), atol=1e-9)
        assert torch.equal(alone.z[0], root.z[i])
        assert relative(alone.inverse.dense(alone.z), B[i:i + 1]) < 1e-9


def test_pairs_that_were_overwritten_are_not_pretended():
    for seed in range(20):
        problem = Tanh([6.0], D, seed=seed)
        root = Broyden(6, 14)(problem.equation())
        values = [float(problem.g(z).norm()) for z in problem.places[:15]]
        best = min(range(15), key=values.__getitem__)
        lost = 14 - best
        if 0 < lost < 6 <= best:
            break
    problem.places = problem.places[:15]
    kept = secants(problem)[best - 6 + lost:best]
    B = broyden_matrix(kept, D)
    assert relative(root.inverse.dense(root.z), B[None]) < 1e-8


# what goes wrong


class Poisoned(Tanh):
    """Some samples' g is not a number: always, or after some calls."""

    bad, after, value = [1], 0, torch.nan

    def g(self, z, index=slice(None)):
        g = super().g(z, index)
        if self.n_calls <= self.after:
            return g
        at = torch.zeros(len(self.b), dtype=torch.bool)
        at[self.bad] = True
        return torch.where(at[index].unsqueeze(1), self.value, g)


@all_finders
@pytest.mark.parametrize("rows", [False, True], ids=["batch", "rows"])
@pytest.mark.parametrize("after, value", [
    (0, torch.nan), (3, torch.nan), (0, torch.inf),
])
def test_a_nan_sample_is_reported_and_leaves_the_others_alone(
    finder, rows, after, value
):
    healthy = finder(Tanh(NORMS, D).equation(), atol=1e-8)
    problem = Poisoned(NORMS, D)
    problem.after, problem.value = after, value
    root = finder(problem.equation(rows), atol=1e-8)
    assert root.diverged.tolist() == [False, True, False, False]
    assert root.solved.tolist() == [True, False, True, True]
    assert not root.converged
    others = [0, 2, 3]
    assert torch.equal(root.z[others], healthy.z[others])
    # its best iterate is returned, the start at worst
    assert root.z.isfinite().all()
    assert root.steps[1] == after
    assert root.residuals[1].isfinite() == bool(after)
    B = root.inverse.dense(root.z)
    assert B.isfinite().all()
    assert torch.equal(
        B[others], healthy.inverse.dense(healthy.z)[others]
    )


class RootOfZero(Tanh):
    """Sample 1's derivative is not a number, though its g is one."""

    def g(self, z, index=slice(None)):
        bad = (torch.arange(len(self.b)) == 1)[index].unsqueeze(1)
        return super().g(z, index) + torch.where(bad, 0 * z, 1.0).sqrt() - (
            torch.where(bad, 0.0, 1.0)
        )


@pytest.mark.parametrize("opa", [None, every(1)], ids=["plain", "OPA"])
def test_a_nan_derivative_teaches_nothing(opa):
    finder = AdjointBroyden(80, 60, opa)
    healthy = finder(Tanh(NORMS, D).equation(), atol=1e-8)
    root = finder(RootOfZero(NORMS, D).equation(), atol=1e-8)
    assert root.converged
    B = root.inverse.dense(root.z)
    assert torch.equal(B[1], EYE)
    # not by the grace of a library that skips 0 times NaN
    assert root.inverse.left.isfinite().all()
    assert root.inverse.right.isfinite().all()
    others = [0, 2, 3]
    torch.testing.assert_close(root.z[others], healthy.z[others])
    expected = healthy.inverse.dense(healthy.z)[others]
    torch.testing.assert_close(B[others], expected)


def test_a_nan_loss_teaches_nothing():
    problem = Tanh(NORMS, D)
    plain = AdjointBroyden(80, 60)(problem.equation(), atol=1e-8)
    problem.weights[1] = torch.nan
    root = AdjointBroyden(80, 60, every(1))(problem.equation(), atol=1e-8)
    assert root.converged and root.steps[1] == plain.steps[1]
    B, expected = (r.inverse.dense(r.z) for r in (root, plain))
    torch.testing.assert_close(B[1], expected[1])
    assert relative(B[3:], expected[3:]) > 1e-3


def test_an_exploding_sample_is_given_up():
    # Picard steps on g = z - A z - b with a large A
    problem = Linear([0.5, 50.0], D)
    root = FixedPoint(100)(problem.equation(), atol=1e-6)
    assert root.diverged.tolist() == [False, True]
    assert root.solved.tolist() == [True, False]
    assert root.steps[1] < 20
    assert root.residuals[1] <= problem.g(problem.first)[1].norm()


def vector(*entries):
    return torch.tensor([entries], dtype=torch.float64)


def test_a_singular_update_is_damped():
    # J is skew: sᵀB y = 0 for the first pair, and B+ would have no inverse
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    problem = Linear([0.5], 2)
    problem.A = (torch.eye(2, dtype=torch.float64) - turn)[None]
    problem.b = vector(3.0, 4.0)
    pairs, s = Pairs(4, problem.b), problem.b
    y = times(turn[None], s)
    pairs.push_secant(s, y)
    v = normal(1, 1, 2)
    expected = v + (s - y) * (s @ v.T) / 25
    torch.testing.assert_close(pairs.operator() @ v, expected)
    # the finder gets over it, in the same way from its steps alone
    places = []
    for memory in 4, 20:
        problem.places.clear()
        root = Broyden(memory, 20)(problem.equation(), atol=1e-9)
        assert root.converged
        places.append(torch.cat(problem.places))
    torch.testing.assert_close(*places)


@pytest.mark.parametrize("s, y", [
    # sᵀy = 0, but sᵀB y = -1
    (vector(1.0, 1.0, 0.0), vector(1.0, -1.0, 0.0)),
    (vector(0.0, 1.0, 1.0), vector(1.0, 2.0, 3.0)),
])
def test_the_newest_secant_holds(s, y):
    pairs = Pairs(4, s)
    pairs.push_secant(vector(1.0, 0.0, 0.0), vector(2.0, 1.0, 0.0))
    pairs.push_secant(s, y)
    torch.testing.assert_close(pairs.operator() @ y, s)


def test_an_empty_pair_teaches_nothing():
    pairs, v = Pairs(4, vector(0.0, 0.0, 0.0)), normal(1, 1, 3)
    pairs.push_secant(vector(1.0, 0.0, 0.0), vector(2.0, 1.0, 0.0))
    before = pairs.operator() @ v
    pairs.push_secant(vector(0.0, 0.0, 0.0), vector(1.0, 2.0, 0.0))
    assert torch.equal(pairs.operator() @ v, before)


@all_finders
def test_no_steps(finder):
    problem = Tanh(NORMS, D, start=normal(7, 4, D))
    root = finder(problem.equation(), atol=1e9)  # the start will do
    assert root.converged and root.n_iter == 0
    assert not finder(problem.equation(), atol=1e-8).z.requires_grad
    assert torch.equal(problem.first, normal(7, 4, D))  # not changed
    root = replace(finder, max_iter=0)(problem.equation(), atol=1e-8)
    assert torch.equal(root.z, problem.first)
    assert (root.n_iter, root.n_g, root.n_vjp) == (0, 1, 0)
    assert not root.converged and not root.diverged.any()
    v = normal(1, 4, D)
    product = root.inverse.T @ v
    assert torch.equal(product, v * getattr(finder, "beta", 1.0))


@learning_finders
def test_memory_of_one(finder):
    problem = Tanh([0.5, 0.7], D)
    root = replace(finder, memory=1)(problem.equation(), atol=1e-8)
    assert root.converged
    beyond = root.inverse.dense(root.z) - getattr(finder, "beta", 1.0) * EYE
    assert (torch.linalg.matrix_rank(beyond, rtol=1e-8) == 1).all()


@all_finders
@pytest.mark.parametrize("start, message", [
    (torch.zeros(2, 3, dtype=torch.bfloat16), "bfloat16"),
    (torch.zeros(2, 3, dtype=torch.int64), "int64"),
    (torch.zeros(3), r"\(3,\)"),
    (torch.zeros(2, 3, 1), r"\(2, 3, 1\)"),
    (torch.zeros(0, 3), r"\(0, 3\)"),
], ids=["half", "integer", "1-d", "3-d", "empty"])
def test_a_start_of_no_use_is_refused(finder, start, message):
    equation = replace(Tanh([0.5], 3).equation(), start=start)
    with pytest.raises(ValueError, match=message):
        finder(equation)


@pytest.mark.parametrize("make, message", [
    (lambda: Broyden(0), "memory"),
    (lambda: AdjointBroyden(3, 1.5), "max_iter"),
    (lambda: Anderson(beta=0.0), "beta"),
    (lambda: Anderson(ridge=-1.0), "ridge"),
    (lambda: FixedPoint(tau=1.5), "tau"),
])
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# memory


@learning_finders
def test_memory_is_taken_over(finder):
    problem, other = Tanh(NORMS, D), Tanh(NORMS[::-1], D, seed=5)
    fresh = finder(other.equation(), atol=1e-8)
    first = finder(problem.equation(), atol=1e-8)
    space = {first.inverse.left.data_ptr(), first.inverse.right.data_ptr()}
    B = first.inverse
    again = finder(other.equation(), atol=1e-8, warm_start=first)
    assert torch.equal(again.z, fresh.z)
    assert torch.equal(
        again.inverse.dense(again.z), fresh.inverse.dense(fresh.z)
    )
    assert space == {
        again.inverse.left.data_ptr(), again.inverse.right.data_ptr()
    }
    with pytest.raises(RuntimeError, match="warm_start"):
        B.T.T @ first.z


@learning_finders
def test_memory_that_does_not_fit_is_left_alone(finder):
    problem, smaller = Tanh(NORMS, D), Tanh(NORMS[:2], D)
    first = finder(problem.equation(), atol=1e-8)
    B = first.inverse.dense(first.z)
    fresh = finder(smaller.equation(), atol=1e-8)
    again = finder(smaller.equation(), atol=1e-8, warm_start=first)
    assert torch.equal(again.z, fresh.z)
    assert torch.equal(first.inverse.dense(first.z), B)
    nothing = FixedPoint(3)(problem.equation())
    assert finder(problem.equation(), atol=1e-8, warm_start=nothing).converged
