"""Adjoints of a batch, and hypergradients of a small equilibrium network."""
from dataclasses import replace

import pytest
import torch

from benchmark_shine.adjoint import (
    AdjointSystem, Fallback, Gmres, Neumann, NormRule, Phantom,
    QuasiNewtonSolve, Refine, ResidualRule, Shine, cold,
)
from benchmark_shine.equation import Equation
from benchmark_shine.implicit import hypergradient
from benchmark_shine.operators import LowRank, transposed, untransposed
from benchmark_shine.precision import scale_of
from benchmark_shine.root import (
    AdjointBroyden, Anderson, Broyden, FixedPoint, Opa,
)

from helpers.batched_problems import matrices, normal, relative, times

D = 14
NORMS = [0.05, 0.9, 0.5, 1.4]
EYE = torch.eye(D, dtype=torch.float64)
J = EYE - matrices(0, NORMS, D)
RHS = normal(1, 4, D)
EXACT = torch.linalg.solve(J.mT, RHS)


def operator(matrix):
    """Any (B, D, D) as an operator: I plus a low-rank one of full rank."""
    eye = EYE.expand_as(matrix)
    return LowRank((matrix - EYE).mT.contiguous(), eye, eye)


def system(matrix=J, rhs=RHS, start=None, tol=1e-10, inverse=None):
    """An adjoint system, and the list of products made with it."""
    products = []

    def vjp(v):
        assert v.shape == rhs.shape and v.dtype == rhs.dtype
        products.append(v)
        if v.dim() == 1:
            return matrix.T @ v
        return times(matrix.mT, v)

    return AdjointSystem(vjp, rhs, inverse, rhs, start, tol), products


def residuals(q):
    return (times(J.mT, q) - RHS).norm(dim=1) / RHS.norm(dim=1)


# GMRES


@pytest.mark.parametrize("start", [None, normal(3, 4, D)], ids=["0", "some"])
@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-11])
def test_gmres_solves_to_its_tolerance(start, tol):
    problem, products = system(start=start, tol=tol)
    q = Gmres()(problem)
    assert (residuals(q) <= 1.01 * tol).all()
    # not a product more than the worst sample needs
    n = len(products) - (start is not None)
    assert 0 < n <= D
    assert residuals(Gmres(n - 1)(problem)).max() > tol
    assert torch.equal(Gmres(tol=tol)(replace(problem, tol=0.5)), q)


@pytest.mark.parametrize("start", [None, normal(3, 4, D)], ids=["0", "some"])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_gmres_minimises_the_residual_over_the_krylov_space(start, k):
    problem, products = system(start=start, tol=0.0)
    q = Gmres(k)(problem)
    assert len(products) == k + (start is not None)
    first = torch.zeros_like(RHS) if start is None else start
    r = RHS - times(J.mT, first)
    for i in range(4):
        K = [r[i]]
        for _ in range(k - 1):
            K.append(J[i].T @ K[-1])
        K = torch.stack(K, dim=1)
        y = torch.linalg.lstsq(J[i].T @ K, r[i][:, None]).solution[:, 0]
        assert relative(q[i:i + 1], (first[i] + K @ y)[None]) < 1e-6


def test_gmres_leaves_a_sample_that_is_solved_alone():
    problem, products = system(tol=1e-4)
    q = Gmres()(problem)
    for i in range(4):
        one, own = system(J[i:i + 1], RHS[i:i + 1], tol=1e-4)
        assert relative(Gmres()(one), q[i:i + 1]) < 1e-12
        given = [v for v in products if v[i].any()]
        assert len(given) == len(own)


def test_gmres_ends_where_the_space_does():
    problem, products = system(EYE.expand(4, D, D), tol=0.0)
    torch.testing.assert_close(Gmres()(problem), RHS)
    assert len(products) == 1
    problem, products = system(tol=0.0)
    assert relative(Gmres()(problem), EXACT) < 1e-10
    assert len(products) == D


def test_gmres_without_a_batch():
    problem, _ = system(J[1], RHS[1])
    q = Gmres()(problem)
    assert q.shape == (D,)
    assert relative(q[None], EXACT[1:2]) < 1e-8


def test_gmres_leaves_a_good_start_alone():
    problem, products = system(start=EXACT)
    assert torch.equal(Gmres()(problem), EXACT)
    assert len(products) == 1
    start = normal(3, 4, D)
    problem, products = system(start=start)
    assert torch.equal(Gmres(0)(problem), start)


# Broyden on the transposed system


