"""torchdeq, phantom gradient and unrolling, against dense linear algebra."""
import itertools
import math
import sys
import warnings
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchopt.benchmark import Benchmark

from benchmark_shine.adjoint import (
    AdjointSystem, Phantom, QuasiNewtonSolve, Shine,
)
from benchmark_shine.evaluate.dense import solve_densely
from benchmark_shine.implicit import (
    Counted, TransposedJacobian, hypergradient,
)
from benchmark_shine.loops import unrolled
from benchmark_shine.problems import SmallDEQ
from benchmark_shine.problems.functional import BoundNetwork
from benchmark_shine.rivals.on_jax import double
from benchmark_shine.rivals.torchdeq import TorchDEQ
from benchmark_shine.root import Broyden, FixedPoint

from helpers.batched_problems import Linear, Tanh, relative, times
from helpers.problems import counted, model
from helpers.problems import network as small_network

needs_torchdeq = pytest.mark.skipif(
    find_spec("torchdeq") is None, reason="pip install torchdeq"
)
if find_spec("torchdeq"):
    with warnings.catch_warnings():  # escapes in its docstrings
        warnings.simplefilter("ignore")
        import torchdeq  # noqa: F401

SOLVERS = "broyden", "anderson", "fixed_point_iter"
C = 0.7  # the contraction


def network(steps=60, tol=1e-11):
    """Ten-dimensional equilibria, in double precision, solved tightly."""
    problem = small_network(contraction=C)
    return problem.under(replace(
        problem.recipe, forward_steps=steps, backward_steps=steps, tol=tol,
        backward_tol=tol,
    ))


@pytest.fixture(scope="module")
def solvers(root_dir):
    return {cls.name: cls for cls in Benchmark(root_dir).get_solvers()}


def points(cls, problem, n_outer, **settings):
    method = cls.get_instance(**settings).method(problem, n_outer)
    return list(method.run(problem))


def steps(cls, problem, n_outer, **settings):
    return [p.step for p in points(cls, problem, n_outer, **settings)]


def exact(step):
    """Root, q and hypergradient by dense linear algebra."""
    return solve_densely(step.equation, step.theta, step.z.detach())


def error(found, truth):
    """Relative distance of all gradients, taken as one vector."""
    a, b = (torch.cat([g.flatten() for g in grads])
            for grads in (found, truth))
    return float((a - b).norm() / b.norm())


# --------------------------------------------------------------- torchdeq


@needs_torchdeq
@pytest.mark.parametrize("backward", SOLVERS)
@pytest.mark.parametrize("forward", SOLVERS)
def test_torchdeq_with_implicit_differentiation_is_exact(
    forward, backward, solvers
):
    # its Anderson keeps a ridge of 1e-4, and gets no further than that lets
    problem = network(steps=120, tol=1e-9)
    step = steps(
        solvers["torchdeq"], problem, 1, forward=forward, backward=backward
    )[-1]
    truth = exact(step)
    assert relative(step.z, truth.z) < 1e-6
    assert relative(step.q, truth.q) < 1e-6
    assert error(step.grads, truth.grads) < 1e-6


@needs_torchdeq
@pytest.mark.parametrize("k, tau", [(1, 1.0), (5, 1.0), (4, 0.5)])
def test_phantom_gradients_are_the_same_series(k, tau, solvers):
    settings = {"k": k, "tau": tau}
    ours, theirs = (
        steps(solvers[name], network(), 1, **settings | more)[-1]
        for name, more in (
            ("Phantom", {}), ("torchdeq", {"backward": "phantom"}),
        )
    )
    truth = exact(ours)
    vjp = TransposedJacobian(ours.equation.g, truth.z)
    term, q = tau * vjp(truth.q), 0
    for _ in range(k):
        q, term = q + term, term - tau * vjp(term)
    assert relative(q, truth.q) > 1e-3  # the series is far from its limit
    assert relative(ours.q, q) < 1e-9
    assert relative(theirs.q, q) < 1e-9


@needs_torchdeq
def test_torchdeq_unrolls_that_series_itself(solvers):
    # what its own layer makes of the same equation, k = 4, tau = 0.5
    theta, z = network().start()
    theta = tuple(t.requires_grad_() for t in theta)
    equation = network().draw(theta, z, 1)
    layer = torchdeq.get_deq(
        f_solver="broyden", f_max_iter=60, f_tol=1e-11, grad=4, tau=0.5
    )
    (out,), _ = layer(lambda z: z - equation.g(z), equation.start)
    grads = torch.autograd.grad(equation.loss(out), theta)
    step = steps(
        solvers["torchdeq"], network(), 1, backward="phantom", k=4, tau=0.5
    )[-1]
    assert error(step.grads, grads) < 1e-8


@needs_torchdeq
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("atol", [1e-8, torch.tensor([1e-2, 1e-8, 1e-1])])
def test_torchdeq_stops_at_the_tolerance_of_all(solver, atol):
    problem = Tanh([0.3, 0.6, 0.8])
    root = TorchDEQ(solver, 200)(problem.equation(), atol=atol)
    assert root.converged
    assert bool((root.residuals < 1e-8).all())
    # no more than it takes: the worst sample was not there a step ago
    assert float(root.residuals.max()) > 1e-10
    assert bool((problem.g(root.z).norm(dim=1) < 1e-8).all())


