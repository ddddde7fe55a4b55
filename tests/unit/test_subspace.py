"""qNBO, NBO, LancBiO and SubBiO: what they are on dense matrices."""
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import ConjugateGradient, Shine
from benchmark_shine.adjoint.block import block_conjugate_gradients
from benchmark_shine.adjoint.secant_steps import SecantSteps
from benchmark_shine.adjoint.subspace import Lanczos, TwoDirections
from benchmark_shine.engine import RootAndAdjoint, Step
from benchmark_shine.loops import newton
from benchmark_shine.loops.newton import NewtonStep
from benchmark_shine.operators import Dense
from benchmark_shine.root import LBFGS, LBFGSInverse
from benchmark_shine.loops.gradient_steps import (
    GradientSteps, QuasiNewtonSteps,
)
from benchmark_shine.root.updates import (
    UPDATES, BfgsUpdates, Multiple, Sr1Updates,
)

from helpers.problems import (
    counted, model, normal, quadratic, relative, ridge_solution, spd, system,
    theta_of, tight_root,
)

D = 9
J = spd(np.geomspace(0.1, 10, D))
OTHER = J + 0.1 * spd(np.geomspace(0.1, 1, D), 3)
RHS, Q0 = normal(3, D), normal(8, D)
EXACT = torch.linalg.solve(J, RHS)
NEAR = torch.linalg.inv(OTHER)


def best_of(rows, start=None, rhs=RHS, J=J):
    """The point of start + span(rows) nearest to J⁻¹ rhs in the norm of J."""
    start = torch.zeros_like(rhs) if start is None else start
    K = torch.linalg.qr(torch.stack(rows, dim=1))[0]
    return start + K @ torch.linalg.solve(K.T @ J @ K, K.T @ (rhs - J @ start))


def krylov(r, k):
    return [torch.linalg.matrix_power(J / 10, i) @ r for i in range(k)]


# Quasi-Newton updates, and qNBO


def test_bfgs_updates_are_those_of_lbfgs():
    usual, ours = LBFGSInverse(9, RHS, 0.3), BfgsUpdates(Multiple(0.3))
    for s in normal(1, 4, D):
        usual.push(s, J @ s)
        ours.learn(s, J @ s)
    torch.testing.assert_close(ours.T @ RHS, usual @ RHS)


def test_sr1_keeps_every_pair_of_a_quadratic():
    ours, S = Sr1Updates(Dense(NEAR)), normal(1, D, D)
    for s in S:
        ours.learn(s, J @ s)
    for s in S:
        torch.testing.assert_close(ours.T @ (J @ s), s)


@pytest.mark.parametrize("update, s, y", [
    (BfgsUpdates, [1.0, 0.0], [-1.0, 1.0]), (BfgsUpdates, [0.0, 0.0], [0, 0]),
    (Sr1Updates, [1.0, 1.0], [1.0, 0.0]),  # w = s - y is orthogonal to y
    (Sr1Updates, [1.0, 1.0], [1.0, 1.0]),  # w = 0: the pair is known
])
def test_unsafe_pairs_are_left_out(update, s, y):
    ours = update(Multiple(1.0))
    ours.learn(*(torch.tensor(v, dtype=torch.float64) for v in (s, y)))
    assert len(ours) == 0


@pytest.mark.parametrize("update", UPDATES.values())
@pytest.mark.parametrize("k", [0, 1, 4])
def test_steps_of_qnbo_are_quasi_newton_steps(update, k):
    problem, products = system(J, RHS, inverse=Dense(NEAR))
    found = SecantSteps(k, update)(problem)
    assert len(products) == k
    q, C = torch.zeros_like(RHS), NEAR
    for _ in range(k + 1):
        s = C @ (RHS - J @ q)
        q, y = q + s, J @ s
        if update is Sr1Updates:
            w = s - C @ y
            C = C + torch.outer(w, w) / (w @ y)
        else:
            V = torch.eye(D) - torch.outer(y, s) / (y @ s)
            C = V.T @ C @ V + torch.outer(s, s) / (y @ s)
    torch.testing.assert_close(found, q)
    assert k or relative(found, Shine()(problem)) < 1e-15


