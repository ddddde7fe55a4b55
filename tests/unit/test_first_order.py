"""Penalty methods and MAID, against closed forms and what they promise."""
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from benchmark_shine.adjoint import ConjugateGradient, Shine
from benchmark_shine.bench.door.solvers import Meter
from benchmark_shine.engine import Loop, Method, RootAndAdjoint
from benchmark_shine.implicit import hypergradient
from benchmark_shine.loops.bome import Bome
from benchmark_shine.loops.maid import Maid
from benchmark_shine.loops.penalty import F2sa, loss_and_gradient, penalised
from benchmark_shine.outer import Secant
from benchmark_shine.problems import Quadratic
from benchmark_shine.root import LBFGS

from helpers.problems import (
    cleaning, jacobian_at, model, quadratic, relative, ridge_solution,
    theta_of, tight_root,
)

FIRST_SOLVE = partial(LBFGS(), rtol=1e-3)
FINDER = LBFGS(60, keep_pairs=True, criterion="energy")
BY_NORM = LBFGS(60, keep_pairs=True)


def tight(equation, atol, rtol, warm_start):
    """Solve to rounding, whatever the tolerance."""
    _, root = tight_root(
        SimpleNamespace(draw=lambda *_: equation), None, equation.start
    )
    return root


def exact_gradient(problem, theta):
    equation, root = tight_root(problem, theta)
    return hypergradient(equation, theta, root, lambda system: (
        torch.linalg.solve(jacobian_at(equation, root.z), system.rhs)
    )).grads[0]


def optimum_of(problem):
    """Find the least F of ridge regression by the outer rule of all."""
    adjoint = ConjugateGradient()
    method = Method(RootAndAdjoint(FINDER, adjoint), Secant(1e-6, 0.9), 40)
    *_, (step, *_) = method.run(problem)
    found = ridge_solution(problem, step.theta[0])
    assert found.grad.norm() < 1e-4 * found.value
    return found


# -------------------------------------------------------------------- F2SA


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["ridge", "logistic", "multinomial"])
def test_the_error_of_f2sa_falls_like_a_power_of_nu(kind, order):
    problem = model(kind, 3)
    theta = theta_of(problem, 0.5)
    equation = problem.draw(theta, problem.start()[1], 1)
    exact, errors = exact_gradient(problem, theta), []
    for nu in 0.02, 0.01, 0.005:
        step = F2sa(tight, order, nu)(
            equation, theta, SimpleNamespace(atol=0, rtol=0, eps=1.0), None
        )
        errors.append(relative(step.grads[0], exact))
    assert errors[0] < 0.05
    for coarse, fine in zip(errors, errors[1:]):
        assert coarse / fine == pytest.approx(2 ** order, rel=0.1)


@pytest.mark.parametrize("make", [cleaning, lambda: Quadratic(20, 10.0)])
@pytest.mark.parametrize("order", [1, 2])
def test_f2sa_on_problems_with_other_thetas(make, order):
    """Where theta is no penalty the energy's derivative is another one."""
    problem = make()
    (theta,), z = problem.start()
    theta = (theta.clone().requires_grad_(),)
    exact = exact_gradient(problem, theta)
    state = Secant(tol=1e-6).start(theta)
    found = F2sa(tight, order, 1.0, 0.0)(
        problem.draw(theta, z, 1), theta, state, None)
    assert relative(found.grads[0], exact) < 0.03


def test_a_derivative_of_the_energy_that_is_not_free_is_counted():
    """Two roots: the energies' derivatives take an evaluation each."""
    problem = cleaning()
    theta, z = problem.start()
    theta = tuple(t.clone().requires_grad_() for t in theta)
    equation = problem.draw(theta, z, 1)
    free = replace(equation, g_theta=lambda z: z)
    costs = [
        F2sa(FINDER)(each, theta, Secant().start(theta), None).n_g
        for each in (equation, free)
    ]
    assert costs[0] == costs[1] + 2


