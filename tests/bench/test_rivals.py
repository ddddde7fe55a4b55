"""Every other way to get a bi-level hypergradient, against what is true."""
import itertools
import math
import re
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchopt.benchmark import Benchmark
from sklearn.linear_model import LogisticRegressionCV
from sklearn.linear_model._linear_loss import LinearModelLoss
from test_sweep import TEXT, sweep

from benchmark_shine.adjoint import (
    ConjugateGradient, GradientDescent, Neumann, Nystrom, NystromPCG,
    Recycled, Shine, columns, gaussian, spectral_norm, stop_by_hypergradient,
)
from benchmark_shine.adjoint.secant_steps import SecantSteps
from benchmark_shine.adjoint.sketch import NystromInverse, draw, sketched
from benchmark_shine.adjoint.subspace import Lanczos, TwoDirections
from benchmark_shine.engine import Loop, Method, RootAndAdjoint
from benchmark_shine.evaluate.reference import measure
from benchmark_shine.evaluate.tight import TightSolver
from benchmark_shine.implicit import hypergradient
from benchmark_shine.loops import soba as single_loop
from benchmark_shine.loops import unrolled
from benchmark_shine.loops.bome import Bome
from benchmark_shine.loops.maid import Maid
from benchmark_shine.loops.newton import NewtonStep
from benchmark_shine.loops.penalty import F2sa
from benchmark_shine.loops.soba import Soba
from benchmark_shine.loops.unrolled import Truncated
from benchmark_shine.operators import Dense, transposed
from benchmark_shine.outer import Hoag, Search, Secant
from benchmark_shine.rivals.jaxopt import Jaxopt
from benchmark_shine.rivals.optimistix import Optimistix
from benchmark_shine.rivals.optuna import Tpe
from benchmark_shine.rivals.sklearn import ScikitLearn
from benchmark_shine.root import LBFGS, Opa, Polished, loss_gradient
from benchmark_shine.loops.gradient_steps import (
    GradientSteps, QuasiNewtonSteps,
)
from benchmark_shine.root.lbfgs_inverse import LBFGSInverse
from benchmark_shine.root.updates import Sr1Updates

from helpers.problems import (
    MODELS, cleaning, counted, jacobian_at, model, network, normal, quadratic,
    relative, ridge_solution, spd, system, theta_of, tight_root,
)

D = 9
J = spd(np.geomspace(0.1, 10, D))
RHS = normal(3, D)
EXACT = torch.linalg.solve(J, RHS)
KINDS = ["ridge", "logistic", "nls", "multinomial"]
CONVEX = ["ridge", "logistic", "multinomial"]
PCG = ConjugateGradient(estimate=transposed)
FIRST_SOLVE = partial(LBFGS(), rtol=1e-3)

needs_jaxopt = pytest.mark.skipif(
    find_spec("jaxopt") is None, reason="pip install jaxopt"
)
needs_optimistix = pytest.mark.skipif(
    find_spec("optimistix") is None, reason="pip install optimistix"
)
ON_JAX = [
    pytest.param(Jaxopt, marks=needs_jaxopt, id="jaxopt"),
    pytest.param(Optimistix, marks=needs_optimistix, id="optimistix"),
]
needs_optuna = pytest.mark.skipif(
    find_spec("optuna") is None, reason="pip install optuna"
)


@pytest.fixture(scope="module")
def solvers(root_dir):
    return {cls.name: cls for cls in Benchmark(root_dir).get_solvers()}


def method_of(outer_step, outer=Hoag(), n_outer=3):
    return Method(outer_step, outer, n_outer)


def steps_of(problem, outer_step, outer=Hoag(), n_outer=3):
    method = method_of(outer_step, outer, n_outer)
    return [point.step for point in method.run(problem)]


def at_root_of(kind, value=-1.0, groups=None, **settings):
    """A model, theta, and the root and the equation there, to rounding."""
    problem = model(kind, groups, **settings)
    (first,), _ = problem.start()
    theta = theta_of(problem, value + 0.1 * torch.arange(len(first)))
    return problem, theta, *tight_root(problem, theta)


def dense_gradient(equation, theta, z):
    """dF/dtheta with a dense J."""
    def adjoint(system):
        return torch.linalg.solve(jacobian_at(equation, z), system.rhs)

    root = SimpleNamespace(z=z, inverse=None)
    return hypergradient(equation, theta, root, adjoint).grads[0]


def finite_difference(problem, theta, step=1e-4):
    """dF/dtheta from solves to rounding on both sides, entry by entry."""
    def value(theta):
        equation, root = tight_root(problem, (theta,))
        return float(equation.loss(root.z))

    theta = theta.detach()
    return torch.tensor([
        (value(theta + step * e) - value(theta - step * e)) / (2 * step)
        for e in torch.eye(len(theta), dtype=theta.dtype)
    ], dtype=theta.dtype)


# ----------------------------------------- all exact families, all problems


def by_adjoint(adjoint, tol=1e-12):
    def grads(problem, equation, theta, root):
        return hypergradient(
            equation, theta, root, adjoint, tol=tol
        ).grads[0]

    return grads


def by_unrolling(problem, equation, theta, root):
    truncated = Truncated(lambda *_: root, n_steps=400, n_power=100)
    return truncated(equation, theta, hoag_state(), None).grads[0]


def by_library(library):
    def grads(problem, equation, theta, root):
        step = library(problem)(equation, theta, hoag_state(), None)
        assert relative(step.z, root.z) < 1e-7
        rhs = loss_gradient(equation, root.z)
        exact = torch.linalg.solve(jacobian_at(equation, root.z), rhs)
        assert relative(step.q, exact) < 1e-6
        return step.grads[0]

    return grads


def hoag_state(atol=1e-6, eps=1e-12):
    return SimpleNamespace(atol=atol, rtol=0.0, eps=eps)


EXACT_FAMILIES = {
    "pcg": by_adjoint(PCG),
    "amigo": by_adjoint(GradientDescent(400, 100)),
    "nystrom": by_adjoint(Nystrom(100)),
    "gaussian": by_adjoint(Nystrom(100, sketch=gaussian)),
    "nystrom-pcg": by_adjoint(NystromPCG(3)),
    "qnbo": by_adjoint(SecantSteps(100)),
    "qnbo, sr1": by_adjoint(SecantSteps(30, Sr1Updates)),
    "lancbio": by_adjoint(Lanczos(60)),
    "subbio": by_adjoint(TwoDirections(400, 100)),
    "unrolled": by_unrolling,
    "jaxopt": by_library(Jaxopt),
    "optimistix": by_library(Optimistix),
}
NEEDS = {"jaxopt": needs_jaxopt, "optimistix": needs_optimistix}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=NEEDS.get(name, ())) for name in EXACT_FAMILIES
])
def test_exact_families_are_exact(name, kind):
    problem, theta, equation, root = at_root_of(kind, 0.5, 3)
    exact = finite_difference(problem, theta[0])
    found = EXACT_FAMILIES[name](problem, equation, theta, root)
    assert relative(found, exact) < 1e-6