@needs_torchdeq
@pytest.mark.parametrize("solver", SOLVERS)
def test_evaluations_in_torchdeq_are_counted(solver):
    problem = Tanh([0.3, 0.6])
    root = TorchDEQ(solver, 7)(problem.equation())
    assert root.n_g == problem.n_calls > 5
    assert not root.converged
    # backwards the first residual, at zero, is known without a product
    vjp, products = counted(
        lambda v: times(problem.jacobian(root.z).mT, v)
    )
    system = AdjointSystem(
        vjp, problem.rhs(root.z), root.inverse, root.z, None,
        1e-9,  # its Broyden goes on to NaN where there is none
    )
    q = QuasiNewtonSolve(TorchDEQ(solver, 200))(system)
    assert 10 < len(products) < 200
    truth = torch.linalg.solve(problem.jacobian(root.z).mT, system.rhs)
    assert relative(q, truth) < 1e-6


@needs_torchdeq
def test_torchdeq_as_it_is_is_jacobian_free(solvers):
    problem = network()
    step = steps(solvers["torchdeq-defaults"], problem, 1)[-1]
    assert float(step.equation.g(step.z).detach().norm(dim=1).max()) < 1e-3
    # one step on from the root, its loss is that of the root to the tolerance
    free = exact(step)
    root = SimpleNamespace(z=free.z, inverse=None)
    free = hypergradient(
        step.equation, step.theta, root, lambda system: system.rhs
    )
    assert step.value == pytest.approx(free.value, rel=1e-3)
    assert error(step.grads, free.grads) < 1e-2
    assert error(step.grads, exact(step).grads) > 5e-2


@pytest.mark.skipif(
    find_spec("banax") is None, reason="pip install banax (Python 3.12)"
)
@pytest.mark.parametrize("n", [1, 3, 6])
def test_gdeq_of_banax_is_shine_with_broyden(n):
    import equinox
    import jax
    from banax.adjoint import GDEQ
    from banax.solver import Broyden as Banax

    problem = Tanh([C])
    problem.b.requires_grad_()
    equation = problem.equation()
    root = Broyden(n, n)(equation)
    ours = hypergradient(equation, (problem.b,), root, Shine())
    with double(jax):
        A, b, start, weights = (
            jax.numpy.asarray(t.detach().numpy()[0])
            for t in (problem.A, problem.b, problem.first, problem.weights)
        )
        layer = GDEQ(Banax(
            rtol=0.0, max_steps=n, history_size=n, spectral_clip=None
        ))

        def loss(b):
            found = layer((lambda z, b: jax.numpy.tanh(A @ z + b), b), start)
            z = found.value
            return weights @ z + 0.5 * z @ z, z

        (value, z), grad = equinox.filter_value_and_grad(
            loss, has_aux=True
        )(b)
    assert relative(root.z[0], torch.tensor(np.asarray(z))) < 1e-8
    assert float(value) == pytest.approx(ours.value, rel=1e-8)
    theirs = torch.tensor(np.asarray(grad))
    # banax adds 1e-12 to each denominator
    assert relative(theirs, ours.grads[0][0]) < 1e-6


@needs_torchdeq
def test_torchdeq_starts_where_it_is_told():
    start = torch.ones(2, 12, dtype=torch.float64)
    problem = Linear([0.3, 0.6], start=start)
    TorchDEQ("broyden", 3)(problem.equation())
    assert torch.equal(problem.places[0], start)


@needs_torchdeq
def test_torchdeq_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="rtol: .*0.1"):
        TorchDEQ()(Linear([0.3]).equation(), rtol=0.1)
    with pytest.raises(ValueError, match="max_iter: .*0"):
        TorchDEQ(max_iter=0)


def test_a_missing_library_is_named(monkeypatch, solvers):
    # what such a run costs the others: see test_rivals.py
    monkeypatch.setitem(sys.modules, "torchdeq", None)
    with pytest.raises(ImportError, match="torchdeq: not installed: pip inst"):
        solvers["torchdeq"].is_installed(raise_on_not_installed=True)
    assert solvers["SHINE"].is_installed()


# --------------------------------------------------------------- unrolled


def test_unrolled_gradient_is_that_of_the_unrolled_loss(solvers):
    problem = network()
    *_, step = steps(solvers["Unrolled-network"], problem, 1, n_layers=4)
    move = [torch.randn(t.shape, dtype=t.dtype) for t in step.theta]

    def loss(h):
        theta = [t.detach() + h * m for t, m in zip(step.theta, move)]
        equation = problem.draw(theta, step.z, 1)
        with torch.no_grad():
            return float(equation.loss(steps_of(equation, 4)))

    assert step.value == pytest.approx(loss(0), rel=1e-14)
    slope = sum(float((g * m).sum()) for g, m in zip(step.grads, move))
    h = 1e-6
    assert slope == pytest.approx((loss(h) - loss(-h)) / (2 * h), rel=1e-7)