@pytest.mark.parametrize("finder", [
    Broyden(60, 60), Broyden(8, 90), Anderson(10, 90),
], ids=["broyden", "little memory", "anderson"])
@pytest.mark.parametrize("start", [None, normal(3, 4, D)], ids=["0", "some"])
def test_broyden_adjoint_solves_to_its_tolerance(finder, start):
    problem, products = system(start=start, tol=1e-6)
    q = QuasiNewtonSolve(finder)(problem)
    assert (residuals(q) <= 1e-6).all()
    fewer = len(products) - (start is not None) - 1
    short = QuasiNewtonSolve(replace(finder, max_iter=fewer))(problem)
    assert residuals(short).max() > 1e-6


@pytest.mark.parametrize("k", [1, 4])
def test_limited_backward_makes_k_products(k):
    problem, products = system()
    QuasiNewtonSolve(Broyden(k, k), tol=0.0)(problem)
    assert len(products) == k
    assert torch.equal(products[0] * scale_of(RHS), RHS)
    problem, products = system(start=EXACT + 1)
    QuasiNewtonSolve(Broyden(k, k), tol=0.0)(problem)
    assert len(products) == k + 1


NEAR = torch.linalg.inv(J) + 0.02 * normal(5, 4, D, D)


def test_a_perfect_estimate_needs_no_step():
    inverse = operator(torch.linalg.inv(J))
    problem, products = system(inverse=inverse, tol=1e-8)
    solve = QuasiNewtonSolve(Broyden(5, 5), transposed)
    assert relative(Refine(Shine(), solve)(problem), EXACT) < 1e-10
    assert len(products) == 1
    # from zero it is the first step
    assert relative(solve(problem), EXACT) < 1e-10
    assert len(products) == 2


@pytest.mark.parametrize("k", [1, 2, 4])
def test_refine_wants_the_estimate_transposed(k):
    problem, _ = system(inverse=operator(NEAR), tol=0.0)
    right, without, published = (
        residuals(Refine(
            Shine(), QuasiNewtonSolve(Broyden(k, k), estimate)
        )(problem)) for estimate in (transposed, cold, untransposed)
    )
    shine = residuals(Shine()(problem))
    assert (right < shine).all()
    hard = [1, 3]
    assert (right[hard] < without[hard]).all()
    assert (right[hard] < published[hard]).all()
    # never worse than where it started
    assert (without <= shine).all() and (published <= shine).all()


def test_transposed_refine_is_broyden_from_that_matrix():
    problem, products = system(
        J[1:2], RHS[1:2], inverse=operator(NEAR[1:2]), tol=0.0
    )
    solve = QuasiNewtonSolve(Broyden(9, 3), transposed)
    Refine(Shine(), solve)(problem)
    B, q = NEAR[1].T, NEAR[1].T @ RHS[1]
    g = J[1].T @ q - RHS[1]
    for product in products[1:]:
        s = -B @ g
        q, before = q + s, g
        torch.testing.assert_close(product[0], q)
        g = J[1].T @ q - RHS[1]
        y = g - before
        B = B + torch.outer(s - B @ y, s @ B) / (s @ B @ y)


# series


@pytest.mark.parametrize("k, tau", [(1, 1.0), (1, 0.5), (4, 1.0), (5, 0.3)])
def test_phantom_is_its_series(k, tau):
    problem, products = system()
    q, power = torch.zeros_like(RHS), EYE.expand(4, D, D)
    for _ in range(k):
        q = q + tau * times(power, RHS)
        power = power @ (EYE - tau * J.mT)
    torch.testing.assert_close(Phantom(k, tau)(problem), q)
    assert len(products) == k - 1


@pytest.mark.parametrize("k", [0, 1, 6])
def test_neumann_in_a_batch(k):
    problem, products = system()
    assert torch.equal(Neumann(k, 0)(problem), Phantom(k + 1)(problem))
    assert len(products) == 2 * k
    contraction = [0, 1, 2]
    long = Neumann(400, 0)(problem)
    assert relative(long[contraction], EXACT[contraction]) < 1e-6


# fallback


def test_norm_rule_is_per_sample():
    lengths = torch.tensor([[0.5], [1.29], [1.31], [9.0]]).double()
    base = lengths * RHS.flip(1)
    problem, products = system()
    q = Fallback(lambda system: base, NormRule())(problem)
    assert torch.equal(q[:2], base[:2]) and torch.equal(q[2:], RHS[2:])
    q = Fallback(lambda system: base, NormRule(1.8))(problem)
    assert torch.equal(q[:3], base[:3]) and torch.equal(q[3:], RHS[3:])
    assert not products


def test_residual_rule_keeps_the_better_one_of_each_sample():
    base = EXACT.clone()
    base[0] = 9 * RHS[0]
    base[2] = -EXACT[2]
    problem, products = system()
    q = Fallback(lambda system: base, ResidualRule())(problem)
    assert torch.equal(q[[1, 3]], EXACT[[1, 3]])
    assert torch.equal(q[[0, 2]], RHS[[0, 2]])
    assert len(products) == 2


