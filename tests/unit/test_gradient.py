"""Hypergradients: closed forms, finite differences, gradcheck."""
import doctest
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from benchmark_shine import implicit
from benchmark_shine.adjoint import (
    ConjugateGradient, JacobianFree, Neumann, Refine, Shine,
)
from benchmark_shine.equation import Equation
from benchmark_shine.implicit import attach, hypergradient
from benchmark_shine.operators import Dense
from benchmark_shine.root import LBFGS

from helpers.problems import (
    MODELS, counted, jacobian_at, model, normal, relative, ridge_solution,
    theta_of, tight_root,
)

EXACT = ConjugateGradient()


def thetas(problem, seed=0):
    """Some theta around -1, a different one for each group."""
    (first,), _ = problem.start()
    return theta_of(problem, normal(seed, len(first)) - 1)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("groups", [None, 1, 3])
def test_ridge_closed_form(groups, sparse):
    problem = model("ridge", groups, sparse)
    theta = thetas(problem)
    solution = ridge_solution(problem, theta[0])
    equation = problem.draw(theta, problem.start()[1], 1)
    root = LBFGS()(equation, atol=1e-11)
    assert relative(root.z, solution.z) < 1e-10
    h = hypergradient(equation, theta, root, EXACT, tol=1e-13)
    assert h.value == pytest.approx(float(solution.value), rel=1e-10)
    assert relative(h.q, solution.q) < 1e-10
    assert h.grads[0].shape == theta[0].shape
    assert relative(h.grads[0], solution.grad) < 1e-10


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind, groups", [
    *product(MODELS, [None, 1]), ("multinomial", "class"),
])
def test_finite_differences(kind, groups, sparse):
    problem = model(kind, groups, sparse)
    theta = thetas(problem)
    equation, root = tight_root(problem, theta)
    h = hypergradient(equation, theta, root, EXACT, tol=1e-13)

    def value(theta):
        equation, moved = tight_root(problem, (theta,), root.z)
        return float(equation.loss(moved.z))

    step = 1e-4
    slopes = torch.tensor([
        (value(theta[0].detach() + e) - value(theta[0].detach() - e))
        / (2 * step)
        for e in step * torch.eye(len(theta[0]), dtype=torch.float64)
    ], dtype=torch.float64)
    assert h.value == pytest.approx(value(theta[0].detach()), rel=1e-12)
    assert relative(h.grads[0], slopes) < 1e-6


@pytest.mark.parametrize("kind", MODELS)
def test_energy_theta_part_and_g_agree(kind):
    # energy returns g; g_theta has the derivative of g in theta
    problem = model(kind, groups=3, sparse=True)
    theta, z = thetas(problem), problem.start()[1]
    equation = problem.draw(theta, z, 1)
    value, gradient = equation.energy(z)
    assert isinstance(value, float)
    g = equation.g(z)
    torch.testing.assert_close(gradient, g.detach())
    v = normal(9, len(z))
    whole, = torch.autograd.grad(g, theta, v)
    part, = torch.autograd.grad(equation.g_theta(z), theta, v)
    torch.testing.assert_close(part, whole)
    step = 1e-6 * v
    slope = (equation.energy(z + step)[0] - equation.energy(z - step)[0]) / 2
    assert slope == pytest.approx(float(gradient @ step), rel=1e-7)


# attach


def dense_adjoint(system):
    """Jᵀ column by column, then a dense solve."""
    eye = torch.eye(len(system.rhs), dtype=system.rhs.dtype)
    Jt = torch.stack([system.vjp(e) for e in eye], dim=1)
    return torch.linalg.solve(Jt, system.rhs)


def smooth(symmetric):
    """theta ↦ a non-linear g (d = 4), its Jacobian symmetric or not."""
    A = 0.3 * normal(2, 4, 4)
    A = A + A.T if symmetric else A

    def of(theta):
        if symmetric:
            return lambda z: (
                2 * z + A @ torch.tanh(A @ z) - theta * z - theta ** 2
            )
        return lambda z: (
            2 * z + torch.tanh(A @ z) - theta.sin() * z ** 3 / 10
            - theta.flip(0) ** 2
        )
    return of


def newton(g):
    """The root of g from zero, to rounding."""
    z = torch.zeros(4, dtype=torch.float64)
    for _ in range(30):
        J = torch.autograd.functional.jacobian(g, z)
        z = z - torch.linalg.solve(J, g(z).detach())
    assert g(z).norm() < 1e-14
    return z


@pytest.mark.parametrize("symmetric, adjoint", [
    (True, EXACT), (True, dense_adjoint), (False, dense_adjoint),
], ids=["cg", "dense", "not symmetric"])
def test_gradcheck(symmetric, adjoint):
    equation = smooth(symmetric)

    def solution(theta):
        g = equation(theta)
        z = newton(equation(theta.detach()))
        root = SimpleNamespace(z=z, inverse=None)
        return attach(g, root, adjoint, tol=1e-14)

    theta = (0.5 * normal(6, 4).abs()).requires_grad_()
    J = torch.autograd.functional.jacobian(
        equation(theta.detach()), newton(equation(theta.detach()))
    )
    assert torch.allclose(J, J.T) == symmetric
    assert torch.autograd.gradcheck(solution, theta)


