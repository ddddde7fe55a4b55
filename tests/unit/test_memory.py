"""Bytes counted against bytes known."""
from dataclasses import replace

import pytest
import torch

from benchmark_shine.equation import Equation
from benchmark_shine.evaluate.memory import peak_memory
from benchmark_shine.root import AdjointBroyden, Anderson, Broyden

from helpers.batched_problems import normal

CPU = torch.device("cpu")
B, D = 8, 2_000
UNIT = 4 * B * D  # bytes of one float32 z of the batch
WEIGHTS = normal(0, D, dtype=torch.float32)
WIDE = Equation(
    lambda z: z - torch.tanh(WEIGHTS * z.roll(1, 1) + 1),
    lambda z: z.sum(), torch.zeros(B, D),
)


def test_tensors_count_from_their_making_to_their_end():
    def work():
        a = torch.ones(1_000)               # 4 kB
        b = torch.cat([a, a])               # 12
        del a                               # 8
        c = b.double()                      # 24
        del b, c                            # 0
        return torch.zeros(3_000).sum()     # 12, and a number

    result, n_bytes = peak_memory(work, CPU)
    assert float(result) == 0
    assert n_bytes == 24_000


def test_what_was_there_and_views_of_it_cost_nothing():
    before = torch.ones(100, 100)

    def work():
        rows = before.T[:10].detach().reshape(-1).requires_grad_()
        before.mul_(2)
        torch.add(before, 1, out=before)
        return rows.view(2, -1)

    _, n_bytes = peak_memory(work, CPU)
    # reshape had to copy ten columns
    assert n_bytes == 4 * 1_000


def test_what_a_backward_pass_saves_counts():
    x = torch.ones(1_000, requires_grad=True)

    def work(n):
        y = x
        for _ in range(n):
            y = y.exp()
        return torch.autograd.grad(y.sum(), x)[0]

    few, many = (peak_memory(lambda: work(n), CPU)[1] for n in (5, 25))
    assert many - few == 20 * 4_000


def test_work_that_fails_is_not_counted_for_ever():
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: torch.ones(9).sum() / (1 // 0), CPU)
    assert peak_memory(lambda: torch.ones(9), CPU)[1] == 36


def test_on_a_gpu_the_allocator_counts(monkeypatch):
    state = {"now": 100, "most": 900}
    fakes = {
        "reset_peak_memory_stats": lambda d: state.update(most=state["now"]),
        "memory_allocated": lambda d: state["now"],
        "max_memory_allocated": lambda d: state["most"],
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    found = peak_memory(lambda: state.update(most=130), torch.device("cuda"))
    assert found == (None, 30)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees_with_the_count():
    device = torch.device("cuda")

    def work():
        return torch.ones(1 << 20, device=device) + 1

    work()
    assert peak_memory(work, device)[1] == 8 << 20


@pytest.mark.parametrize("finder", [
    Broyden(10, 30), AdjointBroyden(10, 30), Anderson(10, 30),
], ids=lambda finder: type(finder).__name__)
def test_a_finder_holds_its_pairs(finder):
    def peak(memory):
        sized = replace(finder, memory=memory)
        root, n_bytes = peak_memory(lambda: sized(WIDE), CPU)
        assert root.n_iter > 20
        return n_bytes

    small, large = peak(10), peak(20)
    assert small >= 2 * 10 * UNIT
    more = large - small - 2 * 10 * UNIT
    # besides the pairs only matrices of (m, m)
    assert 0 <= more <= 40 * 4 * B * 20 ** 2
    assert peak(10) == small


def test_steps_alone_take_half_the_memory():
    steps, pairs = (
        peak_memory(lambda: Broyden(20, max_iter)(WIDE), CPU)[1]
        for max_iter in (20, 21)
    )
    assert pairs >= 40 * UNIT
    # the steps themselves, z, its best and its next, g and what f needs
    assert steps < 27 * UNIT
    assert 19 * UNIT < pairs - steps < 22 * UNIT