def test_soba_comes_to_rest_at_the_optimum():
    # there z is the root, q the adjoint, and dF/dtheta zero
    problem = model("ridge", 4, p=8, n=10)
    *_, step = Soba(FIRST_SOLVE, 1, n_iter=1500, ratio=0.3)(problem)
    theta = step.theta[0].detach()
    solution = ridge_solution(problem, theta)
    assert relative(step.z, solution.z) < 1e-6
    assert relative(step.q, solution.q) < 1e-6
    assert solution.grad.norm() < 1e-6 * solution.value
    first = ridge_solution(problem, problem.start()[0][0])
    assert first.grad.norm() > 1e-2 * first.value


# -------------------------------------- preconditioned conjugate gradients


def left_by_lbfgs(memory=30, d=40):
    """A quadratic, L-BFGS's inverse of it, and a right-hand side."""
    found = quadratic(np.geomspace(0.05, 50, d))
    root = LBFGS(memory)(found.equation, rtol=1e-8)
    return found.A, root.inverse, normal(7, d)


@pytest.mark.parametrize("start", [None, normal(8, 40)])
@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-10])
def test_pcg_solves_to_its_tolerance(tol, start):
    A, inverse, rhs = left_by_lbfgs()
    problem, products = system(A, rhs, start, tol, inverse)
    q = PCG(problem)
    assert (A @ q - rhs).norm() <= 1.01 * tol * rhs.norm()
    n_iter = len(products) - (start is not None)
    before = replace(PCG, max_iter=n_iter - 1)(problem)
    assert (A @ before - rhs).norm() > tol * rhs.norm()


@pytest.mark.parametrize("k", [1, 3, 6])
def test_pcg_is_cg_in_other_coordinates(k):
    A, inverse, rhs = left_by_lbfgs()
    L = torch.linalg.cholesky(inverse.dense(rhs))
    problem, _ = system(A, rhs, None, 1e-12, inverse)
    other, _ = system(L.T @ A @ L, L.T @ rhs, None, 1e-12)
    torch.testing.assert_close(
        ConjugateGradient(k, estimate=transposed)(problem),
        L @ ConjugateGradient(k)(other), rtol=1e-7, atol=1e-9,
    )


def test_the_exact_inverse_leaves_one_product():
    inverse = Dense(torch.linalg.inv(J))
    problem, products = system(J, RHS, None, 1e-10, inverse)
    assert relative(PCG(problem), EXACT) < 1e-9
    assert len(products) == 1


def test_the_inverse_of_the_forward_pass_saves_products():
    A, inverse, rhs = left_by_lbfgs()
    counts = []
    for adjoint in ConjugateGradient(), PCG:
        problem, products = system(A, rhs, None, 1e-6, inverse)
        adjoint(problem)
        counts.append(len(products))
    assert counts[1] <= 0.75 * counts[0]


@pytest.mark.parametrize("memory, share", [(60, 0.25), (40, 0.4), (12, 0.93)])
def test_recycled_pairs_save_products(memory, share):
    A = spd(np.geomspace(0.01, 50, 40))
    adjoint, q, counts = Recycled(memory), None, []
    for k in range(6):
        diagonal = torch.tensor(0.5 * 0.9 ** k, dtype=torch.float64)
        J, rhs = A + diagonal * torch.eye(40), normal(7, 40) + 0.1 * normal(
            100 + k, 40
        )
        inverse = SimpleNamespace(fixed_scale=1.0)
        problem, products = system(J, rhs, q, 1e-8, inverse)
        plain, plain_products = system(J, rhs, q, 1e-8)
        q = adjoint(replace(problem, diagonal=diagonal))
        assert (J @ q - rhs).norm() <= 1.01e-8 * rhs.norm()
        ConjugateGradient()(plain)
        counts.append((len(products), len(plain_products)))
    # the first has nothing to begin with
    assert counts[0][0] == counts[0][1]
    # in all, for rounding moves the number of one system by a few
    ours, theirs = np.sum(counts[1:], axis=0)
    assert ours <= share * theirs


def test_a_new_run_recycles_nothing():
    adjoint, counts = Recycled(9), []
    for _ in range(2):
        problem, products = system(
            J, RHS, None, 1e-8, SimpleNamespace(fixed_scale=None)
        )
        adjoint(problem)
        counts.append(len(products))
    assert counts[0] == counts[1]


# ---------------------------------------------------- AmIGO, Neumann, Nyström


@pytest.mark.parametrize("k", [1, 20])
def test_gradient_descent_contracts_as_the_theory_says(k):
    start = normal(8, D)
    problem, products = system(J, RHS, start)
    q = GradientDescent(k, 300)(problem)
    assert len(products) == 300 + k
    contraction = torch.eye(D) - J / 10
    error = torch.linalg.matrix_power(contraction, k) @ (start - EXACT)
    torch.testing.assert_close(q - EXACT, error, rtol=1e-6, atol=1e-8)
    bound = (1 - 0.1 / 10) ** k * (start - EXACT).norm()
    assert (q - EXACT).norm() <= 1.001 * bound


@pytest.mark.parametrize("k", [1, 5])
def test_from_zero_it_is_the_neumann_series(k):
    series, _ = system(J, RHS)
    steps, products = system(J, RHS)
    torch.testing.assert_close(
        GradientDescent(k, 5)(steps), Neumann(k - 1, 5)(series)
    )
    assert len(products) == 5 + k - 1


def test_warm_starts_amortise_the_solve():
    # k steps on each of m equal systems are k m steps on one
    q = None
    for _ in range(6):
        problem, _ = system(J, RHS, q)
        q = GradientDescent(4, 300)(problem)
    whole, _ = system(J, RHS)
    torch.testing.assert_close(q, GradientDescent(24, 300)(whole))


def test_nothing_to_solve_is_zero():
    zero = torch.zeros(D, dtype=torch.float64)
    problem, products = system(J, zero, normal(8, D))
    assert not GradientDescent()(problem).any()
    assert not products


def test_power_iterations_bound_the_norm_from_below():
    norms = [spectral_norm(lambda v: J @ v, RHS, n) for n in (1, 5, 30, 300)]
    assert norms == sorted(norms)
    assert norms[0] < 9 < norms[-1] <= 10 + 1e-9
    assert spectral_norm(None, RHS, 0) == 1


