"""The reference against dense linear algebra, whatever the data's units."""
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark_shine.engine import Step
from benchmark_shine.equation import Equation
from benchmark_shine.evaluate import compare, metrics, tight
from benchmark_shine.evaluate.dense import newton, refined
from benchmark_shine.evaluate.reference import (
    DIVERGED, MEASURED, NO_ADJOINT, NO_ROOT, measure, unmeasured,
)
from benchmark_shine.evaluate.tight import TightSolver
from benchmark_shine.evaluate.units import equilibrate, rescaled
from benchmark_shine.problems import Logistic, NonlinearLeastSquares
from benchmark_shine.root import loss_gradient

from helpers.problems import (
    jacobian_at, model, normal, relative, ridge_solution, spd, theta_of,
    tight_root,
)


def thetas(problem, seed=0):
    """Some theta around -1, a different one for each group."""
    (first,), _ = problem.start()
    return theta_of(problem, normal(seed, len(first)) - 1)


def step_at(problem, theta, z, k=1):
    """A step of no method: its q and grads are zero."""
    equation = problem.draw(theta, z, k)
    zeros = tuple(torch.zeros_like(t) for t in theta)
    return Step(
        theta, z, float(equation.loss(z)), equation, zeros,
        torch.zeros_like(z),
    )


SCALES = {
    "raw": np.array([2000, 600, 25, 20, 0.1, 0.05]),
    "1e6": np.array([1e6, 1, 1e6, 1, 1, 1]),
    "1e-6": np.array([1e-6, 1, 1e-6, 1, 1, 1]),
    "both": np.array([1e6, 1, 1e-6, 1e6, 1, 1e-6]),
}


def in_units(scales, shift=3.0, cls=Logistic):
    """Two classes that six features cannot tell apart, in some units."""
    rng = np.random.RandomState(1)
    X, w = rng.randn(150, 6), rng.randn(6)
    y = np.where(X @ w + 0.7 * rng.randn(150) > 0, 1.0, -1.0)
    X = (X + shift) * scales
    return cls(*((X[i::3], y[i::3]) for i in range(3)))


def oracle(problem, theta):
    """The outer loss at the root, by damped Newton steps in NumPy from 0."""
    (X, y), (V, u) = (
        (part.X.numpy(), part.y.numpy())
        for part in (problem.train, problem.validation)
    )
    weight, z = math.exp(theta), np.zeros(X.shape[1])
    s = 1 / np.sqrt((X ** 2).sum(axis=0) / 4 + weight)

    def energy(z):
        return np.logaddexp(0, -y * (X @ z)).sum() + weight * (z @ z) / 2

    for _ in range(200):
        slope = 1 / (1 + np.exp(np.clip(y * (X @ z), -700, 700)))
        g = weight * z - X.T @ (y * slope)
        H = (X.T * (slope * (1 - slope))) @ X + weight * np.eye(len(z))
        move, t = -s * np.linalg.solve(s[:, None] * H * s, s * g), 1.0
        while energy(z + t * move) > energy(z) + 1e-4 * t * (g @ move):
            t /= 2
            if t < 1e-12:
                break
        z = z + t * move
    return np.logaddexp(0, -u * (V @ z)).sum()


@pytest.mark.parametrize("dense", [300, 0], ids=["dense", "iterative"])
@pytest.mark.parametrize("theta", [-4.0, 0.0, 6.0])
@pytest.mark.parametrize("name", SCALES)
def test_the_units_of_the_data_do_not_matter(name, theta, dense, monkeypatch):
    monkeypatch.setattr(tight, "ASSEMBLED", dense)
    monkeypatch.setattr(tight, "DENSE", dense)
    problem = in_units(SCALES[name])
    leaf, z = theta_of(problem, theta), problem.start()[1]
    # from the random start of a run, and from a z near the root
    for z, k in (z, 0), (z / torch.as_tensor(SCALES[name] * 9), 1):
        for solve in TightSolver(), TightSolver(problem):
            found = measure(step_at(problem, leaf, z, k), solve)
            assert found["unmeasured"] == MEASURED
            assert found["value_function"] == pytest.approx(
                oracle(problem, theta), rel=1e-7
            )


