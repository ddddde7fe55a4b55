"""Corrected steps after a solve: Ye et al., AISTATS 2024."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import Shine
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.evaluate.measures import inner_residual
from benchmark_shine.implicit import hypergradient
from benchmark_shine.operators import Dense
from benchmark_shine.outer import Secant
from benchmark_shine.root import LBFGS, Polished, Root

from helpers.problems import (
    jacobian_at, model, normal, quadratic, relative, theta_of, tight_root,
)


def finder_at(z, inverse):
    """A root finder that ends at z, with this B and no knowledge of g."""
    return lambda *_: Root(z, Dense(inverse), 1.0, 1.0, 1, 1, True)


@pytest.mark.parametrize("kind", ["logistic", "multinomial"])
def test_with_the_true_inverse_the_error_becomes_quadratic(kind):
    problem = model(kind, 2)
    theta = theta_of(problem, 0.0)
    equation, exact = tight_root(problem, theta)

    def dense(system):
        J = jacobian_at(equation, system.z)
        return torch.linalg.solve(J, system.rhs)

    def error(root):
        return relative(hypergradient(equation, theta, root, dense).grads[0],
                        truth.grads[0])

    truth = hypergradient(equation, theta, exact, dense)
    plain, polished = [], []
    direction = normal(4, len(exact.z))
    for size in 1e-1, 1e-2, 1e-3:
        z = exact.z + size * direction
        find_root = finder_at(z, torch.linalg.inv(jacobian_at(equation, z)))
        plain.append(error(find_root()))
        polished.append(error(Polished(find_root)(equation)))
    orders = [-np.polyfit([1, 2, 3], np.log10(e), 1)[0]
              for e in (plain, polished)]
    assert orders == pytest.approx([1, 2], abs=0.15)


def test_steps_by_hand_and_what_they_cost():
    equation = quadratic(np.geomspace(1, 3, 8)).equation
    plain = LBFGS()(equation, atol=0.1)
    z = plain.z
    for n in 1, 2, 3:
        z = z - plain.inverse @ equation.g(z)
        root = Polished(LBFGS(), n)(equation, atol=0.1)
        torch.testing.assert_close(root.z, z)
        # g is known where the solve has ended
        assert root.n_g == plain.n_g + n - 1
        assert root.residual is root.gradient is None
        assert equation.g(z).norm() < plain.residual


def test_the_next_solve_starts_where_the_last_was_corrected():
    problem = model("logistic", 2)
    step = RootAndAdjoint(Polished(LBFGS(keep_pairs=True)), Shine())
    first, second = (point.step for point in [
        *Method(step, Secant(), 2).run(problem)
    ][1:])
    assert torch.equal(second.equation.start, first.z)
    assert len(second.root.inverse) > 0
    for one in first, second:
        residual = float(one.equation.g(one.z).detach().norm())
        assert inner_residual(one) == pytest.approx(residual)


@pytest.mark.parametrize("scale", [0.5, 1.9, 2.1, 30.0, 1e200, np.nan])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_is_refused_where_it_leads_away_for_certain(seed, scale):
    problem = quadratic(np.geomspace(2, 50, 8), seed)
    diagonal = torch.tensor(2.0).double()  # J ⪰ D
    equation = replace(problem.equation, diagonal=diagonal)
    z, eye = equation.start, torch.eye(8).double()
    root = Polished(finder_at(z, scale / 2 * eye))(equation)
    g = equation.g(z)
    before, after = (
        (2 ** 0.5 * (v - problem.solution)).norm()
        for v in (z, z - scale / 2 * g)
    )
    if torch.equal(root.z, z):
        assert scale > 2 or np.isnan(scale)
        assert not after <= before
        assert root.residual == pytest.approx(float(g.norm()))
    else:
        assert scale <= 2
        assert after <= 3 * g.norm() / 2 ** 0.5
    assert root.n_g == 2  # this finder does not say what g is


def test_without_a_diagonal_only_numbers_are_needed():
    equation = quadratic([1.0, 2.0]).equation
    z, eye = equation.start, torch.eye(2).double()
    far = Polished(finder_at(z, 1e9 * eye))(equation)
    assert not torch.equal(far.z, z)
    nowhere = Polished(finder_at(z, torch.nan * eye), 3)(equation)
    assert torch.equal(nowhere.z, z)


@pytest.mark.parametrize("n_steps", [0, 1.5])
def test_bad_settings_are_named(n_steps):
    with pytest.raises(ValueError, match="^polish: must be"):
        Polished(LBFGS(), n_steps)