def test_unrolled_gradient_converges_like_the_contraction(solvers):
    errors = []
    for n in (10, 20, 30):
        step = steps(
            solvers["Unrolled-network"], network(), 1, n_layers=n
        )[-1]
        errors.append(error(step.grads, exact(step).grads))
    # n cⁿ at most; and it does not fall faster than (c/2)ⁿ
    for n, (before, after) in zip((10, 20), zip(errors, errors[1:])):
        assert (C / 2) ** 10 < after / before < (n + 10) / n * C ** 10
    assert errors[0] < 10 * C ** 10


@pytest.mark.parametrize("name, settings", [
    ("Phantom", {}), ("Unrolled-network", {"n_layers": 6}),
    ("Phantom", {"form": "unrolled", "k": 3}), ("Reversible", {"steps": 4}),
    pytest.param("torchdeq", {}, marks=needs_torchdeq),
    pytest.param("torchdeq-defaults", {}, marks=needs_torchdeq),
    pytest.param("torchdeq", {"forward": "anderson", "backward": "phantom"},
                 marks=needs_torchdeq),
])
def test_counts_of_a_run_are_the_true_ones(
    name, settings, solvers, monkeypatch
):
    calls, products = [], []
    plain_f = BoundNetwork._f

    def f(self, z, *inputs):
        calls.append(z)
        out = plain_f(self, z, *inputs)
        if z.requires_grad:
            out.register_hook(products.append)
        return out

    monkeypatch.setattr(BoundNetwork, "_f", f)
    found = points(solvers[name], network(steps=20), 3, **settings)
    assert [point.totals.n_outer for point in found] == [0, 1, 2, 3]
    totals = found[-1].totals
    assert totals.n_g == len(calls)
    assert totals.n_vjp == len(products)
    if name == "Unrolled-network":
        assert (totals.n_g, totals.n_vjp) == (18, 15)
    if name == "Phantom":
        assert totals.n_vjp == (6 if settings else 12)
    if name == "Reversible":
        assert (totals.n_g, totals.n_vjp) == (48, 21)


def test_times_of_unrolled_networks_are_differences(solvers, monkeypatch):
    ticks = itertools.count(9)
    monkeypatch.setattr(unrolled, "clock", lambda like: float(next(ticks)))
    *_, (_, totals, _) = points(solvers["Unrolled-network"], network(), 3)
    assert (totals.forward_time, totals.backward_time) == (3, 3)


def steps_of(equation, n):
    z = equation.start
    for _ in range(n):
        z = z - equation.g(z)
    return z


def test_the_rest_of_a_network_is_derived_once(monkeypatch):
    """Stem and weights, through however many applications of f."""
    calls = []
    plain = SmallDEQ.effective

    def effective(self, weights):
        calls.append(1)
        return plain(self, weights)

    monkeypatch.setattr(SmallDEQ, "effective", effective)
    theta, z = network().start()
    theta = tuple(t.requires_grad_() for t in theta)
    equation = network().draw(theta, z, 1)
    assert len(calls) == 1
    torch.autograd.grad(equation.loss(steps_of(equation, 9)), theta)
    assert len(calls) == 1  # the graph of the first time is derived
    torch.autograd.grad(equation.loss(steps_of(equation, 9)), theta)
    assert len(calls) == 2  # which that has freed


def test_counted_counts_derivatives_in_z_only():
    theta = torch.tensor([2.0], requires_grad=True)
    g = Counted(lambda z: theta * z)
    z = torch.ones(1)
    torch.autograd.grad(g(z).sum(), theta)
    assert (g.n_g, g.n_vjp) == (1, 0)
    z.requires_grad_()
    out = g(z)
    for _ in range(3):
        torch.autograd.grad(out, z, torch.ones(1), retain_graph=True)
    assert (g.n_g, g.n_vjp) == (2, 3)


@pytest.mark.parametrize("name", [
    "Phantom", "torchdeq", "torchdeq-defaults", "Unrolled-network",
    "Reversible",
])
def test_rivals_of_networks_leave_bilevel_problems(name, solvers):
    skipped, told = solvers[name].get_instance().skip(model("ridge"), 3, 1)
    assert skipped and told.startswith(f"{name}: ")


def test_phantom_of_the_unrolled_is_scored_at_its_last_layer(solvers):
    solver = solvers["Unrolled-network"].get_instance(n_layers=7)
    method = solver.method(network(), 9)
    assert method.adjoint == Phantom(7, 1.0)
    assert method.find_root == FixedPoint(7)


def test_the_last_step_is_a_hypergradient(solvers):
    # what the objective compares is what the run has used
    step = steps(solvers["Phantom"], network(), 1)[-1]
    again = hypergradient(
        step.equation, step.theta, step.root, Phantom(5, 1.0)
    )
    assert math.isclose(again.value, step.value)
    assert error(again.grads, step.grads) < 1e-12