def test_sr1_ends_after_as_many_steps_as_dimensions():
    # Nocedal and Wright 2006, theorem 6.1
    problem, _ = system(J, RHS, inverse=Multiple(1.0))
    assert relative(SecantSteps(D, Sr1Updates)(problem), EXACT) < 1e-8
    assert relative(SecantSteps(D // 2, Sr1Updates)(problem), EXACT) > 1e-3


def test_bfgs_converges_faster_than_any_rate():
    errors = []
    for k in 0, 3, 6:
        problem, _ = system(J, RHS, inverse=Dense(NEAR))
        errors.append(relative(SecantSteps(k)(problem), EXACT))
    assert errors[0] > 1e-2
    assert errors[2] / errors[1] < 0.5 * errors[1] / errors[0]


# LancBiO


@pytest.mark.parametrize("k", [2, 4, D + 1])
def test_lanczos_steps_are_krylov_minimisers(k):
    # m is 1, then 50: one step, a restart, and k - 1 steps
    problem, products = system(J, RHS)
    first = best_of([RHS])
    second = best_of(krylov(RHS - J @ first, k - 1), first)
    q = Lanczos(k, 50, 50)(problem)
    # the step that exhausts the space enlarges rounding to about 1e-7
    assert relative(q, second) < (1e-10 if k < D else 1e-5)
    assert len(products) == k + 1
    assert (relative(q, EXACT) < 1e-5) == (k > D)


@pytest.mark.parametrize("longest", [1, 3, 50])
def test_outer_steps_share_one_space(longest):
    whole, products = system(J, RHS)
    lanczos, q, n = Lanczos(1, longest, 3.0), None, 0
    for _ in range(7):
        part, made = system(J, RHS, q)
        q, n = lanczos(part), n + len(made)
    found = Lanczos(7, longest, 3.0)(whole)
    torch.testing.assert_close(q, found, rtol=1e-9, atol=1e-11)
    assert n == len(products)


def test_older_rows_keep_what_older_matrices_said():
    lanczos, rhs = Lanczos(1, 2, 2.0), 2 * RHS
    origin = best_of([RHS])  # m = 1
    w = J @ origin
    r = RHS - w
    first = r / r.norm()
    a = first @ J @ first
    p = J @ first - a * first
    second, b = p / p.norm(), p.norm()
    c = second @ (OTHER @ second - b * first)
    T, W = torch.tensor([[a, b], [b, c]]), torch.stack([first, second])
    expected = origin + W.T @ torch.linalg.solve(T, W @ (rhs - w))
    q = None
    for matrix, right in (J, RHS), (J, RHS), (OTHER, rhs):
        q = lanczos(system(matrix, right, q)[0])
    torch.testing.assert_close(q, expected)


def test_a_new_run_begins_a_new_space():
    lanczos = Lanczos(3)
    q, again = (lanczos(system(J, RHS)[0]) for _ in range(2))
    assert torch.equal(q, again)


def test_an_exhausted_space_is_left():
    # two eigenvalues: exact after two steps
    two = spd([1.0, 1.0, 4.0, 4.0])
    rhs = normal(2, 4)
    problem, _ = system(two, rhs)
    q = Lanczos(12, 50, 50)(problem)
    assert relative(q, torch.linalg.solve(two, rhs)) < 1e-12


# SubBiO


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("start", [None, Q0])
def test_subbio_takes_the_best_of_its_plane(start, k):
    problem, products = system(J, RHS, start)
    q = torch.zeros_like(RHS) if start is None else start
    for _ in range(k):
        moved = q - J @ q / 10
        q = best_of([RHS, moved] if moved.any() else [RHS])
    found = TwoDirections(k, 300)(problem)
    torch.testing.assert_close(found, q, rtol=1e-6, atol=1e-8)
    warm = start is not None
    assert len(products) == 300 + 1 + k + (1 if warm else -1)


def test_subbio_converges():
    problem, _ = system(J, RHS)
    errors = [
        relative(TwoDirections(k, 50)(problem), EXACT) for k in (1, 10, 2000)
    ]
    assert errors == sorted(errors, reverse=True) and errors[2] < 1e-6


# Block conjugate gradients


def block(tol=1e-10, rhs=None, J=J, **settings):
    rhs = torch.stack([RHS, 1e-9 * Q0]) if rhs is None else rhs
    product, products = counted(lambda v: J @ v)
    X = block_conjugate_gradients(
        product, rhs, tol * rhs.norm(dim=1), **settings
    )
    return X, rhs, len(products)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_both_are_minimised_over_the_krylov_space_of_both(k):
    X, rhs, n = block(max_iter=k)
    rows = krylov(RHS, k) + krylov(Q0, k)
    for x, b in zip(X, rhs):
        assert relative(x, best_of(rows, rhs=b)) < 1e-7
    assert n == 2 * k


@pytest.mark.parametrize("tol", [1e-2, 1e-10])
@pytest.mark.parametrize("second", [
    Q0, -3 * RHS, RHS + 1e-9 * Q0, 0 * Q0, J @ RHS, 1e-120 * Q0,
])
def test_dependent_sides_are_solved_too(second, tol):
    rhs = torch.stack([RHS, second])
    X, rhs, n = block(tol, rhs)
    large = rhs.abs().amax(dim=1, keepdim=True).clamp(min=1e-300)
    residual = (rhs - X @ J) / large
    assert (
        residual.norm(dim=1) <= 1.01 * tol * (rhs / large).norm(dim=1)
    ).all()
    assert n <= 2 * D
    if not torch.equal(second, Q0):
        assert n <= D + 2 or tol == 1e-10


def test_sharing_saves_products():
    hard = spd(np.geomspace(0.01, 50, 40))
    rhs = normal(2, 2, 40)
    X, _, n = block(1e-6, rhs, hard)
    alone = 0
    for b in rhs:
        problem, products = system(hard, b, None, 1e-6)
        ConjugateGradient()(problem)
        alone += len(products)
    assert n < 0.9 * alone


@pytest.mark.parametrize("n_early", [1, 3])
def test_a_side_that_is_done_leaves_the_other_conjugate(n_early):
    hard = spd(np.geomspace(0.1, 50, 30))
    vectors = torch.linalg.eigh(hard)[1]
    rhs = torch.stack([normal(2, 30), vectors[:, :n_early].sum(dim=1)])
    X, _, n = block(1e-9, rhs, hard)
    problem, alone = system(hard, rhs[0], None, 1e-9)
    ConjugateGradient()(problem)
    assert relative(X[0], torch.linalg.solve(hard, rhs[0])) < 1e-7
    assert n <= len(alone) + n_early + 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_side_that_is_not_finite_is_nan(bad):
    X, *_ = block(rhs=torch.stack([RHS, bad * Q0]))
    assert X[1].isnan().all()
    assert block(J=J * bad)[0].isnan().all()


def test_no_curvature_is_the_end():
    X, _, n = block(rhs=torch.stack([RHS, RHS]), J=0 * J)
    assert not X.any() and n == 1


# NBO


def after_one(problem, value, eps=1e-13, **settings):
    """An outer step from the exact root and q of a theta nearby."""
    theta = theta_of(problem, value + 0.3)
    equation, root = tight_root(problem, theta)
    last = Step(theta, root.z, 0.0, equation, q=normal(1, len(root.z)))
    theta = theta_of(problem, value)
    equation = problem.draw(theta, root.z, 2)
    state = SimpleNamespace(atol=1e-8, rtol=0.0, eps=eps)
    step = NewtonStep(LBFGS(), **settings)(equation, theta, state, last)
    return theta[0], step


def test_one_newton_step_solves_a_quadratic():
    problem = model("ridge", 3)
    theta, step = after_one(problem, -1.0)
    exact = ridge_solution(problem, theta)
    assert relative(step.z, exact.z) < 1e-9
    # q is of the rhs before the step
    again = replace(step, theta=(theta,))
    step = NewtonStep(LBFGS())(
        replace(step.equation, start=step.z), (theta,),
        SimpleNamespace(atol=0.0, rtol=0.0, eps=1e-13), again,
    )
    assert relative(step.q, exact.q) < 1e-9
    assert relative(step.grads[0], exact.grad) < 1e-9
    assert step.value == pytest.approx(float(exact.value))


def test_times_of_a_newton_step_are_differences(monkeypatch):
    ticks = count(9)
    monkeypatch.setattr(newton, "clock", lambda like: float(next(ticks)))
    _, step = after_one(model("ridge", 3), -1.0)
    assert (step.forward_time, step.backward_time) == (1, 1)


@pytest.mark.parametrize("criterion", ["energy", "gradient"])
@pytest.mark.parametrize("kind", ["logistic", "multinomial"])
def test_newton_steps_end_within_the_tolerance(kind, criterion):
    problem = model(kind, 3)
    theta, step = after_one(problem, -1.0, n_newton=20, criterion=criterion)
    equation, root = tight_root(problem, (theta,), step.z)
    assert relative(step.z, root.z) < 1e-9
    H = torch.autograd.functional.jacobian(equation.g, root.z)
    rhs = torch.autograd.functional.jacobian(equation.loss, root.z)
    assert relative(step.q, torch.linalg.solve(H, rhs)) < 1e-6
    _, once = after_one(problem, -1.0)
    assert once.n_g < step.n_g < 20  # they have ended by the tolerance


def test_the_first_outer_step_is_that_of_the_exact_method():
    problem = model("logistic", 3)
    theta = theta_of(problem, 0.0)
    equation = problem.draw(theta, problem.start()[1], 1)
    state = SimpleNamespace(atol=1e-2, rtol=0.0, eps=1e-3)
    ours, exact = (
        outer_step(equation, theta, state, None) for outer_step in (
            NewtonStep(LBFGS()), RootAndAdjoint(LBFGS(), ConjugateGradient())
        )
    )
    for name in "z", "q":
        assert torch.equal(getattr(ours, name), getattr(exact, name))
    assert (ours.n_g, ours.n_vjp) == (exact.n_g, exact.n_vjp)


# Inner steps of their own


@pytest.mark.parametrize("k", [1, 4])
def test_gradient_steps_contract(k):
    found = quadratic(np.geomspace(0.1, 10, D))
    root = GradientSteps(k, 300)(found.equation)
    contraction = torch.linalg.matrix_power(torch.eye(D) - found.A / 10, k)
    torch.testing.assert_close(
        root.z - found.solution,
        contraction @ (found.equation.start - found.solution),
        rtol=1e-6, atol=1e-8,
    )
    torch.testing.assert_close(root.inverse @ RHS, RHS / 10)


def test_a_gradient_step_is_no_longer_than_the_curvature_lets_it():
    # power iterations say 1, and the first step shows more
    found = quadratic([4.0] * D)
    short, usual = (
        GradientSteps(2, n)(found.equation).z - found.solution
        for n in (0, 300)
    )
    first = -3 * (found.equation.start - found.solution)
    assert usual.norm() < 1e-9 < first.norm()
    assert short.norm() < 1e-9


@pytest.mark.parametrize("update", UPDATES.values())
def test_forward_quasi_newton_steps(update):
    found = quadratic(np.geomspace(0.1, 10, D))
    finder = QuasiNewtonSteps(GradientSteps(1, 50), D + 1, update=update)
    root = finder(found.equation)
    again = finder(found.equation, warm_start=root)
    assert torch.equal(root.z, again.z)  # no pair is kept from call to call
    before = replace(finder, n_steps=D)(found.equation)
    s = root.z - before.z
    if update is Sr1Updates:  # theorem 6.1: exact after d steps
        assert relative(root.z, found.solution) < 1e-7
    else:
        torch.testing.assert_close(root.inverse @ (found.A @ s), s)
    assert root.residual == pytest.approx(
        float(found.equation.g(root.z).norm()), abs=1e-9)


@pytest.mark.parametrize("make, name", [
    (lambda: SecantSteps(-1), "backward_steps"),
    (lambda: Lanczos(0), "backward_steps"), (lambda: Lanczos(1, 0), "longest"),
    (lambda: Lanczos(1, 9, 0.5), "growth"),
    (lambda: TwoDirections(0), "backward_steps"),
    (lambda: TwoDirections(1, -1), "n_power"),
    (lambda: NewtonStep(None, 0), "n_newton"),
    (lambda: NewtonStep(None, 1, "x"), "criterion"),
    (lambda: GradientSteps(0), "inner_steps"),
    (lambda: GradientSteps(1, -1), "n_power"),
    (lambda: QuasiNewtonSteps(n_steps=0), "newton_steps"),
    (lambda: QuasiNewtonSteps(step=0.0), "inner_step"),
])
def test_bad_settings_are_named(make, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        make()