@pytest.mark.parametrize("order, tightness, power", [
    (1, 0.0, 1 / 2), (1, 1.0, 1), (2, 0.0, 1 / 3), (2, 1.0, 1 / 2),
])
def test_the_step_of_the_difference_is_tied_to_the_tolerance(
    order, tightness, power
):
    asked = []

    def find_root(equation, atol, rtol, last):
        asked.append((equation, atol, rtol))
        return BY_NORM(equation, 1e-9)

    problem = model("ridge")
    theta, eps, nu = theta_of(problem, 0.0), 0.01, 3 * 0.01 ** power
    equation = problem.draw(theta, problem.start()[1], 1)
    F2sa(find_root, order, 3.0, tightness)(
        equation, theta, SimpleNamespace(atol=eps, rtol=0.5, eps=eps), None
    )
    z = torch.ones_like(equation.start)
    shifts = [0, nu] if order == 1 else [-nu, nu]
    _, slope = loss_and_gradient(equation, z)
    for (changed, atol, rtol), shift in zip(asked, shifts, strict=True):
        torch.testing.assert_close(
            changed.energy(z)[1], equation.g(z) + shift * slope
        )
        assert atol == pytest.approx(eps * nu ** tightness)
        assert rtol == pytest.approx(0.5 * nu ** tightness)


def test_a_penalised_equation_is_the_gradient_of_its_energy():
    problem = model("logistic")
    equation = problem.draw(theta_of(problem, 0.0), problem.start()[1], 1)
    changed, u = penalised(equation, 0.3, equation.start), equation.start + 1
    h = 1e-6 * u
    slope = changed.energy(u + h)[0] - changed.energy(u - h)[0]
    assert slope == pytest.approx(
        2 * float(changed.g(u).detach() @ h), rel=1e-6
    )
    torch.testing.assert_close(changed.energy(u)[1], changed.g(u))


@pytest.mark.parametrize("order", [1, 2])
def test_the_next_solves_start_at_the_last_roots(order):
    problem = model("logistic")
    theta, state = theta_of(problem, 0.0), SimpleNamespace(
        atol=1e-4, rtol=0, eps=1e-2)
    equation = problem.draw(theta, problem.start()[1], 1)
    step = F2sa(FINDER, order)
    first = step(equation, theta, state, None)
    again = step(replace(equation, start=first.z), theta, state, first)
    assert [root.n_iter for root in again.roots] == [0, 0]
    assert again.n_g == {1: 1 + 2, 2: 2 + 2 + 1}[order]
    assert torch.equal(again.grads[0], first.grads[0])


# -------------------------------------------------------------------- BOME


def test_bome_moves_along_its_corrected_slope():
    problem = model("ridge", 3)
    steps = list(Bome(
        FIRST_SOLVE, 1, 1, n_inner=4, eta=0.7, ratio=5.0, n_power=200
    )(problem))
    start = steps[0].theta
    z = FIRST_SOLVE(problem.draw(start, steps[0].z, 1)).z
    (equation, theta), slopes = (problem.draw(start, z, 1), start), []
    H = jacobian_at(equation, z)
    norm = torch.linalg.matrix_norm(H, 2)
    for _ in range(2):
        equation = problem.draw(theta, z, 1)
        H, weights = jacobian_at(equation, z), theta[0].detach().exp()
        after = z
        for _ in range(4):
            after = after - equation.g(after).detach() / norm
        _, l_z = loss_and_gradient(equation, z)
        squares = (z.square() - after.square()).view(2, 3).sum(dim=1)
        p_z, p_theta = equation.g(z).detach(), weights * squares / 2
        square = p_z.square().sum() + p_theta.square().sum()
        weight = max(0.7 - l_z @ p_z / square, 0)
        slopes.append(weight * p_theta)
        moved = theta[0].detach() - slopes[-1] / (5 * norm)
        if len(slopes) == 1:
            z, theta = z - (l_z + weight * p_z) / norm, (
                moved.requires_grad_(),)
    torch.testing.assert_close(steps[1].z, z)
    torch.testing.assert_close(steps[1].theta, theta)
    torch.testing.assert_close(steps[1].grads[0], slopes[1])


def test_bome_descends():
    problem = model("ridge", 3)
    steps = list(Bome(FIRST_SOLVE, 20, 20, ratio=0.1)(problem))
    values = [
        float(ridge_solution(problem, step.theta[0]).value) for step in steps
    ]
    optimum = float(optimum_of(problem).value)
    assert values[-1] - optimum < 0.1 * (values[0] - optimum)
    assert max(values[1:]) <= values[0]


# -------------------------------------------------------------------- MAID


def maid_steps(problem, n_outer, adjoint=ConjugateGradient(), **settings):
    return list(Maid(BY_NORM, adjoint, n_outer, **settings)(problem))


