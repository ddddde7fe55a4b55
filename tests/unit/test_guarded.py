"""SHINE-guarded: the estimated error of the hypergradient, and its repair."""
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import (
    AdjointSystem, ConjugateGradient, Guarded, Shine, guarded_by_sample,
    cold, stop_by_hypergradient, stop_by_residual,
)
from benchmark_shine.adjoint.krylov import theta_norm
from benchmark_shine.implicit import hypergradient
from benchmark_shine.operators import Dense, transposed
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
    # conjugate gradients minimise over start + span(M r, M J M r, ...)
    start = Shine()(guarded)
    r = RHS - J @ start
    iterates, basis = [start], [INVERSE @ r]
    for _ in range(RANK + 1):
        K, _ = torch.linalg.qr(torch.stack(basis, dim=1))
        y = torch.linalg.solve(K.T @ J @ K, K.T @ r)
        iterates.append(start + K @ y)
        basis.append(INVERSE @ J @ K[:, -1])

    def passes(q):
        r = RHS - J @ q
        return all(
            (C.T @ v).norm() <= guard * (C.T @ q).norm()
            for v in (r / DELTA, INVERSE @ r)
        )

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


@pytest.mark.parametrize("inverse", [torch.linalg.inv(J), 1e-3 * EYE])
def test_neither_estimate_hides_what_the_other_sees(inverse):
    # the last q errs by J⁻¹ r: r is orthogonal to c, or in the unseen range
    c, r = C[:, :1], UNSEEN @ UNSEEN.T @ C[:, 0]
    if inverse[0, 1]:
        r = C[:, 1] - c[:, 0] * (c[:, 0] @ C[:, 1]) / (c[:, 0] @ c[:, 0])
    truth = c[:, 0] @ EXACT
    r = r * (2 * truth / (c[:, 0] @ torch.linalg.solve(J, r)))
    start = EXACT - torch.linalg.solve(J, r)  # it gives -truth
    q = Guarded(0.2)(problem(1e-9, start, c, RHS, inverse)[0])
    assert abs(c[:, 0] @ q - truth) <= 0.25 * abs(truth)


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


def solved(tol, stop, estimate=cold, **changes):
    """The q of conjugate gradients, and how many products they took."""
    posed, products = problem(tol)
    solver = ConjugateGradient(stop=stop, estimate=estimate)
    return solver(replace(posed, **changes)), len(products)


@pytest.mark.parametrize("tol", [0.3, 0.03])
@pytest.mark.parametrize("estimate", [cold, transposed])
def test_exact_methods_may_stop_by_the_hypergradient(tol, estimate):
    q, _ = solved(tol, stop_by_hypergradient, estimate)
    # D⁻¹, and the preconditioner where there is one
    r = RHS - J @ q
    for v in [r / DELTA] + [INVERSE @ r] * (estimate is transposed):
        assert (C.T @ v).norm() <= tol * (C.T @ q).norm()


@pytest.mark.parametrize("weight, sooner", [(10.0, True), (0.1, False)])
def test_the_two_rules_stop_at_different_steps(weight, sooner):
    # one theta, which the part of q in the unseen range moves alone
    unseen, data = UNSEEN[:, 0], torch.linalg.eigh(DATA)[1][:, D - RANK:]
    changes = {"g_theta_vjp": lambda v: (unseen @ v,),
               "rhs": weight * unseen + data.sum(dim=1)}
    truth = unseen @ torch.linalg.solve(J, changes["rhs"])
    (q, by_error), (other, by_residual) = (
        solved(0.1, stop, **changes)
        for stop in (stop_by_hypergradient, stop_by_residual)
    )
    # D⁻¹ is exact there, and a small residual hides a wrong hypergradient
    assert abs(unseen @ q - truth) <= 0.1 * abs(unseen @ q)
    assert (by_error < by_residual) == sooner
    assert sooner or abs(unseen @ other - truth) > 0.5 * abs(truth)


def test_no_theta_needs_no_product():
    changes = {"g_theta_vjp": lambda v: (0 * v,)}
    assert solved(1e-3, stop_by_hypergradient, **changes)[1] == 0


def test_at_the_optimum_a_residual_of_rounding_stops():
    flat = C[:, 0] - EXACT * (C[:, 0] @ EXACT) / (EXACT @ EXACT)
    q, n_products = solved(
        0.1, stop_by_hypergradient, g_theta_vjp=lambda v: (flat @ v,)
    )
    assert relative(q, EXACT) < 1e-5
    assert n_products < 2 * D


def test_a_stop_by_the_hypergradient_says_what_it_needs():
    for changes in {"diagonal": None}, {"g_theta_vjp": None}:
        with pytest.raises(ValueError, match="stop: hypergradient needs"):
            solved(0.1, stop_by_hypergradient, **changes)
    assert solved(0.1, stop_by_hypergradient, transposed, diagonal=None)[1]


def batch(rows, scale):
    """Systems of these rows, and SHINE's q: exact but for the scale."""
    matrices = EYE + 0.3 * normal(4, 3, D, D)[rows] / D ** 0.5
    scale, products = torch.tensor(scale)[rows, None, None], []
    inverse = scale * torch.linalg.inv(matrices)

    def vjp(v):
        products.append(v)
        return torch.einsum("bji,bj->bi", matrices, v)

    return AdjointSystem(
        vjp, normal(5, 3, D)[rows], Batched(inverse), None, None, 1e-10
    ), products


class Batched(Dense):
    """One matrix per sample."""

    T = property(lambda self: Batched(self.matrix.mT))

    def __matmul__(self, v):
        return torch.einsum("bij,bj->bi", self.matrix, v)


@pytest.mark.parametrize("guard, n_products", [
    (0.5, 3), (0.1, 3), (0.01, 3), (1.5, 1),
])
def test_samples_are_guarded_one_by_one(guard, n_products):
    scale = [1.02, 1.2, 2.0]
    together, products = batch([0, 1, 2], scale)
    q, shine = guarded_by_sample(guard, 9)(together), Shine()(together)
    residual = (together.rhs - together.vjp(q)).norm(dim=1)
    assert (residual <= guard * together.rhs.norm(dim=1)).all()
    # the relative residual of SHINE is |scale - 1|
    kept = torch.tensor(scale) - 1 <= guard
    assert torch.equal((q == shine).all(dim=1), kept)
    assert len(products) - 1 == n_products
    for i in range(3):
        alone, _ = batch([i], scale)
        torch.testing.assert_close(guarded_by_sample(guard, 9)(alone)[0], q[i])


@pytest.mark.parametrize(
    "make", [Guarded, partial(guarded_by_sample, n_steps=5)]
)
@pytest.mark.parametrize("guard", [-0.1, np.nan])
def test_bad_settings_are_named(make, guard):
    with pytest.raises(ValueError, match="^guard: must be"):
        make(guard)