def penalised(scale, seed=5):
    """H with a fast spectrum, a diagonal, and the system of their sum."""
    H = spd(np.geomspace(1e-3, 10, D), seed)
    diagonal = scale * (1 + torch.arange(D, dtype=torch.float64))
    problem, products = system(H + torch.diag(diagonal), RHS)
    return H, diagonal, replace(problem, diagonal=diagonal), products


@pytest.mark.parametrize("sketch", [columns, gaussian])
@pytest.mark.parametrize("rank", [1, 3, 6, 9])
def test_nystrom_is_its_dense_formula(rank, sketch):
    H, diagonal, problem, products = penalised(0.1)
    q = Nystrom(rank, sketch=sketch, seed=4)(problem)
    generator = torch.Generator().manual_seed(4)
    omega = sketch(D, rank, generator, torch.float64)
    C = H @ omega.T
    low_rank = C @ torch.linalg.pinv(omega @ C) @ C.T
    exact = torch.linalg.solve(low_rank + torch.diag(diagonal), RHS)
    torch.testing.assert_close(q, exact, rtol=1e-6, atol=1e-7)
    assert len(products) == rank


@pytest.mark.parametrize("rank", [2, 4, 7, 9])
@pytest.mark.parametrize("rho", [0.01, 1.0])
def test_nystrom_is_within_its_bound(rho, rank):
    # (J_k + rho)⁻¹ - (J + rho)⁻¹ is at most e / (rho (e + rho)) in norm, with
    # e = ‖J - J_k‖ (Frangella, Tropp and Udell 2023, proposition 3.1)
    problem, _ = system(J, RHS)
    q = Nystrom(rank, rho)(problem)
    generator = torch.Generator().manual_seed(0)
    omega = columns(D, rank, generator, torch.float64)
    C = J @ omega.T
    e = float(torch.linalg.matrix_norm(
        J - C @ torch.linalg.pinv(omega @ C) @ C.T, 2
    ))
    damped = torch.linalg.solve(J + rho * torch.eye(D), RHS)
    bound = e / (rho * (e + rho)) * float(RHS.norm())
    assert (q - damped).norm() <= bound + 1e-6
    # and rho alone moves the solution by at most rho / (mu (mu + rho))
    bias = rho / (0.1 * (0.1 + rho)) * float(RHS.norm())
    assert (q - EXACT).norm() <= bound + bias + 1e-6
    assert (rank < D) == ((q - damped).norm() > 1e-6)


def test_nystrom_with_columns_that_are_zero():
    # words of the vocabulary that no training document has
    H = spd(np.geomspace(0.1, 10, D - 3))
    H = torch.block_diag(H, torch.zeros(3, 3))
    problem, _ = system(H + torch.eye(D), RHS)
    q = Nystrom(D)(replace(problem, diagonal=torch.ones(())))
    exact = torch.linalg.solve(H + torch.eye(D), RHS)
    torch.testing.assert_close(q, exact, rtol=1e-6, atol=1e-7)


def test_nystrom_says_what_it_needs():
    problem, _ = system(J, RHS)
    with pytest.raises(ValueError, match="rho: .*give a number"):
        Nystrom()(problem)
    for name, wrong in ("rank", 0), ("rho", 0.0), ("seed", 1.5):
        with pytest.raises(ValueError, match=f"{name}: "):
            Nystrom(**{name: wrong})


@pytest.mark.parametrize("sketch", [columns, gaussian])
@pytest.mark.parametrize("rank", [1, 4, 9])
def test_nystrom_preconditioner_is_its_dense_formula(rank, sketch):
    H, diagonal, problem, _ = penalised(0.1)
    omega = draw(sketch, D, rank, 4, RHS)
    inverse = NystromInverse(*sketched(problem, omega, diagonal), diagonal)
    C = H @ omega.T
    low_rank = C @ torch.linalg.pinv(omega @ C) @ C.T
    exact = torch.linalg.inv(low_rank + torch.diag(diagonal))
    torch.testing.assert_close(inverse.dense(RHS), exact)


def test_nystrom_preconditioner_is_positive_though_rounded():
    H, diagonal, _, _ = penalised(0.1)
    diagonal = torch.logspace(-14, 5, D, dtype=torch.float64)
    problem, _ = system(1e3 * H + torch.diag(diagonal), RHS)
    omega = draw(gaussian, D, D, 0, RHS) / diagonal.sqrt()
    inverse = NystromInverse(*sketched(problem, omega, diagonal), diagonal)
    for v in normal(7, 20, D) * diagonal.sqrt():
        assert v @ (inverse @ v) > 0


