"""SHINE-guarded: the estimated error of the hypergradient, and its repair."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import Guarded, Shine
from benchmark_shine.adjoint.guarded import theta_norm
from benchmark_shine.implicit import hypergradient
from benchmark_shine.operators import Dense
from benchmark_shine.root import LBFGS

from helpers.problems import (
    model, normal, relative, spd, system, theta_of, tight_root,
)

D, RANK, DELTA = 12, 8, 0.01
EYE = torch.eye(D, dtype=torch.float64)
# what the data add to the penalty in J
DATA = spd([0.0] * (D - RANK) + list(np.geomspace(0.1, 16, RANK)))
J = DATA + DELTA * EYE
C, RHS = normal(1, D, 2), normal(2, D)
EXACT = torch.linalg.solve(J, RHS)
UNSEEN = torch.linalg.eigh(DATA)[1][:, :D - RANK]
# an estimate that knows the data, and not the penalty: 100 times too small
INVERSE = torch.linalg.inv(DATA + EYE)


def problem(tol=1e-12, start=None, C=C, rhs=RHS, inverse=INVERSE):
    """A guarded system, (∂g/∂theta)ᵀ = Cᵀ, and the list of its products."""
    plain, products = system(J, rhs, start, tol, Dense(inverse))
    return replace(
        plain, diagonal=torch.tensor(DELTA).double(),
        g_theta_vjp=lambda v: (C.T @ v,),
    ), products


@pytest.mark.parametrize("r, exact", [
    (UNSEEN @ normal(3, D - RANK), True), (C[:, 0], False),
    (J @ C[:, 0], False),
])
def test_estimate_against_the_error(r, exact):
    guarded, _ = problem(C=C[:, :1])
    estimate = theta_norm(guarded, r / DELTA)
    error = abs(float(C[:, 0] @ torch.linalg.solve(J, r)))
    # exact in directions that the data do not see, a bound along C
    assert error <= (1 + 1e-9) * estimate
    assert not exact or error == pytest.approx(estimate)
    assert error <= float(C[:, 0].norm() * r.norm()) / DELTA


def test_without_error_q_is_exact():
    q = Guarded(0)(problem()[0])
    assert relative(q, EXACT) < 1e-9


def test_a_blind_guard_leaves_shine_alone():
    guarded, products = problem()
    assert torch.equal(Guarded(1e300)(guarded), Shine()(guarded))
    assert len(products) == 1


@pytest.mark.parametrize("start, n_products", [
    (EXACT, 1), (EXACT + 1e-3 * C[:, 0], 2), (1e3 * C[:, 0], 2),
])
def test_the_last_q_is_asked_first(start, n_products):
    # SHINE is exact here: it is asked where the last q does not pass
    guarded, products = problem(
        1e-9, start, inverse=torch.linalg.inv(J), C=1e3 * C
    )
    assert relative(Guarded(1e-6)(guarded), EXACT) < 1e-7
    assert len(products) == n_products


@pytest.mark.parametrize("guard", [0.5, 0.1, 1e-3])
def test_steps_stop_at_the_first_that_is_good_enough(guard):
    guarded, products = problem()
    q = Guarded(guard)(guarded)
    # conjugate gradients minimise over start + span(r, J r, ...)
    start = Shine()(guarded)
    iterates, basis = [start], [RHS - J @ start]
    for _ in range(RANK + 1):
        K, _ = torch.linalg.qr(torch.stack(basis, dim=1))
        y = torch.linalg.solve(K.T @ J @ K, K.T @ basis[0])
        iterates.append(start + K @ y)
        basis.append(J @ K[:, -1])

    def passes(q):
        r = RHS - J @ q
        return (C.T @ r).norm() / DELTA <= guard * (C.T @ q).norm()

    first = [passes(q) for q in iterates].index(True)
    assert len(products) == 1 + first
    torch.testing.assert_close(q, iterates[first], rtol=1e-6, atol=1e-6)


def test_a_wrong_sign_is_mended():
    # SHINE sees +1 in the data's range, and 1/100 of -1 / DELTA outside it
    seen = torch.linalg.eigh(DATA)[1][:, -1]
    c = (seen + 0.2 * UNSEEN[:, 0])[:, None]
    rhs = 10 * seen - UNSEEN[:, 0]
    guarded, _ = problem(C=c, rhs=rhs)
    truth = float(c[:, 0] @ torch.linalg.solve(J, rhs))
    assert truth < 0 < float(c[:, 0] @ Shine()(guarded))
    mended = float(c[:, 0] @ Guarded(0.2)(guarded))
    assert abs(mended - truth) <= 0.25 * abs(truth)


@pytest.mark.parametrize("guard, passes", [(0.1, True), (0.01, False)])
@pytest.mark.parametrize("missing", ["diagonal", "g_theta_vjp"])
def test_without_a_penalty_the_guard_is_the_residual(missing, guard, passes):
    guarded, products = problem(inverse=1.05 * torch.linalg.inv(J))
    q = Guarded(guard)(replace(guarded, **{missing: None}))
    assert (RHS - J @ q).norm() <= guard * RHS.norm()
    assert (len(products) == 1) == passes


def test_pairs_of_one_solve_serve_the_next():
    guarded, products = problem(1e-8)
    adjoint, counts = Guarded(0), []
    for start in None, 0 * RHS, None:
        products.clear()
        adjoint(replace(guarded, q0=start))
        counts.append(len(products))
    # two residuals; a system without a last q begins a new run
    assert counts[1] <= 3 < counts[0] == counts[2]


@pytest.mark.parametrize("kind, groups", [("logistic", None), ("ridge", 2)])
def test_hypergradient_keeps_its_promise(kind, groups):
    problem = model(kind, groups, n=60, p=16)
    theta = theta_of(problem, -2.0)
    equation, root = tight_root(problem, theta)
    root = replace(root, inverse=Dense(0.1 * torch.eye(len(root.z)).double()))
    exact, guarded = (
        hypergradient(equation, theta, root, Guarded(guard), tol=1e-10)
        for guard in (0, 0.1)
    )
    error = (guarded.grads[0] - exact.grads[0]).norm()
    assert 0 < error <= 0.1 * guarded.grads[0].norm()
    assert guarded.n_vjp < exact.n_vjp and guarded.n_g == 1


@pytest.mark.parametrize("cheap", [True, False])
def test_products_with_the_derivative_in_theta_are_counted(cheap):
    problem = model("ridge")
    theta = theta_of(problem, 0.0)
    equation = problem.draw(theta, problem.start()[1], 1)
    if not cheap:
        equation = replace(equation, g_theta=None)
    root, seen = LBFGS()(equation, atol=1e-6), []

    def adjoint(system):
        seen.extend(system.g_theta_vjp(system.rhs))
        return system.rhs

    found = hypergradient(equation, theta, root, adjoint)
    torch.testing.assert_close(-seen[0], found.grads[0])
    assert (found.n_g, found.n_vjp) == ((0, 0) if cheap else (1, 1))


@pytest.mark.parametrize("guard", [-0.1, np.nan])
def test_bad_settings_are_named(guard):
    with pytest.raises(ValueError, match="^guard: must be"):
        Guarded(guard)