@pytest.mark.parametrize("name", SCALES)
def test_q_in_any_units(name):
    scales = torch.as_tensor(SCALES[name])
    plain, scaled = in_units(np.ones(6)), in_units(SCALES[name])
    # without a penalty the units of the features are those of q
    equation, root = tight_root(plain, theta_of(plain, -60.0))
    q = torch.linalg.solve(
        jacobian_at(equation, root.z), loss_gradient(equation, root.z)
    )
    step = step_at(scaled, theta_of(scaled, -60.0), root.z / scales)
    found = measure(replace(step, q=q / scales), TightSolver(scaled))
    assert found["q_rel_error"] < 1e-5


def test_a_saturated_start_is_not_its_own_root():
    # all slopes are zero to rounding, and the first-order estimate with them
    problem = in_units(np.full(6, 40.0), cls=NonlinearLeastSquares)
    leaf, z = theta_of(problem, 0.0), normal(3, 6)
    values = []
    for dense in 300, 0:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tight, "ASSEMBLED", dense)
            found = measure(step_at(problem, leaf, z, 0), TightSolver())
        values.append(found["value_function"])
    equation, root = tight_root(problem, leaf, z)
    value = float(equation.loss(root.z))
    assert values == pytest.approx([value] * 2, rel=2e-6)


def test_a_singular_jacobian_has_no_reference():
    rng = np.random.RandomState(2)
    X, y = rng.randn(60, 4), np.sign(rng.randn(60))
    X[:, 3] = X[:, 2]
    X[1::3, 3] *= 2  # of the validation part
    problem = Logistic(*((X[i::3], y[i::3]) for i in range(3)))
    step = step_at(problem, theta_of(problem, -80.0), normal(0, 4))
    found = measure(step, TightSolver(problem))
    assert found["unmeasured"] in (NO_ROOT, NO_ADJOINT)
    assert not {"q_cosine", "hypergrad_rel_error"} & found.keys()


@pytest.mark.parametrize("energy", [True, False])
def test_there_is_no_value_without_a_root(energy):
    # concave and unbounded below; and exp has no root
    def falling(z):
        return -float(z.exp().sum()), -z.exp()

    start = normal(1, 3)
    equation = Equation(
        lambda z: -z.exp(), lambda z: 1 + z.sum(), start,
        falling if energy else None,
    )
    theta = torch.zeros(1, requires_grad=True),
    step = Step(theta, start, float(equation.loss(start)), replace(
        equation, loss=lambda z: 1 + z.sum() + 0 * theta[0].sum(),
        g=lambda z: -z.exp() + 0 * theta[0],
    ))
    found = measure(step, TightSolver())
    assert found == {"unmeasured": NO_ROOT}


def test_no_numbers_are_no_reference():
    problem = model("logistic")
    step = step_at(problem, theta_of(problem, math.nan), normal(0, 6))
    found = measure(step, TightSolver())
    assert found == {"unmeasured": NO_ROOT}


def test_one_line_says_what_is_missing():
    assert unmeasured([]) is None
    assert unmeasured([float(MEASURED)] * 3) is None
    said = unmeasured([MEASURED, NO_ROOT, DIVERGED, NO_ROOT])
    assert said == (
        "no reference at 3 of 4 points (the run had diverged: 1, the "
        "reference root was not found: 2)"
    )


# The parts


def test_newton_finds_its_way_along_a_curved_valley():
    # Rosenbrock's function from its usual start; the root is (1, 1)
    def value(z):
        return 100 * (z[1] - z[0] ** 2) ** 2 + (1 - z[0]) ** 2

    def g(z):
        a = z[1] - z[0] ** 2
        return torch.stack([-400 * z[0] * a - 2 * (1 - z[0]), 200 * a])

    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    equation = Equation(
        g, torch.sum, start, lambda z: (float(value(z)), g(z))
    )
    assert (newton(equation, start)[0] - 1).norm() < 1e-9


def test_a_linear_system_that_is_singular_to_rounding():
    b = normal(1, 5)
    A = spd([1e-9, 1, 2, 3, 4])
    assert relative(A @ refined(A, b), b) < 1e-6
    assert refined(spd([1e-18, 1, 2, 3, 4]), b).isnan().all()
    assert refined(0 * A, b).isnan().all()


