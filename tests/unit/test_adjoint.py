"""Ways to get q: conjugate gradients, refinement, Neumann series."""
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import (
    ConjugateGradient, JacobianFree, Neumann, Refine, Shine, z_as_q0,
)
from benchmark_shine.implicit import TransposedJacobian
from benchmark_shine.operators import Dense

from helpers.problems import (
    counted, jacobian_at, model, normal, relative, spd, system, theta_of,
)

D = 9
J = spd(np.geomspace(0.1, 10, D))
RHS = normal(3, D)
EXACT = torch.linalg.solve(J, RHS)


def krylov_minimiser(k, start):
    """The point of start + span(r, Jr, …, J^{k-1} r) closest in J-norm."""
    r = RHS - J @ start
    basis = [r]
    for _ in range(k - 1):
        basis.append(J @ basis[-1])
    K, _ = torch.linalg.qr(torch.stack(basis, dim=1))
    return start + K @ torch.linalg.solve(K.T @ J @ K, K.T @ r)


@pytest.mark.parametrize("start", [None, normal(8, D)])
@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-10])
def test_cg_solves_to_its_tolerance(start, tol):
    problem, products = system(J, RHS, start, tol)
    q = ConjugateGradient()(problem)
    assert (J @ q - RHS).norm() <= 1.01 * tol * RHS.norm()
    assert relative(q, EXACT) <= 100 * tol
    # not an iteration more than that takes
    n_iter = len(products) - (start is not None)
    before = ConjugateGradient(n_iter - 1)(problem)
    assert (J @ before - RHS).norm() > tol * RHS.norm()


@pytest.mark.parametrize("start", [None, torch.zeros(D), normal(8, D)])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_cg_iterates_are_krylov_minimisers(k, start):
    if start is not None:
        start = start.double()
    problem, products = system(J, RHS, start)
    q = ConjugateGradient(k)(problem)
    first = torch.zeros_like(RHS) if start is None else start
    torch.testing.assert_close(q, krylov_minimiser(k, first))
    # a start other than zero costs its residual
    assert len(products) == k + bool(first.any())


def test_cg_leaves_a_good_start_alone():
    problem, products = system(J, RHS, EXACT)
    assert torch.equal(ConjugateGradient()(problem), EXACT)
    assert len(products) == 1
    assert torch.equal(ConjugateGradient(0)(problem), EXACT)
    assert len(products) == 1


def test_cg_survives_a_direction_of_no_curvature():
    # J is indefinite in non-linear least squares: pᵀJp can be 0
    saddle = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    problem, _ = system(saddle, torch.ones(2, dtype=torch.float64))
    assert ConjugateGradient()(problem).shape == (2,)


@pytest.mark.parametrize("tol, more", [(1e-2, 0), (1e-4, 1), (1e-6, 10)])
def test_cg_grows_as_the_tolerance_shrinks(tol, more):
    # a rhs of D eigenvectors is not solved before D iterations
    big = spd(np.geomspace(0.01, 10, 20))
    problem, products = system(big, normal(5, 20), tol=tol)
    ConjugateGradient(2, growth=0.01)(problem)
    assert len(products) == 2 + more


def test_cg_first_guess():
    z = normal(6, D)
    problem, products = system(J, RHS, z=z)
    q = ConjugateGradient(2, default_q0=z_as_q0)(problem)
    torch.testing.assert_close(q, krylov_minimiser(2, z))
    assert len(products) == 3
    # used only where there is no last q
    warm = replace(problem, q0=normal(8, D))
    q = ConjugateGradient(2, default_q0=z_as_q0)(warm)
    torch.testing.assert_close(q, krylov_minimiser(2, warm.q0))
    assert torch.equal(z_as_q0(z), z)
    assert z_as_q0(z) is not z


def test_refine_starts_from_its_base():
    inverse = Dense(normal(7, D, D))
    problem, products = system(J, RHS, start=normal(8, D), inverse=inverse)
    base = inverse.T @ RHS
    for k in 0, 1, 3:
        products.clear()
        q = Refine(Shine(), ConjugateGradient(k))(problem)
        expected = krylov_minimiser(k, base) if k else base
        torch.testing.assert_close(q, expected)
        assert len(products) == (k + 1 if k else 0)
    # any base: Jacobian-free refine
    q = Refine(JacobianFree(), ConjugateGradient(2))(problem)
    torch.testing.assert_close(q, krylov_minimiser(2, RHS))


@pytest.mark.parametrize("k", [0, 1, 4])
def test_neumann_is_the_truncated_series(k):
    # not symmetric: the series is one of Jᵀ
    A = torch.eye(D, dtype=torch.float64) + 0.1 * normal(2, D, D)
    problem, products = system(A, RHS)
    q = Neumann(k, n_power=0)(problem)
    power, expected = RHS, RHS
    for _ in range(k):
        power = power - A.T @ power
        expected = expected + power
    torch.testing.assert_close(q, expected)
    assert len(products) == k


def test_scaled_neumann_converges():
    # ‖J‖ = 10: unscaled, the series diverges
    problem, products = system(J, RHS)
    assert relative(Neumann(50, 0)(problem), EXACT) > 1e3
    products.clear()
    errors = [
        relative(Neumann(k, 20)(problem), EXACT) for k in (10, 100, 3000)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-8
    assert len(products) == 10 + 100 + 3000 + 3 * 20


def test_neumann_norm_is_a_power_iteration():
    problem, products = system(J, RHS)
    q = Neumann(0, 4)(problem)
    v = RHS
    for _ in range(4):
        v = J @ (v / v.norm())
    torch.testing.assert_close(q, RHS / v.norm())
    assert len(products) == 4


@pytest.mark.parametrize("make, name, value", [
    (ConjugateGradient, "max_iter", -1), (ConjugateGradient, "growth", -0.1),
    (ConjugateGradient, "growth", math.nan), (Neumann, "n_steps", 2.5),
    (Neumann, "n_power", None),
])
def test_bad_settings_are_named(make, name, value):
    with pytest.raises(ValueError, match=f"^{name}: .*{value}"):
        make(**{name: value})


@pytest.mark.parametrize("kind", ["nls", "multinomial"])
def test_transposed_jacobian(kind):
    problem = model(kind, groups=2)
    z = problem.start()[1]
    equation = problem.draw(theta_of(problem, 0.0), z, 1)
    g, calls = counted(equation.g)
    vjp = TransposedJacobian(g, z)
    assert (vjp.n_vjp, vjp.n_g, len(calls)) == (0, 0, 0)
    dense = jacobian_at(equation, z)
    for n in 1, 2, 3:
        v = normal(n, len(z))
        torch.testing.assert_close(vjp(v), dense.T @ v)
        assert (vjp.n_vjp, vjp.n_g, len(calls)) == (n, 1, 1)
