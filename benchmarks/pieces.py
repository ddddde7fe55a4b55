"""What the suite's own work costs, against the floor of what it must read."""
import time
from types import SimpleNamespace

import torch

from benchmark_shine.implicit import TransposedJacobian
from benchmark_shine.operators import rows_times
from benchmark_shine.root import LBFGS, Broyden
from benchmark_shine.root.lbfgs_inverse import LBFGSInverse

from . import newsgroups
from .timing import growth_of, head, in_fresh_process, medians, row

M = 60  # pairs of L-BFGS


def clock_of(threads):
    """Choose CPU seconds for one thread and wall-clock seconds for two."""
    return time.process_time if threads == 1 else time.perf_counter


def sine(batch, d):
    """Build an equation whose g costs next to nothing, (batch, d)."""
    x = torch.linspace(-3, 3, batch * d).view(batch, d)

    def restrict(i):
        x_i = x[i]
        return lambda z: z - 0.9 * torch.sin(z + x_i)

    return SimpleNamespace(
        g=restrict(slice(None)), start=torch.zeros_like(x), restrict=restrict
    )


def inner(threads):
    """Compare value and gradient with their two sparse products."""
    problem, X_scipy, _ = newsgroups.load()
    theta, z = problem.start()
    equation = problem.draw(theta, z, 1)
    X = problem.train.X
    r = torch.randn(X.shape[0], dtype=z.dtype)
    vjp = TransposedJacobian(equation.g, z / 100)
    found = medians({
        "X z": lambda: X @ z, "Xᵀ r": lambda: X.T @ r,
        "SciPy": lambda: (X_scipy @ z.numpy(), X_scipy.T @ r.numpy()),
        "energy": lambda: equation.energy(z), "vjp": lambda: vjp(z),
    }, 40, clock_of(threads))
    floor = found["X z"] + found["Xᵀ r"]
    row("value and gradient", found["energy"], floor, "X z and Xᵀ r")
    row("product with Jᵀ", found["vjp"], floor, "X z and Xᵀ r")
    row("X z and Xᵀ r by torch", floor, found["SciPy"], "by SciPy CSR")


def lbfgs(threads, d=130_107):
    """Compare the L-BFGS direction with four products of its size."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    v, B = normal(d), LBFGSInverse(M, normal(d))
    for _ in range(M + 5):
        s = normal(d)
        B.push(s, s * (1 + normal(d) ** 2))
    S, Y, c = normal(M, d), normal(M, d), normal(M)
    found = medians({
        "four": lambda: (S @ v, Y @ v, S.T @ c, Y.T @ c), "@": lambda: B @ v,
    }, 30, clock_of(threads))
    row(f"L-BFGS direction, {M} pairs", found["@"], found["four"],
        "S v, Y v, Sᵀc, Yᵀc")


def memory_of_a_solve():
    """Measure the MiB of one L-BFGS solve, beyond z and its equation."""
    problem, *_ = newsgroups.load()
    equation = problem.draw(*problem.start(), 1)
    equation.energy(equation.start)
    return growth_of(lambda: LBFGS(memory=M, max_iter=M + 5)(equation))


def broyden(threads, batch=32, d=31_104, steps=22):
    """Compare Broyden's steps, g left out, with one pass over its rows."""
    equation, last = sine(batch, d), [None]
    finder = Broyden(memory=steps, max_iter=steps)
    rows, z = torch.randn(batch, steps, d), torch.ones(batch, d)

    def solve():
        last[0] = finder(equation, warm_start=last[0])

    solve()
    found = medians({
        "solve": solve,
        "g": lambda: [equation.g(z) for _ in range(steps + 1)],
        "pass": lambda: [
            rows_times(rows[:, :k], z) for k in range(1, steps + 1)
        ],
    }, 7, clock_of(threads))
    row(f"Broyden, B = {batch}, {steps} steps, without g",
        found["solve"] - found["g"], found["pass"],
        "one pass over its rows a step")


def main(folder):
    """Print the table, for one thread and for two; write no file."""
    for threads in 1, 2:
        torch.set_num_threads(threads)
        head(f"pieces, threads: {threads}")
        for piece in inner, lbfgs, broyden:
            piece(threads)
    torch.set_num_threads(1)
    d = newsgroups.load()[0].start()[1].numel()
    row(f"peak memory of an L-BFGS solve, {M} pairs",
        in_fresh_process("benchmarks.pieces", "memory_of_a_solve()"),
        8 * M * d / 2 ** 20, "m d doubles", "MB")