@pytest.mark.parametrize("rule", [NormRule(), ResidualRule()], ids=str)
def test_nan_falls_back(rule):
    base = EXACT.clone()
    base[1, 3] = torch.nan
    base[3] = torch.inf
    q = Fallback(lambda system: base, rule)(system()[0])
    assert torch.equal(q[[1, 3]], RHS[[1, 3]])


@pytest.mark.parametrize("make, message", [
    (lambda: Phantom(0), "k"),
    (lambda: Phantom(3, 1.5), "tau"),
    (lambda: Gmres(2.5), "max_iter"),
    (lambda: NormRule(0.0), "ratio"),
])
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# the hypergradient of a small equilibrium network


class Network:
    """z = tanh(W z + U x + c), one hidden state per sample."""

    def __init__(self, batch=3, d=6, inputs=4):
        W = matrices(3, [0.6], d)[0]
        U, c = normal(4, d, inputs), 0.1 * normal(5, d)
        self.theta = tuple(t.requires_grad_() for t in (W, U, c))
        self.x, self.v = normal(6, batch, inputs), normal(7, batch, d)

    def f(self, z, theta):
        W, U, c = theta
        return torch.tanh(z @ W.T + self.x @ U.T + c)

    def loss(self, z):
        return (self.v * z).sum() + (z ** 2).sum().exp() / 50

    def equation(self, theta=None):
        theta = self.theta if theta is None else theta
        return Equation(
            lambda z: z - self.f(z, theta), self.loss,
            torch.zeros_like(self.v),
        )

    def unrolled(self, theta, steps=200):
        z = torch.zeros_like(self.v)
        for _ in range(steps):
            z = self.f(z, theta)
        return self.loss(z)


FINDERS = [
    Broyden(40, 60), Broyden(3, 80), AdjointBroyden(60, 60),
    AdjointBroyden(60, 60, Opa(lambda k: 2)),
    AdjointBroyden(60, 60, Opa(lambda k: 2), untransposed),
    Anderson(5, 80), FixedPoint(200), FixedPoint(300, 0.6),
]


all_finders = pytest.mark.parametrize(
    "finder", FINDERS, ids=lambda finder: str(finder)[:40]
)


def flat(tensors):
    return torch.cat([t.reshape(1, -1) for t in tensors], dim=1)


@all_finders
@pytest.mark.parametrize("solve", [
    Gmres(tol=1e-12), QuasiNewtonSolve(Broyden(60, 60), tol=1e-12),
    Neumann(120, 0),
], ids=["gmres", "broyden", "neumann"])
def test_exact_hypergradient(finder, solve):
    network = Network()
    equation = network.equation()
    root = finder(equation, atol=1e-12)
    assert root.converged
    h = hypergradient(equation, network.theta, root, solve)
    value = network.unrolled(network.theta)
    assert h.value == pytest.approx(float(value.detach()), rel=1e-10)
    through = torch.autograd.grad(value, network.theta)
    assert relative(flat(h.grads), flat(through)) < 1e-6
    # against central differences along a few directions
    for seed in range(3):
        way = [normal(20 + seed + i, *t.shape)
               for i, t in enumerate(network.theta)]
        ends = []
        for eps in (1e-5, -1e-5):
            theta = [(t + eps * w).detach()
                     for t, w in zip(network.theta, way)]
            z = finder(network.equation(theta), atol=1e-12).z
            ends.append(float(network.loss(z)))
        slope = float((flat(h.grads) * flat(way)).sum())
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


def test_shine_of_a_tight_opa_root_is_the_hypergradient():
    network = Network()
    equation = network.equation()
    finder = AdjointBroyden(200, 100, Opa(lambda k: 1))
    exact = flat(torch.autograd.grad(
        network.unrolled(network.theta), network.theta
    ))
    errors = []
    for tol in (1e-1, 1e-12):
        root = finder(equation, atol=tol)
        h = hypergradient(equation, network.theta, root, Shine())
        assert h.n_vjp == 0 and h.n_g == 1
        errors.append(relative(flat(h.grads), exact))
    assert errors[1] <= errors[0] / 100


@all_finders
def test_counts_are_the_true_ones(finder):
    network = Network()
    calls, products = [], []
    equation = network.equation()

    def g(z):
        calls.append(z)
        out = equation.g(z)
        if out.requires_grad and z.requires_grad:
            out.register_hook(products.append)
        return out

    root = finder(replace(equation, g=g), atol=1e-8)
    assert root.n_g == len(calls)
    assert root.n_vjp == len(products)
    for solve in (Shine(), Gmres(4), Neumann(3, 0), Fallback(
        Shine(), ResidualRule()
    )):
        del calls[:], products[:]
        h = hypergradient(
            replace(equation, g=g), network.theta, root, solve
        )
        assert h.n_g == len(calls)
        assert h.n_vjp == len(products)