def test_nystrom_pcg_keeps_its_sketch_as_long_as_told():
    H, diagonal, problem, products = penalised(0.1)

    def costs(refresh):
        adjoint = NystromPCG(D, refresh)
        for k in range(5):
            products.clear()
            # the last q of a first step is unknown; theta moves D
            moved, q0 = (1 + k) * diagonal, 0 * RHS if k else None
            J, _ = system(H + torch.diag(moved), RHS)
            q = adjoint(replace(
                problem, q0=q0, diagonal=moved,
                vjp=lambda v: products.append(v) or J.vjp(v),
            ))
            torch.testing.assert_close(q, torch.linalg.solve(
                H + torch.diag(moved), RHS))
            yield len(products)

    # at full rank an iteration or two are enough, also with a D that moved
    for refresh, fresh in (1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (0, [0]):
        for k, cost in enumerate(costs(refresh)):
            assert 1 <= cost - D * (k in fresh) <= 3


def test_nystrom_pcg_says_what_it_needs():
    with pytest.raises(ValueError, match="preconditioner: nystrom needs"):
        NystromPCG()(system(J, RHS)[0])
    for name, wrong in ("rank", None), ("refresh", -1), ("seed", 1.5):
        with pytest.raises(ValueError, match=f"^{name}: "):
            NystromPCG(**{name: wrong})


# -------------------------------------------------------------------- unrolled


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
@pytest.mark.parametrize("n_steps", [1, 3, 8])
def test_unrolled_is_the_derivative_of_its_loss(n_steps, kind):
    problem = model(kind, 3)
    theta = theta_of(problem, [-1.0, 0.5])
    equation = problem.draw(theta, problem.start()[1], 1)
    root = LBFGS(max_iter=4)(equation)
    truncated = Truncated(lambda *_: root, n_steps, n_power=0)
    step = truncated(equation, theta, hoag_state(), None)

    def value(theta):
        z = root.z
        for _ in range(n_steps):
            z = z - problem.draw((theta,), z, 1).g(z)
        return z, float(problem.loss(z))

    z, there = value(theta[0].detach())
    assert step.value == pytest.approx(there, rel=1e-14)
    for found in step.z, step.root.z:
        torch.testing.assert_close(found, z)
    for i, e in enumerate(1e-6 * torch.eye(2, dtype=torch.float64)):
        (_, above), (_, below) = (
            value(theta[0].detach() + move) for move in (e, -e)
        )
        assert float(step.grads[0][i]) == pytest.approx(
            (above - below) / 2e-6, rel=1e-5
        )


@pytest.mark.parametrize("n_steps", [1, 5, 30])
def test_unrolled_from_the_root_is_the_neumann_series(n_steps):
    problem, theta, equation, root = at_root_of("logistic", 0.0, 3)
    step = Truncated(lambda *_: root, n_steps)(
        equation, theta, hoag_state(), None
    )
    series = by_adjoint(Neumann(n_steps - 1, 5))
    torch.testing.assert_close(
        step.grads[0], series(problem, equation, theta, root),
        rtol=1e-8, atol=1e-10,
    )
    assert relative(step.z, root.z) < 1e-9
    assert step.root.residual == pytest.approx(0, abs=1e-9)


# -------------------------------------------------------------------- SOBA


def test_soba_moves_all_three_at_once():
    problem = model("ridge", 3)
    loop = Soba(FIRST_SOLVE, 3, n_iter=1, ratio=4.0, n_power=50)
    steps = list(loop(problem))
    equation = problem.draw(steps[0].theta, steps[0].z, 1)
    z = LBFGS()(equation, rtol=1e-3).z
    q, theta = torch.zeros_like(z), problem.start()[0][0]
    for step in steps[1:]:
        leaf = theta.clone().requires_grad_()
        equation = problem.draw((leaf,), z, 1)
        H = jacobian_at(equation, z)
        rhs = torch.autograd.functional.jacobian(problem.loss, z)
        norm = float(torch.linalg.matrix_norm(H, 2))
        weights = (theta.exp()[problem.groups] * z * q).view(2, 3)
        g = equation.g(z).detach()
        z, q, theta = (
            z - g / norm, q - (H @ q - rhs) / norm,
            theta + weights.sum(dim=1) / (4 * norm),
        )
        weights = theta.exp()[problem.groups] * z * q
        for found, expected in (
            (step.z, z), (step.q, q), (step.theta[0].detach(), theta),
            (step.grads[0], -weights.view(2, 3).sum(dim=1)),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
        assert step.value == pytest.approx(float(problem.loss(z)), rel=1e-8)


def test_soba_stays_in_its_box():
    *_, step = Soba(FIRST_SOLVE, 1, n_iter=20, ratio=1e-4)(model("logistic"))
    assert abs(float(step.theta[0].detach())) == 12


@pytest.mark.parametrize("steps", [
    lambda problem: Soba(FIRST_SOLVE, 2, n_iter=2)(problem),
    lambda problem: steps_of(problem, Truncated(LBFGS()), n_outer=2),
], ids=["soba", "unrolled"])
def test_a_loss_without_a_slope_moves_nothing(steps):
    problem = model("ridge")
    draw = problem.draw
    problem.draw = lambda *args: replace(
        draw(*args), loss=lambda z: 0 * z.sum()
    )
    *_, step = steps(problem)
    assert step.n_outer == 2 and not step.diverged
    assert torch.equal(step.theta[0].detach(), problem.start()[0][0])


def test_soba_ends_at_a_nan():
    problem = model("logistic")
    draw = problem.draw

    def spoilt(theta, z, k):
        equation = draw(theta, z, k)
        factor = 1 if k < 2 else math.nan
        return replace(equation, g=lambda z: equation.g(z) * factor)

    problem.draw = spoilt
    loop = Loop(Soba(FIRST_SOLVE, 5, n_iter=3), 5)
    steps = [step for step, *_ in loop.run(problem)]
    assert [step.n_outer for step in steps] == [0, 1, 2]
    assert [step.diverged for step in steps] == [False, False, True]


# ------------------------------------------------- pairs that follow theta


def stored(root):
    return zip(*root.inverse.pairs())


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("memory", [4, 30])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_corrected_pairs_are_those_of_the_new_theta(groups, memory, scale):
    problem = model("ridge", groups)
    root, violations = None, {}
    for keep_pairs in True, "corrected":
        finder = LBFGS(memory, scale=scale, keep_pairs=keep_pairs)
        for value in 2.0, -1.0, 0.5:
            theta = theta_of(problem, value)
            equation = problem.draw(theta, problem.start()[1], 1)
            previous = root
            root = finder(equation, rtol=1e-2, warm_start=previous)
        # no step at all: the pairs that are left are those of before
        theta = theta_of(problem, -2.0)
        equation = problem.draw(theta, root.z, 1)
        n_before = len(root.inverse)
        root = finder(equation, rtol=1.0, warm_start=root)
        assert len(root.inverse) == n_before <= memory
        H = jacobian_at(equation, root.z)
        violations[keep_pairs] = max(
            relative(y, H @ s) for s, y in stored(root)
        )
        if keep_pairs == "corrected":
            s, y = list(stored(root))[-1]
            c = float(s @ y / (y @ y)) if scale is None else scale
            assert root.inverse.scale == pytest.approx(c)
        root = None
    assert violations["corrected"] < 1e-7
    assert violations[True] > 1e-2


def test_corrected_pairs_need_a_diagonal():
    found = quadratic([1.0, 2.0])
    with pytest.raises(ValueError, match="keep_pairs: .*diagonal"):
        LBFGS(keep_pairs="corrected")(found.equation, rtol=1e-3)


def test_a_full_memory_of_corrected_pairs_is_the_inverse():
    # as many pairs of one quadratic as it has dimensions: B y = s for the
    # newest, and with conjugate steps for all
    problem = model("ridge")
    theta = theta_of(problem, 1.0)
    root = LBFGS(scale=1.0)(
        problem.draw(theta, problem.start()[1], 1), rtol=1e-9
    )
    theta = theta_of(problem, -3.0)
    equation = problem.draw(theta, root.z, 1)
    errors = []
    for keep_pairs in True, "corrected":
        finder = LBFGS(scale=1.0, keep_pairs=keep_pairs)
        copy = LBFGSInverse(30, root.z, 1.0)
        for s, y in stored(root):
            copy.push(s, y)
        last = finder(
            equation, rtol=1.0, warm_start=replace(root, inverse=copy)
        )
        h = hypergradient(equation, theta, last, Shine())
        exact = dense_gradient(equation, theta, last.z)
        errors.append(relative(h.grads[0], exact))
    assert errors[1] < 0.1 * errors[0]


# --------------------------------------------------- OPA pairs at the root


def test_a_pair_at_the_root_is_as_short_as_rounding_lets_it():
    problem = model("logistic", 3)
    equation = problem.draw(
        theta_of(problem, -1.0), problem.start()[1], 1
    )
    energy, places = counted(equation.energy)
    root = LBFGS(opa=Opa(None, root_pairs=2))(replace(equation, energy=energy))
    length = 2 ** -26 * (1 + float(root.z.norm()))
    for z, in places[-2:]:
        # z + e and back rounds
        assert float((z - root.z).norm()) == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_pairs_at_the_root_lead_to_q(kind):
    problem = model(kind, 3)
    theta = theta_of(problem, -1.0)
    equation = problem.draw(theta, problem.start()[1], 1)
    errors, calls = [], []
    for n in 0, 1, 3, 6, 12:
        root = LBFGS(opa=Opa(None, root_pairs=n))(equation, rtol=1e-6)
        q = hypergradient(equation, theta, root, Shine()).q
        rhs = loss_gradient(equation, root.z)
        exact = torch.linalg.solve(jacobian_at(equation, root.z), rhs)
        errors.append(relative(q, exact))
        calls.append(root.n_g)
    assert [c - calls[0] for c in calls] == [0, 1, 3, 6, 12]
    assert errors[0] > 1e-3
    assert errors[1] < errors[0]
    assert errors[-1] < 1e-5


def test_a_pair_at_the_root_is_a_quasi_newton_step():
    # B+ v = e + B+ (v - J e) with e = B v
    problem, theta, equation, _ = at_root_of("ridge")
    start = replace(equation, start=problem.start()[1])
    plain, taught = (
        LBFGS(opa=opa)(start, rtol=1e-2)
        for opa in (None, Opa(None, root_pairs=1))
    )
    v = loss_gradient(equation, plain.z)
    H = jacobian_at(equation, plain.z)
    e = plain.inverse @ v
    torch.testing.assert_close(
        taught.inverse @ v, e + taught.inverse @ (v - H @ e),
        rtol=1e-6, atol=1e-8,
    )
    assert torch.equal(plain.z, taught.z)
    assert len(taught.inverse) == len(plain.inverse) + 1
    assert taught.inverse.scale == plain.inverse.scale


def test_with_both_q_is_an_order_of_magnitude_nearer():
    problem = model("logistic", 3, p=12, n=60)
    errors = []
    for keep_pairs, n in (True, 0), (True, 3), ("corrected", 3):
        finder = LBFGS(
            scale=1.0, keep_pairs=keep_pairs, opa=Opa(None, root_pairs=n)
        )
        steps = steps_of(problem, RootAndAdjoint(finder, Shine()), n_outer=8)
        errors.append(np.median(
            [measure(step, TightSolver())["q_rel_error"]
             for step in steps[3:]]
        ))
    assert errors[1] < 0.1 * errors[0]
    assert errors[2] < 0.1 * errors[0]


# ------------------------------------------------------- other libraries


@pytest.fixture(scope="module", params=ON_JAX)
def on_jax(request):
    """A run of a library's, and the same by the suite's exact method."""
    problem = model("logistic", 3, sparse=True)
    ours = request.param(problem)
    exact = RootAndAdjoint(LBFGS(), ConjugateGradient())
    return ours, *(
        # optimistix compares energies, and gets no further than their digits
        steps_of(problem, outer_step, Hoag(tol=1e-7), 4)
        for outer_step in (ours, exact)
    )


def test_libraries_walk_with_the_exact_method(on_jax):
    _, ours, exact = on_jax
    assert len(ours) == len(exact) == 5
    for a, b in zip(ours, exact):
        assert a.n_outer == b.n_outer
        torch.testing.assert_close(a.theta[0], b.theta[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(a.z, b.z, rtol=0, atol=1e-5)
        assert a.z.dtype == a.theta[0].dtype == torch.float64
        assert a.value == pytest.approx(b.value, rel=1e-6)
    for step in ours[1:]:
        found = measure(step, TightSolver())
        assert found["hypergrad_rel_error"] < 1e-5
        assert found["q_rel_error"] < 1e-5
        assert step.root.converged
        residual = step.equation.energy(step.z)[1].norm()
        assert step.root.residual == pytest.approx(float(residual), rel=1e-6)


def test_costs_of_libraries_are_those_of_their_products(on_jax, monkeypatch):
    ours, (*_, step), _ = on_jax
    train = ours.problem.train
    X, calls = counted(train.X.__matmul__)
    monkeypatch.setattr(ours._compiled.products, "_X", type("X", (), {
        "shape": train.X.shape, "T": train.X.T,
        "__matmul__": lambda self, w: X(w),
    })())
    again = ours(step.equation, step.theta, hoag_state(1e-6, 1e-8), None)
    assert again.n_g + again.n_vjp == len(calls)
    # conjugate gradients on 6 unknowns
    assert 3 <= again.n_vjp <= 8


def test_what_libraries_keep_is_where_they_go_on(on_jax):
    ours, (*_, before, step), _ = on_jax
    state = hoag_state(1e-6, 1e-3)
    warm, cold = (
        ours(step.equation, step.theta, state, last)
        for last in (replace(before, q=step.q), None)
    )
    assert warm.n_g < cold.n_g
    # the residual of q, and one step that finds nothing to correct
    assert warm.n_vjp <= 3 < cold.n_vjp
    assert relative(warm.z, cold.z) < 1e-5
    assert relative(warm.q, cold.q) < 1e-2
    forgetful = replace(ours, keep=False)
    again = forgetful(step.equation, step.theta, state, before)
    assert (again.n_g, again.n_vjp) == (cold.n_g, cold.n_vjp)
    # warm or cold, one compilation serves all outer steps
    for function in ours._compiled.solve, ours._compiled.differentiate:
        assert function._cache_size() == 1


def test_libraries_stay_at_a_start_that_will_do(on_jax):
    ours, *_ = on_jax
    theta = theta_of(ours.problem, 0.5)
    equation, root = tight_root(ours.problem, theta)
    step = ours(
        replace(equation, start=root.z), theta, hoag_state(1e-3, 1e-8), None
    )
    assert step.root.n_iter == 0 and torch.equal(step.z, root.z)
    assert step.root.residual == step.root.first_residual < 1e-8


def test_libraries_leave_jax_as_it_was(on_jax):
    import jax

    assert not jax.config.jax_enable_x64
    assert jax.numpy.ones(1).dtype == np.float32


@needs_jaxopt
@pytest.mark.parametrize("kind", CONVEX)
def test_shine_inside_jaxopt_is_its_dense_formula(kind):
    problem = model(kind, 3)
    step = Jaxopt(problem, memory=3, q="shine")
    *_, last = steps_of(problem, step, Hoag(tol=1e-2))
    kept = last.root.inverse.memory
    order = (int(kept.iter_num) + np.arange(3)) % 3
    B = float(kept.gamma) * torch.eye(len(last.z), dtype=torch.float64)
    for s, y in zip(kept.s_history[order], kept.y_history[order]):
        s, y = torch.tensor(np.asarray(s)), torch.tensor(np.asarray(y))
        left = torch.eye(len(s)) - torch.outer(s, y) / (s @ y)
        B = left @ B @ left.T + torch.outer(s, s) / (s @ y)
        assert s @ y > 0
    rhs = loss_gradient(last.equation, last.z)
    assert relative(last.q, B @ rhs) < 1e-9
    assert relative(last.root.inverse.dense(rhs), B) < 1e-9
    root = SimpleNamespace(z=last.z, inverse=Dense(B))
    exact = hypergradient(last.equation, last.theta, root, Shine())
    assert relative(last.grads[0], exact.grads[0]) < 1e-9
    assert last.n_vjp == 0 and last.n_g == last.root.n_g


@pytest.mark.parametrize("make", [Jaxopt, Optimistix, ScikitLearn])
def test_libraries_say_what_is_wrong(make):
    with pytest.raises(ValueError, match="no model here for Other"):
        make(type("Other", (), {})())
    with pytest.raises(ValueError, match="max_iter: "):
        make(model("ridge"), max_iter=0)


def fits(problem, values, **settings):
    return steps_of(
        problem, ScikitLearn(problem, **settings), Search(tuple(values)),
        len(values),
    )[1:]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", CONVEX)
def test_scikit_learn_solves_the_same_problem(kind, sparse):
    problem = model(kind, 3, sparse=sparse)
    values = [3.0, 0.0, -2.0]
    for step, value in zip(fits(problem, values, tol=1e-10), values):
        theta = theta_of(problem, value)
        assert torch.equal(step.theta[0], theta[0])
        _, root = tight_root(problem, theta)
        assert relative(step.z, root.z) < 1e-5
        assert step.value == pytest.approx(float(problem.loss(step.z)))
        assert step.z.dtype == torch.float64


@pytest.mark.parametrize("kind", ["logistic", "multinomial"])
def test_scikit_learn_starts_from_the_last_fit_and_tells_evaluations(
    kind, monkeypatch
):
    loss, calls = counted(LinearModelLoss.loss_gradient)
    monkeypatch.setattr(LinearModelLoss, "loss_gradient", loss)
    problem = model(kind)
    first, again = fits(problem, [-6.0, -6.0], tol=1e-6)
    # more than its iterations: some line search has tried twice
    assert first.n_g + again.n_g == len(calls) and first.n_g > 10
    # it is there already: one evaluation, no iteration
    assert again.n_g == 1
    assert relative(again.z, first.z) < 1e-9
    assert (again.n_vjp, again.grads, again.q) == (0, None, None)


@pytest.mark.parametrize("kind, labels, why", [
    ("logistic", [1.0], "have 1 of 2"), ("multinomial", [0, 2], "2 of 3"),
    ("multinomial", [0, 1], "two classes"),
])
def test_scikit_learn_needs_every_class(kind, labels, why, solvers):
    X, rng = np.ones((12, 2)), np.random.RandomState(0)
    part = X + rng.randn(12, 2), np.resize(labels, 12)
    problem = MODELS[kind](part, part, part)
    skipped, told = solvers["sklearn-search"].get_instance().skip(
        problem, 3, 1
    )
    assert skipped and told.startswith("scikit-learn: ") and why in told


def test_the_path_is_that_of_logistic_regression_cv(solvers):
    solver = solvers["sklearn-search"].get_instance()
    usual = LogisticRegressionCV().get_params()
    assert (solver.n_points, solver.tol) == (usual["Cs"], usual["tol"])
    C = np.exp(-solver.values(None))
    np.testing.assert_allclose(C, np.logspace(-4, 4, usual["Cs"]))


@needs_optuna
def test_tpe_is_told_what_it_asked_for():
    problem = model("logistic")
    tpe = Tpe(n_startup=4, seed=3)
    steps = steps_of(problem, RootAndAdjoint(LBFGS()), tpe, 25)[1:]
    asked = np.array([float(step.theta[0].detach()[0]) for step in steps])
    assert np.abs(asked).max() <= 12
    assert len(set(asked)) == 25
    # the study knows every value but the one that is still to be tried
    state = tpe.start(problem.start()[0])
    for step in steps:
        assert float(state.theta[0][0]) == float(step.theta[0].detach()[0])
        state = tpe.step(state, step.value, None, 0.0)
    trials = state.study.get_trials(deepcopy=False)
    assert [trial.value for trial in trials[:-1]] == [
        step.value for step in steps
    ]
    assert state.study.best_value == min(step.value for step in steps)


@needs_optuna
def test_tpe_has_a_seed():
    theta = model("ridge").start()[0]
    draws = [float(Tpe(seed=s).start(theta).theta[0][0]) for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


# ------------------------------------------------------- costs, and benchopt


def watched(problem):
    """Evaluations of g and products with Jᵀ, as they are made."""
    evaluations, products = [], []
    draw = problem.draw

    def watched_draw(theta, z, k):
        equation = draw(theta, z, k)

        def energy(z):
            evaluations.append(1)
            return equation.energy(z)

        def g(z):
            evaluations.append(1)
            out = equation.g(z)
            if z.requires_grad:
                out.register_hook(products.append)
            return out

        return replace(equation, g=g, energy=energy)

    problem.draw = watched_draw
    return evaluations, products


METHODS = {
    "soba": Loop(Soba(FIRST_SOLVE, 3, n_iter=4), 3),
    "unrolled": method_of(Truncated(LBFGS(), 6, 2)),
    "nbo": method_of(NewtonStep(LBFGS())),
    "nbo, several": method_of(NewtonStep(LBFGS(), 3)),
    "nbo, shared": method_of(NewtonStep(LBFGS(), inner="shared")),
    "own steps": method_of(RootAndAdjoint(
        QuasiNewtonSteps(GradientSteps(2, 3), 3), TwoDirections(2, 2)
    )),
    "at root": method_of(RootAndAdjoint(
        LBFGS(opa=Opa(None, root_pairs=3)), Shine()
    )),
    "polished": method_of(RootAndAdjoint(Polished(LBFGS(), 3), PCG)),
    "by hypergradient": method_of(RootAndAdjoint(
        LBFGS(), replace(PCG, stop=stop_by_hypergradient)
    )),
} | {
    type(adjoint).__name__: method_of(RootAndAdjoint(LBFGS(), adjoint))
    for adjoint in (
        PCG, GradientDescent(3, 2), Nystrom(3), Recycled(4), NystromPCG(3, 2),
        SecantSteps(3), Lanczos(3), TwoDirections(2, 3),
    )
}


@pytest.mark.parametrize("name", METHODS)
def test_costs_are_the_true_ones(name):
    problem = model("logistic", 3)
    evaluations, products = watched(problem)
    for _, totals, _ in METHODS[name].run(problem):
        assert totals.n_g == len(evaluations)
        assert totals.n_vjp == len(products)
    assert totals.n_outer == 3
    assert bool(products) == (name != "at root")


@pytest.mark.parametrize("module, name, forward, backward", [
    (unrolled, "unrolled", 3, 3),
    # the first solve, then four times a step; once a step for ‖J‖
    (single_loop, "soba", 1 + 3 * 4, 3 * (1 + 4)),
])
def test_times_are_differences(module, name, forward, backward, monkeypatch):
    ticks = itertools.count(9)
    monkeypatch.setattr(module, "clock", lambda like: float(next(ticks)))
    *_, (_, totals, _) = METHODS[name].run(model("logistic", 3))
    assert (totals.forward_time, totals.backward_time) == (forward, backward)


FINDER = LBFGS(60, keep_pairs=True, criterion="energy")
STEPS = [
    ("SHINE-PCG", {}, lambda problem: RootAndAdjoint(FINDER, PCG)),
    ("AmIGO", {}, lambda problem: RootAndAdjoint(
        FINDER, GradientDescent(10, 5))),
    ("SHINE-at-root", {"root_pairs": 3}, lambda problem: RootAndAdjoint(
        replace(FINDER, opa=Opa(None, root_pairs=3)), Shine())),
    ("SHINE-corrected", {"memory": 8}, lambda problem: RootAndAdjoint(
        replace(FINDER, memory=8, keep_pairs="corrected"), Shine())),
    ("SHINE-corrected-at-root", {}, lambda problem: RootAndAdjoint(
        replace(FINDER, keep_pairs="corrected", opa=Opa(None, root_pairs=5)),
        Shine())),
    ("SHINE-PCG", {"stop": "hypergradient"}, lambda problem:
     RootAndAdjoint(FINDER, replace(PCG, stop=stop_by_hypergradient))),
    ("AmIGO", {"polish": 2}, lambda problem: RootAndAdjoint(
        Polished(FINDER, 2), GradientDescent(10, 5))),
    ("Nystrom", {"rank": 4, "rho": 0.5, "sketch": "gaussian", "seed": 2},
     lambda problem: RootAndAdjoint(FINDER, Nystrom(4, 0.5, gaussian, 2))),
    ("qNBO", {"backward_steps": 3}, lambda problem: RootAndAdjoint(
        FINDER, SecantSteps(3, Sr1Updates))),
    ("qNBO", {"inner": "own", "newton_steps": 4, "inner_step": 0.5,
              "update": "bfgs"}, lambda problem: RootAndAdjoint(
        QuasiNewtonSteps(GradientSteps(5, 5), 4, 0.5), SecantSteps(10))),
    ("SubBiO", {"inner": "own", "inner_steps": 3, "n_power": 2},
     lambda problem: RootAndAdjoint(
         GradientSteps(3, 2), TwoDirections(10, 2))),
    ("NBO", {"inner": "own", "n_newton": 4, "criterion": "gradient"},
     lambda problem: NewtonStep(
         replace(FINDER, criterion="gradient"), 4, "gradient")),
    ("NBO", {}, lambda problem: NewtonStep(FINDER, inner="shared")),
    ("Unrolled", {"backward_steps": 2, "n_power": 1}, lambda problem:
     Truncated(FINDER, 2, 1)),
    ("F2SA", {"order": 2, "nu": 0.5, "tightness": 0.0}, lambda problem:
     F2sa(FINDER, 2, 0.5, 0.0)),
    ("jaxopt", {"memory": 4, "max_iter": 9, "keep": False}, lambda problem:
     Jaxopt(problem, 4, 9, "energy", False, "cg")),
    ("jaxopt-SHINE", {}, lambda problem:
     Jaxopt(problem, 60, 1000, "energy", True, "shine")),
    ("optimistix", {"memory": 4}, lambda problem:
     Optimistix(problem, 4, 1000, "energy", True)),
    ("sklearn-search", {"tol": 0.1, "max_iter": 9}, lambda problem:
     ScikitLearn(problem, 0.1, 9)),
]


@pytest.mark.parametrize("name, settings, step", STEPS)
def test_settings_reach_the_outer_step(name, settings, step, solvers):
    problem = model("ridge")
    method = solvers[name].get_instance(**settings).method(problem, 7)
    assert method.outer_step == step(problem)


def test_settings_reach_the_outer_loop(solvers):
    problem = model("ridge")

    def method(name, **settings):
        return solvers[name].get_instance(**settings).method(problem, 7)

    recycled = method("Recycled-PCG", memory=4, stop="hypergradient").adjoint
    assert (recycled.memory, recycled.stop) == (4, stop_by_hypergradient)
    sketch = method("Nystrom-PCG", rank=3, stop="hypergradient").adjoint
    assert (sketch.rank, sketch.refresh, sketch.stop) == (
        3, 5, stop_by_hypergradient)
    lancbio = method("LancBiO", backward_steps=3, longest=4, growth=2.0)
    assert (lancbio.adjoint.n_steps, lancbio.adjoint.longest,
            lancbio.adjoint.growth) == (3, 4, 2.0)
    soba = method(
        "SOBA", tol=0.2, n_iter=3, ratio=2.0, n_power=1, memory=9
    ).steps
    assert soba == Soba(soba.find_root, 7, 3, 2.0, 1)
    assert soba.find_root.func == LBFGS(9, criterion="energy")
    assert soba.find_root.keywords == {"atol": 0.2}
    bome = method("BOME", tol=0.2, n_iter=3, n_inner=2, eta=0.1, ratio=4.0,
                  n_power=1).steps
    assert bome == Bome(bome.find_root, 7, 3, 2, 0.1, 4.0, 1)
    assert bome.find_root.keywords == {"atol": 0.2}
    told = solvers["HOAG"].get_instance(step="maid").settings(problem)
    assert (told["criterion"], told["tol"]) == ("gradient", None)
    maid = method("HOAG", step="maid", memory=9).steps
    assert maid == Maid(
        LBFGS(9, keep_pairs=True), ConjugateGradient(
            default_q0=torch.zeros_like), 7)
    assert method("Unrolled", decay=0.5).outer == Secant(decay=0.5)
    hoag = {"protocol": "hoag", "moves": 2}
    assert method("jaxopt", **hoag).outer == Hoag(moves=2)
    tpe = method("TPE-search", n_points=4, n_startup=2, rtol=0.1)
    assert (tpe.outer, tpe.n_outer) == (Tpe(0.1, 3e-4, 2, problem.seed), 4)


@pytest.mark.parametrize("name, settings, reason", [
    ("AmIGO", {"n_power": "x"}, "n_power: .*x"),
    ("Nystrom", {"sketch": "rows"}, "sketch: 'rows' is not one of columns"),
    ("LancBiO", {"inner": "x"}, "inner: 'x' is not one of shared, own"),
    ("NBO", {"n_newton": 0}, "n_newton: .*0"),
    ("NBO", {"inner": "x"}, "inner: 'x' is not one of own, shared"),
    ("qNBO", {"update": "dfp"}, "update: 'dfp' is not one of bfgs, sr1"),
    ("qNBO", {"inner": "own", "inner_step": -1}, "inner_step: .*-1"),
    ("SubBiO", {"backward_steps": 0}, "backward_steps: .*0"),
    ("Recycled-PCG", {"backward_steps": 3}, "preconditioner: recycled"),
    ("Nystrom-PCG", {"backward_steps": 3}, "preconditioner: nystrom"),
    ("Nystrom-PCG", {"rank": 0}, "rank: .*0"),
    ("HOAG", {"preconditioner": "nystrom"}, "rank: .*None"),
    ("HOAG", {"rank": 3}, "rank: needs preconditioner=nystrom"),
    ("HOAG", {"refresh": 3}, "refresh: needs preconditioner=nystrom"),
    ("HOAG", {"stop": "early"}, "stop: 'early' is not one of residual"),
    ("SHINE-at-root", {"root_pairs": -1}, "root_pairs: .*-1"),
    ("SHINE-PCG", {"preconditioner": "x"}, "preconditioner: 'x' is not"),
    ("SOBA", {"ratio": 0}, "ratio: .*0"),
    ("Unrolled", {"backward_steps": 0}, "backward_steps: .*0"),
    ("F2SA", {"order": 3}, "order: 3 is not one of 1, 2"),
    ("F2SA", {"step": "maid"}, "step: maid needs a method of a root"),
    ("HOAG", {"step": "maid", "tol": 0.1}, "tol: has no meaning with step"),
    ("HOAG", {"step": "maid", "polish": 1}, "polish: has no meaning with"),
    ("qNBO", {"step": "maid", "inner": "own"}, "inner: own leaves no toler"),
    ("qNBO", {"polish": 1, "inner": "own"}, "inner: own leaves no toler"),
    ("BOME", {"n_inner": 0}, "n_inner: .*0"),
    ("jaxopt", {"memory": 0}, "memory: .*0"),
    ("jaxopt", {"q": "gmres"}, "q: 'gmres' is not one of cg, shine"),
    ("optimistix", {"keep": "pairs"}, "keep: 'pairs' is not one of"),
    ("TPE-search", {"n_startup": -1}, "n_startup: .*-1"),
    ("sklearn-search", {"tol": 0.0}, "tol: .*0"),
])
def test_bad_settings_skip_the_solver(name, settings, reason, solvers):
    skipped, told = solvers[name].get_instance(**settings).skip(
        model("ridge"), 3, 1
    )
    assert skipped
    assert re.match(reason, told)
    usual = solvers[name].get_instance()
    assert usual.skip(model("ridge"), 3, 1) == (False, None)


@pytest.mark.parametrize("name, settings", [
    ("Nystrom", {}), ("Nystrom-PCG", {}), ("SHINE-corrected", {}),
    ("SHINE-corrected", {"polish": 1}), ("HOAG", {"step": "maid"}),
])
def test_a_method_that_needs_a_diagonal_is_skipped_without(
        name, settings, solvers):
    solver = solvers[name].get_instance(**settings)
    skipped, told = solver.skip(cleaning(), 3, 1)
    assert skipped and "which diagonal theta adds" in told
    assert solvers[name].get_instance().skip(model("ridge"), 3, 1) == (
        False, None)


@pytest.mark.parametrize("name", [
    "SHINE-PCG", "AmIGO", "Nystrom", "SHINE-corrected", "SHINE-at-root",
    "SHINE-corrected-at-root", "Recycled-PCG", "Nystrom-PCG", "SOBA",
    "Unrolled", "jaxopt", "jaxopt-SHINE", "optimistix", "F2SA", "BOME",
    "TPE-search", "sklearn-search", "qNBO", "NBO", "LancBiO", "SubBiO",
])
def test_bilevel_rivals_leave_networks(name, solvers):
    skipped, told = solvers[name].get_instance().skip(network(), 3, 1)
    assert skipped
    assert re.match(f"{name}: ", told)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=needs) for name, needs in NEEDS.items()
])
def test_libraries_through_benchopt(name, root_dir, tmp_path):
    rows = sweep(root_dir, tmp_path / "rows", [name, "HOAG"], [TEXT])
    ours, hoag = (
        rows[rows["solver_name"] == solver] for solver in (name, "HOAG")
    )
    np.testing.assert_allclose(
        ours["objective_value"], hoag["objective_value"], rtol=0.02
    )
    assert ours["objective_q_cosine"].iloc[-1] > 0.99
    assert not ours["objective_diverged"].any()


def test_missing_libraries_cost_nobody_else(
    root_dir, tmp_path, capsys, monkeypatch
):
    for name in "jaxopt", "optimistix", "optuna":
        monkeypatch.setitem(sys.modules, name, None)
    rows = sweep(
        root_dir, tmp_path / "rows",
        ["jaxopt", "optimistix", "TPE-search", "SHINE"], [TEXT]
    )
    assert set(rows["solver_name"]) == {"SHINE"}
    told = "".join(capsys.readouterr())
    for name in "jaxopt", "optimistix":
        assert f"{name}: not installed: pip install {name}" in told
    assert "TPE-search: not installed: pip install optuna" in told
    assert "Traceback" not in told
