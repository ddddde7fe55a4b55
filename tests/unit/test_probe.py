"""Methods measured on a network's probe, and the memory that they need."""
import pytest
import torch

from benchmark_shine.adjoint import (
    Gmres, JacobianFree, QuasiNewtonSolve, Shine,
)
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.evaluate import compare, reference
from benchmark_shine.evaluate.networks import probe
from benchmark_shine.evaluate.reference import n_affordable
from benchmark_shine.outer import GradientOptimizer
from benchmark_shine.root import Broyden

from helpers.problems import method, network


def last_step(problem, finder, adjoint):
    outer = GradientOptimizer(
        torch.optim.Adam, tol=1e-10, decay=1.0, atol=1e-11
    )
    method = Method(RootAndAdjoint(finder, adjoint), outer, 1)
    return list(method.run(problem))[-1].step


def test_networks_report_their_peak():
    problem = network()
    step = last_step(problem, Broyden(60, 61), Shine())

    def peak(finder, adjoint):
        return compare(problem, step, method(finder, adjoint))["peak_memory"]

    small, large = (peak(Broyden(m, 61), JacobianFree()) for m in (20, 60))
    unit = 8 * 8 * 10  # float64, eight samples of ten entries
    assert large - small >= 2 * 40 * unit
    assert peak(Broyden(20, 61), JacobianFree()) == small
    # the backward pass has pairs of its own
    original = QuasiNewtonSolve(Broyden(90, 91))
    assert peak(Broyden(20, 61), original) - small >= 2 * 60 * unit


def test_the_reference_keeps_to_its_bytes(monkeypatch):
    problem, finder = network(), Broyden(60, 60)
    vectors = reference.STEPS + 1
    step = last_step(problem, finder, Shine())
    plain = compare(problem, step, method(finder, Shine()))
    for n, expected in (0, 1), (3, 3), (100, 8):
        monkeypatch.setattr(reference, "BASIS", n * vectors * 10 * 8)
        equation = probe(problem, step.theta)
        assert len(equation.start) == expected
        found = compare(problem, step, method(finder, Shine()))
        assert found["q_cosine_median"] > 0.3
        # of other samples
        assert (found["q_cosine"] == plain["q_cosine"]) == (expected == 8)


@pytest.mark.parametrize("d, n", [
    (64, 10_459), (30_720, 21), (61_440, 10), (188_160, 3), (10 ** 9, 1),
])
def test_how_many_samples_the_reference_can_afford(d, n):
    assert n_affordable(d) == n
    assert n == 1 or n * d * 8 * (reference.STEPS + 1) <= 2 * 2 ** 30


def test_the_method_is_measured_in_its_own_precision():
    problem, asked = network(dtype=torch.float32), []
    step = last_step(problem, Broyden(9, 9), Shine())

    def adjoint(system):
        asked.append(system.rhs.dtype)
        return Shine()(system)

    compare(problem, step, method(Broyden(9, 9), adjoint))
    assert asked == [torch.float32]


def test_samples_without_a_reference_are_left_out(monkeypatch):
    problem, finder = network(d=40, contraction=0.95), Broyden(60, 60)
    step = last_step(problem, finder, Shine())
    whole = compare(problem, step, method(finder, JacobianFree()))
    assert whole["q_solved"] == 1
    seen = []
    for steps in 20, 32, 34, 36, 40:
        monkeypatch.setattr(reference, "STEPS", steps)
        found = compare(problem, step, method(finder, JacobianFree()))
        seen.append(found["q_solved"])
        assert ("q_cosine" in found) == (found["q_solved"] > 0)
        assert "hypergrad_rel_error" not in found or found["q_solved"] == 1
        if found["q_solved"] > 0.5:
            assert found["q_cosine"] == pytest.approx(
                whole["q_cosine"], abs=0.2
            )
    assert seen == sorted(seen) and seen[0] == 0 and len(set(seen)) > 2


def test_the_reference_agrees_with_an_exact_method():
    problem, finder = network(), Broyden(60, 60)
    step = last_step(problem, finder, Shine())
    exact = compare(problem, step, method(finder, Gmres(tol=1e-12)))
    assert exact["q_rel_error"] < 1e-6
    assert exact["hypergrad_rel_error"] < 1e-6


class Remembers:
    """An adjoint that keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, system):
        self.asked.append(system.rhs)
        return system.rhs


def test_an_adjoint_with_a_memory_is_not_disturbed():
    problem, finder, adjoint = network(), Broyden(20, 20), Remembers()
    step = last_step(problem, finder, adjoint)
    before = list(adjoint.asked)
    found = compare(problem, step, method(finder, adjoint))
    assert len(adjoint.asked) == len(before) == 1
    assert adjoint.asked[0] is before[0]
    assert found == compare(problem, step, method(finder, JacobianFree())) | {
        "peak_memory": found["peak_memory"]
    }
