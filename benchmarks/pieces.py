"""What the suite's own work costs, against the floor of what it must read."""
import time
from dataclasses import replace
from types import SimpleNamespace

import torch

from benchmark_shine.equation import Equation
from benchmark_shine.evaluate.memory import peak_memory
from benchmark_shine.implicit import TransposedJacobian
from benchmark_shine.operators import rows_times
from benchmark_shine.root import LBFGS, Broyden
from benchmark_shine.root.lbfgs_inverse import LBFGSInverse

from . import newsgroups
from .frame import ratio, sample

M = 60  # pairs of L-BFGS


def sine(batch, d):
    """Build an equation whose g costs next to nothing, (batch, d)."""
    x = torch.linspace(-3, 3, batch * d).view(batch, d)

    def restrict(i):
        x_i = x[i]
        return lambda z: z - 0.9 * torch.sin(z + x_i)

    return SimpleNamespace(
        g=restrict(slice(None)), start=torch.zeros_like(x), restrict=restrict
    )


def quadratic(d):
    """Build an equation with an energy that costs next to nothing, (d,)."""
    curvature = torch.logspace(-2, 2, d, dtype=torch.float64)

    def energy(z):
        gradient = curvature * z
        return 0.5 * float(gradient @ z), gradient

    start = torch.ones(d, dtype=torch.float64)
    return Equation(lambda z: energy(z)[1], torch.sum, start, energy)


def inner(clock):
    """Compare value and gradient with their two sparse products."""
    problem, X_scipy, _ = newsgroups.load()
    theta, z = problem.start()
    equation = problem.draw(theta, z, 1)
    X = problem.train.X
    r = torch.randn(X.shape[0], dtype=z.dtype)
    vjp = TransposedJacobian(equation.g, z / 100)
    found = sample({
        "ours": lambda: (X @ z, X.T @ r),
        "SciPy": lambda: (X_scipy @ z.numpy(), X_scipy.T @ r.numpy()),
        "energy": lambda: equation.energy(z), "vjp": lambda: vjp(z),
    }, 40, clock)
    return [
        ratio("value and gradient", found["energy"], found["ours"],
              "X z and Xᵀ r"),
        ratio("product with Jᵀ", found["vjp"], found["ours"], "X z and Xᵀ r"),
        ratio("X z and Xᵀ r", found["ours"], found["SciPy"], "SciPy's CSR"),
    ]


def lbfgs(clock, d=130_107):
    """Compare the L-BFGS direction with four products of its size."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    v, B = normal(d), LBFGSInverse(M, normal(d))
    for _ in range(M + 5):
        s = normal(d)
        B.push(s, s * (1 + normal(d) ** 2))
    S, Y, c = normal(M, d), normal(M, d), normal(M)
    found = sample({
        "four": lambda: (S @ v, Y @ v, S.T @ c, Y.T @ c), "@": lambda: B @ v,
    }, 30, clock)
    return [ratio(f"L-BFGS direction, {M} pairs", found["@"], found["four"],
                  "S v, Y v, Sᵀc, Yᵀc")]


def broyden(clock, batch=32, d=30_720, steps=22):
    """Compare Broyden's steps, g left out, with one pass over its rows."""
    equation, last = sine(batch, d), [None]
    finder = Broyden(memory=steps, max_iter=steps)
    rows, z = torch.randn(batch, steps, d), torch.ones(batch, d)

    def solve():
        last[0] = finder(equation, warm_start=last[0])

    found = sample({
        "solve": solve,
        "g": lambda: [equation.g(z) for _ in range(steps + 1)],
        "pass": lambda: [
            rows_times(rows[:, :k], z) for k in range(1, steps + 1)
        ],
    }, 9, clock)
    return [ratio(f"Broyden, B = {batch}, {steps} steps, without g",
                  found["solve"] - found["g"], found["pass"],
                  "one pass over its rows a step")]


def memory():
    """Compare an L-BFGS solve's memory with its pairs."""
    equation = quadratic(130_107)
    finder = LBFGS(memory=M, max_iter=M + 5, scale=1e-2)
    _, n_bytes = peak_memory(lambda: finder(equation), torch.device("cpu"))
    return ratio(
        f"peak memory of an L-BFGS solve, {M} pairs", n_bytes / 2 ** 20,
        16 * M * equation.start.numel() / 2 ** 20, "its pairs", "MB",
    )


def main(folder):
    """Return the lines for one thread and for two; write no file."""
    lines = [memory()]
    for threads, clock in (1, time.process_time), (2, time.perf_counter):
        torch.set_num_threads(threads)
        for piece in inner, lbfgs, broyden:
            lines += [
                replace(line, what=f"{line.what}; threads: {threads}")
                for line in piece(clock)
            ]
    return lines
