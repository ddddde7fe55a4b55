"""Theorems: of the paper, of quasi-Newton methods, of Krylov methods.

Ramzi et al., ICLR 2022, section 2 and appendix; Dennis and Moré 1974; Gay
1979; Hestenes and Stiefel 1952.
"""
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import ConjugateGradient, Shine
from benchmark_shine.implicit import hypergradient
from benchmark_shine.operators import untransposed
from benchmark_shine.root import (
    LBFGS, AdjointBroyden, Broyden, Opa, loss_gradient,
)

from helpers import batched_problems as batched
from helpers.batched_problems import Linear, Tanh
from helpers.problems import (
    jacobian_at, model, normal, quadratic, relative, spd, system, theta_of,
)

EVERY = Opa(lambda k: 1)


def test_1_steps_that_span_the_space_make_b_the_inverse():
    # theorem 1: exact line searches on a quadratic, d steps, and B is J⁻¹
    problem = quadratic(np.geomspace(0.3, 3, 6))
    root = LBFGS(c1=1e-10, c2=1e-9, max_iter=6)(problem.equation)
    exact = torch.linalg.inv(problem.A)
    assert relative(root.inverse.dense(root.z), exact) < 1e-6


def test_2_shine_with_opa_becomes_exact_l_bfgs():
    # theorem 2: with more unknowns than steps, only OPA teaches B the
    # direction of ∂ℓ/∂z.  (Below 1e-8 the steps, and with them the
    # differences of g that OPA takes, lose digits to rounding: the error does
    # not fall for ever.)
    problem = model("logistic", groups=10, n=20, p=40, seed=1)
    theta, z = theta_of(problem, 1.0), problem.start()[1]
    equation = problem.draw(theta, z, 1)

    def errors(opa):
        for tol in 1e-2, 1e-4, 1e-6, 1e-8:
            root = LBFGS(memory=100, opa=opa)(equation, atol=tol)
            assert root.converged
            assert root.n_iter < 40
            J = jacobian_at(equation, root.z)
            q = torch.linalg.solve(J, loss_gradient(equation, root.z))
            weighted = problem.penalty(theta).detach() * root.z * q
            exact = -weighted.view(4, 10).sum(dim=1)
            h = hypergradient(equation, theta, root, Shine())
            yield relative(h.grads[0], exact)

    plain, opa = list(errors(None)), list(errors(EVERY))
    assert min(plain) > 1e-2
    assert opa == sorted(opa, reverse=True)
    assert opa[-1] < 1e-6


def adjoint_error(finder, problem, tol):
    """Relative error of SHINE's q, worst sample."""
    root = finder(problem.equation(), atol=tol)
    assert root.converged
    rhs = problem.rhs(root.z)
    exact = torch.linalg.solve(problem.jacobian(root.z).mT, rhs)
    return batched.relative(root.inverse.T @ rhs, exact)


def test_3_shine_with_opa_becomes_exact_adjoint_broyden():
    # theorem 3: no condition on the steps
    problem = Tanh([0.9, 0.8, 0.7], 20, seed=11)
    finder = AdjointBroyden(200, 100, EVERY)
    loose, tight = (
        adjoint_error(finder, problem, tol) for tol in (1e-1, 1e-12)
    )
    assert tight <= loose / 100
    assert tight < 1e-4
    # Broyden's steps do not teach it the direction
    broyden = adjoint_error(Broyden(200, 100), problem, 1e-12)
    assert broyden > 100 * tight
    published = replace(finder, side=untransposed)
    assert adjoint_error(published, problem, 1e-12) > 10 * tight


@pytest.mark.parametrize("finder", [
    Broyden(60, 60), AdjointBroyden(120, 60),
], ids=["broyden", "adjoint broyden"])
def test_dennis_and_more(finder):
    # (B⁻¹ - J) s / ‖s‖ → 0 along the steps, which are then superlinear.  As
    # B⁻¹ s = -g, that is ‖g(z + s)‖ / ‖s‖ but for terms of second order.
    problem = Tanh([0.9], 12)
    root = finder(problem.equation(), atol=1e-12)
    assert root.converged
    places = problem.places[:root.n_iter + 1]
    values = [float(problem.g(z).norm()) for z in places]
    steps = [float((b - a).norm()) for a, b in zip(places, places[1:])]
    ratios = [value / step for value, step in zip(values[1:], steps)]
    first, last = np.median(ratios[:4]), np.median(ratios[-4:])
    assert last < 0.2 * first


def test_broyden_ends_after_2d_steps_on_linear_systems():
    problem = Linear([3.0, 0.9, 2.0], 8)
    root = Broyden(40, 30)(problem.equation(), rtol=1e-8)
    assert root.converged
    assert int(root.steps.max()) <= 16
    exact = torch.linalg.solve(problem.jacobian(root.z), problem.b)
    assert batched.relative(root.z, exact) < 1e-6


def test_conjugate_gradients_end_after_d_iterations():
    J, rhs = spd(np.geomspace(0.1, 10, 9)), normal(3, 9)
    problem, products = system(J, rhs, tol=1e-8)
    q = ConjugateGradient()(problem)
    assert relative(q, torch.linalg.solve(J, rhs)) < 1e-6
    assert 9 <= len(products) <= 9 + 2
