"""Reversible steps and the unrolled phantom, against plain autograd."""
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark_shine.adjoint import Phantom
from benchmark_shine.data.pictures import pictures
from benchmark_shine.engine import leaves
from benchmark_shine.equation import Equation
from benchmark_shine.evaluate.memory import peak_memory
from benchmark_shine.implicit import hypergradient
from benchmark_shine.loops.reversible import (
    ReversedSeries, Reversible, most_steps,
)
from benchmark_shine.loops.unrolled import Truncated
from benchmark_shine.problems import MDEQ
from benchmark_shine.problems.mdeq import TINY
from benchmark_shine.root import Broyden

from helpers.batched_problems import Tanh, relative
from helpers.problems import network, normal

STATE = SimpleNamespace(atol=1e-12, rtol=0.0, eps=1e-12)


def multiscale():
    """MDEQ TINY on pictures of 8 × 8, in double precision."""
    pixels = np.random.RandomState(0).randint(0, 256, (4, 3, 8, 8))
    part = pixels.astype(np.uint8), np.arange(4) % 2
    recipe = replace(TINY.recipe, batch_size=4, unrolled_steps=0)
    return MDEQ(*pictures(part, part), TINY, recipe, dtype=torch.float64)


PROBLEMS = {"dense": network, "multiscale": multiscale}


def drawn(problem, **recipe):
    """The first equation of a problem, and the leaves of it."""
    problem = problem.under(replace(problem.recipe, **recipe))
    theta, z = problem.start()
    theta = leaves(theta)
    return problem.draw(theta, z, 1), theta


def plain(method, equation):
    """The same iteration, every iterate kept."""
    y = z = equation.start
    for _ in range(method.steps):
        y = (1 - method.beta) * y + method.beta * (z - equation.g(z))
        z = (1 - method.beta) * z + method.beta * (y - equation.g(y))
    return z


def error(found, truth):
    """Relative distance of all gradients, taken as one vector."""
    a, b = (torch.cat([g.flatten() for g in grads])
            for grads in (found, truth))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("parts", ["prepared", "theta"])
@pytest.mark.parametrize("recipe", [
    {}, {"jacobian_weight": 0.5}, {"unrolled_steps": 1, "unrolled_layers": 3},
], ids=["plain", "penalty", "unrolled"])
@pytest.mark.parametrize("name, method", [
    ("dense", Reversible(5, 0.8)), ("dense", Reversible(12, 0.5)),
    ("multiscale", Reversible(3, 0.8)),
])
def test_the_gradient_is_that_of_back_propagation(
    name, method, recipe, parts
):
    equation, theta = drawn(PROBLEMS[name](), **recipe)
    assert equation.theta_parts
    if parts == "theta":
        equation = replace(equation, theta_parts=None)
    step = method(equation, theta, STATE, None)
    z = plain(method, equation)
    loss = equation.loss(z)
    assert relative(step.z, z.detach()) < 1e-12
    assert step.value == pytest.approx(float(loss.detach()), rel=1e-13)
    assert error(step.grads, torch.autograd.grad(loss, theta)) < 1e-8
    assert 0 < step.reconstruction_error < 1e-6


def test_evaluations_and_products_are_counted():
    problem = Tanh([0.5])
    problem.b.requires_grad_()
    step = Reversible(4)(problem.equation(), (problem.b,), STATE, None)
    assert (step.n_g, step.n_vjp) == (16, 7)
    assert problem.n_calls == 16


@pytest.mark.parametrize("slope, growth", [(0.0, 5.0), (1.0, 25.0)])
def test_the_reconstruction_error_grows_as_it_must(slope, growth):
    # at slope 1 the forward step has the eigenvalues 1 and (1 - beta)²
    b = normal(0, 3, 400).requires_grad_()
    equation = Equation(
        lambda z: z - slope * z - b, torch.sum, b.new_zeros(3, 400)
    )

    def found(n):
        return Reversible(n, 0.8)(
            equation, (b,), STATE, None).reconstruction_error

    few, many = found(3), found(9)
    assert growth / 1.5 < (many / few) ** (1 / 6) < growth * 1.2


def test_memory_is_flat_in_the_number_of_steps():
    w = normal(0, 2_000, dtype=torch.float32).requires_grad_()
    equation = Equation(
        lambda z: z - torch.tanh(w * z.roll(1, 1) + 1), torch.sum,
        torch.zeros(8, 2_000),
    )

    def peak(n):
        return peak_memory(
            lambda: Reversible(n, 0.2)(equation, (w,), STATE, None),
            torch.device("cpu"),
        )[1]

    assert peak(3) == peak(30) < 20 * 4 * 8 * 2_000


def test_at_the_root_the_gradient_is_that_of_the_series():
    # of an affine f, whatever the iterates
    A, b = 0.2 * normal(0, 6, 6), normal(1, 1, 6).requires_grad_()
    equation = Equation(
        lambda z: z - z @ A.T - b, lambda z: z.square().sum(),
        torch.zeros(1, 6, dtype=torch.float64),
    )
    method = Reversible(4, 0.6)
    step = method(equation, (b,), STATE, None)
    root = method.find_root(equation)
    assert torch.equal(root.z, step.z) and root.n_g == 8
    again = hypergradient(equation, (b,), root, method.adjoint)
    assert error(step.grads, again.grads) < 1e-12
    assert again.n_vjp == 8
    # and the series ends at q
    exact = torch.linalg.solve(torch.eye(6) - A, 2 * root.z, left=False)
    q = hypergradient(equation, (b,), root, ReversedSeries(300, 0.6)).q
    assert relative(q, exact) < 1e-10


@pytest.mark.parametrize("beta", [0.5, 0.8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_that_rounding_would_eat_are_refused(beta, dtype):
    n = most_steps(beta, dtype)
    grown = [
        torch.finfo(dtype).eps * (1 - beta) ** -k for k in (n, n + 1)
    ]
    assert grown[0] <= 1e-2 < grown[1]
    Reversible(n, beta).check(dtype)
    with pytest.raises(ValueError, match=f"steps: .*at most {n}"):
        Reversible(n + 1, beta).check(dtype)


@pytest.mark.parametrize("settings, name", [
    ((0,), "steps"), ((3, 1.0), "beta"), ((3, 0.0), "beta"),
])
def test_settings_out_of_range_are_refused(settings, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        Reversible(*settings)


@pytest.mark.parametrize("k, tau", [(1, 1.0), (4, 0.5)])
def test_the_unrolled_phantom_is_the_series_at_the_root(k, tau):
    equation, theta = drawn(network())
    root = Broyden(80, 80)(equation, atol=1e-13)
    method = Truncated(lambda *_: root, k, n_power=0, tau=tau)
    step = method(equation, theta, STATE, None)
    series = hypergradient(equation, theta, root, Phantom(k, tau))
    assert error(step.grads, series.grads) < 1e-9
    assert step.n_g == root.n_g + k and step.n_vjp == k - 1
    assert method.adjoint == Phantom(k, tau)


def test_the_unrolled_phantom_makes_damped_steps_of_its_own():
    equation, theta = drawn(network())
    start = Broyden(2, 2)(equation)  # far from the root
    step = Truncated(lambda *_: start, 3, n_power=0, tau=0.4)(
        equation, theta, STATE, None)
    z = start.z
    for _ in range(3):
        z = 0.6 * z + 0.4 * (z - equation.g(z))
    grads = torch.autograd.grad(equation.loss(z), theta)
    assert relative(step.z, z.detach()) < 1e-12
    assert error(step.grads, grads) < 1e-12
    assert math.isnan(step.reconstruction_error)