def test_attach_has_the_value_of_the_root():
    z = normal(1, 4).requires_grad_()
    root = SimpleNamespace(z=z, inverse=None)
    theta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    out = attach(lambda z: z - theta, root, JacobianFree())
    assert torch.equal(out, z)
    assert out is not z
    out.sum().backward()
    assert z.grad is None  # the root is detached
    assert torch.equal(theta.grad, torch.ones_like(theta))


def test_attach_asks_the_adjoint_once_per_backward():
    problem = model("logistic", 1)
    theta = thetas(problem)
    equation, root = tight_root(problem, theta)
    adjoint, asked = counted(EXACT)
    start = normal(2, len(root.z))
    z = attach(equation.g, root, adjoint, equation.g_theta, start, 1e-3)
    assert not asked
    loss = equation.loss(z)
    assert not asked
    loss.backward()
    (system,), = asked
    assert system.q0 is start
    assert system.tol == 1e-3
    assert system.inverse is root.inverse
    assert torch.equal(system.z, root.z)
    leaf = root.z.clone().requires_grad_()
    rhs, = torch.autograd.grad(equation.loss(leaf), leaf)
    torch.testing.assert_close(system.rhs, rhs)


def test_doctest():
    failed, attempted = doctest.testmod(implicit)
    assert attempted and not failed


# what the backward pass costs


@pytest.mark.parametrize("with_part", [True, False])
@pytest.mark.parametrize("adjoint", [
    Shine(), JacobianFree(), EXACT, ConjugateGradient(3), Neumann(4, 2),
    Refine(Shine(), ConjugateGradient(2)),
], ids=str)
def test_costs_are_the_true_ones(adjoint, with_part):
    problem = model("logistic", 1)
    theta = thetas(problem)
    equation, root = tight_root(problem, theta)
    g, calls = counted(equation.g)
    products = []

    def watched(z):
        out = g(z)
        if z.requires_grad:
            out.register_hook(lambda grad: products.append(1))
        return out

    h = hypergradient(
        replace(
            equation, g=watched,
            g_theta=equation.g_theta if with_part else None,
        ),
        theta, root, adjoint,
    )
    assert h.n_g == len(calls)
    assert h.n_vjp == len(products)
    assert (h.n_vjp > 0) == (not isinstance(adjoint, (Shine, JacobianFree)))
    # such a method never touches g
    assert bool(calls) == (h.n_vjp > 0 or not with_part)


def test_shine_is_exact_with_the_exact_inverse():
    problem = model("multinomial", 1)
    theta = thetas(problem)
    equation, root = tight_root(problem, theta)
    J = jacobian_at(equation, root.z)
    exact = hypergradient(equation, theta, root, dense_adjoint)
    told = replace(root, inverse=Dense(torch.linalg.inv(J)))
    shine = hypergradient(equation, theta, told, Shine())
    assert relative(shine.q, exact.q) < 1e-10
    assert relative(shine.grads[0], exact.grads[0]) < 1e-10
    # which the finder's own inverse is not
    own = hypergradient(equation, theta, root, Shine())
    assert relative(own.grads[0], exact.grads[0]) > 1e-3


def test_several_outer_variables():
    # dF/dtheta = dl/dtheta - (dg/dtheta)ᵀ q, the loss seeing theta as well
    A, b = normal(1, 4, 4), normal(2, 4)
    A = A @ A.T + torch.eye(4, dtype=torch.float64)
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    shift = normal(3, 4).requires_grad_()

    def g(z):
        return scale * (A @ z) - shift

    def loss(z):
        return b @ z + (scale * shift).sum() ** 2

    root = SimpleNamespace(
        z=torch.linalg.solve(A, shift.detach()) / 2, inverse=None
    )
    equation = Equation(g, loss, root.z)
    h = hypergradient(equation, (scale, shift), root, EXACT, tol=1e-14)
    direct = loss(torch.linalg.solve(A, shift) / scale)
    expected = torch.autograd.grad(direct, (scale, shift))
    for found, wanted in zip(h.grads, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert h.value == pytest.approx(float(direct.detach()))


def test_a_second_derivative_is_refused():
    # it would lack what q owes to theta
    theta = torch.tensor([4.0], requires_grad=True)
    root = SimpleNamespace(z=torch.tensor([2.0]), inverse=None)
    z = attach(lambda z: z ** 2 - theta, root, EXACT)
    with pytest.raises(RuntimeError, match="leave out create_graph=True"):
        torch.autograd.grad(z.sum(), theta, create_graph=True)
    assert float(torch.autograd.grad(z.sum(), theta)[0]) == 0.25