def test_equilibration_needs_products_alone():
    s = torch.logspace(-6, 6, 40, dtype=torch.float64)
    A = s[:, None] * spd(torch.linspace(1, 5, 40)) * s
    found = equilibrate(lambda v: A @ v, s, 200)
    norms = (found[:, None] * A * found).norm(dim=1)
    assert norms.max() < 10 * norms.min()


def test_an_equation_in_other_units_is_the_same_equation():
    problem, s = model("logistic", 3), normal(4, 6).exp()
    theta, z = thetas(problem), normal(5, 6)
    equation = problem.draw(theta, z, 1)
    other = rescaled(equation, s)
    u = other.start
    torch.testing.assert_close(s * u, z)
    torch.testing.assert_close(
        jacobian_at(other, u), s[:, None] * jacobian_at(equation, z) * s
    )
    assert other.loss(u) == pytest.approx(float(equation.loss(z)))
    value, gradient = other.energy(u)
    assert value == pytest.approx(equation.energy(z)[0])
    torch.testing.assert_close(gradient, other.g(u).detach())
    v = normal(6, 6)
    a, b = (
        torch.autograd.grad(e(u), theta, v)[0] for e in (
            other.g, other.g_theta,
        )
    )
    torch.testing.assert_close(a, b)


def test_any_problem_is_measured_from_its_equation():
    class Foreign:
        """No base class of the suite."""

    problem = model("ridge")
    theta, z = thetas(problem), normal(0, 6)
    step = step_at(problem, theta, z)
    found = metrics(Foreign(), step)
    assert found == {"inner_residual": pytest.approx(
        float(step.equation.g(z).detach().norm())
    )}
    assert metrics(problem, step).keys() == {
        "inner_residual", "theta", "test_loss"
    }
    assert compare(Foreign(), step, None)["value_function"] == pytest.approx(
        float(ridge_solution(problem, theta[0]).value), rel=2e-6
    )


# A step of known errors


def test_measure_sees_the_errors_of_a_step():
    problem = model("ridge", 3)
    theta = thetas(problem)
    solution = ridge_solution(problem, theta[0])
    equation, root = tight_root(problem, theta)
    # F, q and dF/dtheta are those of z*(theta), wherever z is
    z, q = root.z + 0.1 * normal(5, len(root.z)), solution.q
    e = normal(6, len(q))
    e = 0.01 * q.norm() * (e - (e @ q) / (q @ q) * q) / e.norm()
    wrong = solution.grad * torch.tensor([3.0, -1.0])
    step = Step(
        theta, z, float(equation.loss(z)), equation, (wrong,), 2 * (q + e),
        root,
    )
    found = measure(step, TightSolver(problem))
    assert found["value_function"] == pytest.approx(
        float(solution.value), rel=1e-9
    )
    cosine = float(torch.cosine_similarity(q + e, q, dim=0))
    assert found["q_cosine"] == pytest.approx(cosine, abs=1e-6)
    assert found["q_rel_error"] == pytest.approx(
        relative(2 * (q + e), q), rel=1e-5
    )
    assert found["hypergrad_sign"] == 0.5
    assert found["hypergrad_rel_error"] == pytest.approx(
        relative(wrong, solution.grad), rel=1e-5
    )
    assert found["hypergrad_cosine"] == pytest.approx(float(
        torch.cosine_similarity(wrong, solution.grad, dim=0)
    ), rel=1e-5)


def test_measure_of_a_diverged_step_is_nan():
    problem = model("ridge")
    theta, z = theta_of(problem, 0.0), problem.start()[1]
    equation = problem.draw(theta, z, 1)
    step = Step(theta, z, float("nan"), equation)
    assert measure(step, TightSolver()) == {"unmeasured": DIVERGED}


def test_measure_of_a_step_without_q():
    problem = model("ridge")
    theta, z = theta_of(problem, 0.0), problem.start()[1]
    equation = problem.draw(theta, z, 0)
    found = measure(
        Step(theta, z, float(equation.loss(z)), equation), TightSolver()
    )
    value = float(ridge_solution(problem, theta[0]).value)
    assert found["value_function"] == pytest.approx(value, rel=1e-9)
    assert found["unmeasured"] == MEASURED
    assert found.keys() == {"value_function", "value_error", "unmeasured"}