@pytest.mark.parametrize("groups, theta", [(None, 0.0), (3, 1.0), (1, -2.0)])
def test_no_step_of_maid_increases_f(groups, theta):
    problem = model("ridge", groups, theta=theta)
    # so rough and so long that the rule has to interfere
    rough = {"epsilon": 3.0, "delta": 100.0, "beta": 50.0}
    steps = maid_steps(problem, 15, **rough)[1:]
    exact = [ridge_solution(problem, step.theta[0]) for step in steps]
    for step, truth in zip(steps, exact):
        h = step.grads[0]
        assert (h - truth.grad).norm() < h.norm()
    for one, other, old, new in zip(steps, steps[1:], exact, exact[1:]):
        if torch.equal(one.theta[0], other.theta[0]):
            continue
        assert new.value < old.value
    assert any(not torch.equal(a.theta[0], b.theta[0])
               for a, b in zip(steps, steps[1:]))


@pytest.mark.parametrize("adjoint", [ConjugateGradient(), Shine()])
def test_maid_converges(adjoint):
    problem = model("ridge", 3)
    *_, step = maid_steps(problem, 100, adjoint)
    reached = ridge_solution(problem, step.theta[0]).value
    assert reached < optimum_of(problem).value * (1 + 1e-3)


# ------------------------------------------------------------ what all have


METHODS = {
    "F2SA": Method(F2sa(FINDER), Secant(), 4),
    "F2SA-2": Method(F2sa(FINDER, 2), Secant(), 4),
    "BOME": Loop(Bome(FIRST_SOLVE, 4, 3), 4),
    "MAID": Loop(Maid(BY_NORM, ConjugateGradient(), 4), 4),
}


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
@pytest.mark.parametrize("name", METHODS)
def test_costs_are_the_true_ones(name, kind):
    problem = model(kind, 3)
    meter = Meter(problem)
    for _, totals, _ in METHODS[name].run(problem):
        extra = meter.n_loss if name.startswith("F2SA") else 0
        assert totals.n_g == meter.n_g + extra
        assert totals.n_vjp == meter.n_vjp
    assert totals.n_outer == 4
    assert (totals.n_vjp > 0) == (name in ("BOME", "MAID"))


@pytest.mark.parametrize("name, told", [
    ("F2SA", "energy_theta: "), ("F2SA-2", "energy_theta: "),
    ("BOME", "energy_theta: "), ("MAID", "step: maid needs"),
])
def test_equations_that_lack_something_are_refused(name, told):
    problem = model("ridge")
    draw = problem.draw
    problem.draw = lambda *args: replace(
        draw(*args), energy_theta=None, diagonal=None
    )
    with pytest.raises(ValueError, match=told):
        list(METHODS[name].run(problem))


@pytest.mark.parametrize("make, told", [
    (lambda: F2sa(FINDER, 3), "order: 3 is not"),
    (lambda: F2sa(FINDER, nu=0), "nu: "),
    (lambda: F2sa(FINDER, tightness=2), "tightness: "),
    (lambda: Bome(FINDER, 3, n_inner=0), "n_inner: "),
    (lambda: Bome(FINDER, 3, ratio=-1), "ratio: "),
    (lambda: Maid(FINDER, None, 3, tau=1.0), "tau: "),
    (lambda: Maid(FINDER, None, 3, epsilon=0), "epsilon: "),
])
def test_bad_settings_are_named(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_no_slope_moves_nothing():
    problem = model("ridge")
    draw = problem.draw
    problem.draw = lambda *args: replace(
        draw(*args), loss=lambda z: 0 * z.sum()
    )
    for name, method in METHODS.items():
        *_, (step, *_) = method.run(problem)
        assert step.n_outer == 4 and not step.diverged
        # the barrier alone moves BOME where z is not the root
        theta = step.theta[0].detach()
        assert name == "BOME" or torch.equal(theta, problem.start()[0][0])


def test_an_equation_without_theta_in_its_data():
    found = quadratic([1.0, 2.0, 3.0])
    equation = penalised(found.equation, 0.5, found.equation.start)
    z = BY_NORM(equation, 1e-10).z
    rhs = torch.arange(3, dtype=torch.float64)
    torch.testing.assert_close(
        found.A @ (z - found.solution), -0.5 * rhs, rtol=1e-8, atol=1e-8
    )
