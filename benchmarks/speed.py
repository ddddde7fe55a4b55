"""What the suite's own work costs, against the floor of what it must read.

    python -m benchmarks.speed                  all of it, 5 to 15 minutes
    python -m benchmarks.speed inner lbfgs      some sections

Sections: ``inner`` (value and gradient against its two sparse products),
``lbfgs`` (direction against four products with an (m, d) matrix; memory),
``broyden`` (a step against one pass over its factors), ``runs`` (30 outer
steps on 20 newsgroups, alternating with SciPy's compiled L-BFGS-B on SciPy's
CSR products, the authors' forward solver), ``overhead`` and ``growth`` (see
benchmarks/overhead.py, growth.py).  Needs 20 newsgroups in scikit-learn's
cache, for which ``benchopt prepare . -d 20news`` is the command.

Everything is a ratio of medians of calls that alternate in one process: the
machine's mood hits both sides.  One thread is timed in CPU seconds, two in
wall-clock seconds; two want an idle machine.
"""
import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.datasets import fetch_20newsgroups_vectorized
from threadpoolctl import threadpool_limits

from benchmark_shine import growth, overhead
from benchmark_shine.adjoint import ConjugateGradient, Shine, at_root
from benchmark_shine.data.tables import split
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.implicit import TransposedJacobian
from benchmark_shine.operators import rows_times
from benchmark_shine.outer import Hoag, from_now
from benchmark_shine.problems import Logistic
from benchmark_shine.root import LBFGS, Broyden
from benchmark_shine.root.lbfgs_inverse import LBFGSInverse
from benchmark_shine.timing import medians, peak_kib


def row(label, seconds, floor, floor_label):
    """One line of the table, milliseconds and their ratio."""
    print(f"{label:<40} {1e3 * seconds:>9.3f}  {1e3 * floor:>9.3f}  "
          f"{seconds / floor:>6.2f}  {floor_label}", flush=True)


def head(label):
    print(f"\n{label:<40} {'ms':>9}  {'floor, ms':>9}  {'ratio':>6}")


def newsgroups():
    """The problem of figure 1, seed 0, and its training part for SciPy."""
    X, y = fetch_20newsgroups_vectorized(
        subset="all", return_X_y=True, download_if_missing=False
    )
    parts = split(X, np.where(y < 10, -1, 1), 0)
    X, y = parts[0]
    X.indices, X.indptr = X.indices.astype("i4"), X.indptr.astype("i4")
    return Logistic(*parts, seed=0, scale=1.0), X, y.astype(float)


# Outer loss at the optimum of this problem, by tight solves on a grid of theta
OPTIMUM = 85.6611


def clock_of(threads):
    return time.process_time if threads == 1 else time.perf_counter


def inner(threads):
    problem, X_scipy, _ = newsgroups()
    theta, z = problem.start()
    equation = problem.draw(theta, z, 1)
    X = problem.train.X
    r = torch.randn(X.shape[0], dtype=z.dtype)
    vjp = TransposedJacobian(equation.g, z / 100)
    calls = {
        "X z": lambda: X @ z, "Xᵀ r": lambda: X.T @ r,
        "SciPy": lambda: (X_scipy @ z.numpy(), X_scipy.T @ r.numpy()),
        "energy": lambda: equation.energy(z), "vjp": lambda: vjp(z),
    }
    found = medians(calls, 40, clock_of(threads))
    floor = found["X z"] + found["Xᵀ r"]
    row("value and gradient", found["energy"], floor, "X z and Xᵀ r")
    row("product with Jᵀ", found["vjp"], floor, "X z and Xᵀ r")
    row("X z and Xᵀ r by torch", floor, found["SciPy"], "by SciPy CSR")


def lbfgs(threads, m=60, d=130_107):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    v, B = normal(d), LBFGSInverse(m, normal(d))
    for _ in range(m + 5):
        s = normal(d)
        B.push(s, s * (1 + normal(d) ** 2))
    S, Y, c, products = normal(m, d), normal(m, d), normal(m), B.project(v)

    def step():
        direction = B.combine(v, products)
        B.push(s, direction, products=B.project(v) - products)
        B.refresh(products, v)

    found = medians({
        "four": lambda: (S @ v, Y @ v, S.T @ c, Y.T @ c),
        "@": lambda: B @ v, "step": step,
    }, 30, clock_of(threads))
    label = f"L-BFGS, m = {m}"
    row(f"{label}, direction", found["@"], found["four"], "S v, Y v, Sᵀc, Yᵀc")
    row(f"{label}, direction and pair", found["step"], found["four"],
        "S v, Y v, Sᵀc, Yᵀc")


def memory_of_a_solve(m=60):
    """Growth of the peak resident set over one solve, over m d doubles.

    Before it z, its equation and one evaluation are there already.
    """
    problem, *_ = newsgroups()
    theta, z = problem.start()
    equation = problem.draw(theta, z, 1)
    equation.energy(z)
    before = peak_kib()
    LBFGS(memory=m, max_iter=m + 5)(equation)
    return (peak_kib() - before) * 1024 / (8 * m * len(z))


def broyden(threads, batch=32, d=31_104, steps=22):
    """Time outside g of one solve, over one pass over its rows a step."""
    torch.manual_seed(0)
    x = torch.randn(batch, d)

    def rows_of(i):
        x_i = x[i]
        return lambda z: z - 0.9 * torch.sin(z + x_i)

    g = rows_of(slice(None))
    equation = SimpleNamespace(
        g=g, start=torch.zeros_like(x), restrict=rows_of
    )
    finder = Broyden(memory=steps, max_iter=steps)
    rows, v, last = torch.randn(batch, steps, d), x, [None]

    def solve():
        last[0] = finder(equation, warm_start=last[0])

    solve()
    found = medians({
        "solve": solve,
        "g": lambda: [g(x) for _ in range(steps + 1)],
        "pass": lambda: [
            rows_times(rows[:, :k], v) for k in range(1, steps + 1)
        ],
    }, 7, clock_of(threads))
    row(f"Broyden, B = {batch}, {steps} steps, without g",
        found["solve"] - found["g"], found["pass"],
        "one pass over its rows a step")


class Converged(Exception):
    """Ends SciPy's solver where the tolerance is met."""


def compiled(X, y, equation, weight, tol):
    """The same solve by L-BFGS-B on SciPy CSR: its number of evaluations."""
    n_calls = 0

    def value_and_gradient(z):
        nonlocal n_calls
        n_calls += 1
        margin = y * (X @ z)
        gradient = X.T @ (-y * expit(-margin)) + weight * z
        if np.linalg.norm(gradient) <= tol:
            raise Converged
        value = np.logaddexp(0, -margin).sum() + 0.5 * weight * (z @ z)
        return value, gradient

    try:
        minimize(
            value_and_gradient, equation.start.numpy(), jac=True,
            method="L-BFGS-B",
            options={"maxcor": 30, "maxiter": 1000, "maxfun": 10_000,
                     "ftol": 0.0, "gtol": 0.0},
        )
    except Converged:
        pass
    return n_calls


def whole_run(name, adjoint, memory, decay):
    """30 outer steps, the published protocol; each solve also by SciPy."""
    problem, X, y = newsgroups()
    r, clock = torch.randn(X.shape[0], dtype=torch.float64), time.process_time
    seconds = {"ours": 0.0, "theirs": 0.0, "backward": 0.0}
    n_calls = {"ours": 0, "theirs": 0}
    products = {"torch": [], "SciPy": []}
    finder, best = LBFGS(memory=memory), {}

    def timed(equation, atol, rtol, previous):
        began = clock()
        root = finder(equation, atol, rtol, previous)
        seconds["ours"] += clock() - began
        n_calls["ours"] += root.n_g
        tol = max(atol, rtol * root.first_residual)
        weight = float(problem.penalty(theta).detach())
        began = clock()
        n_calls["theirs"] += compiled(X, y, equation, weight, tol)
        seconds["theirs"] += clock() - began
        found = medians({
            "torch": lambda: (problem.train.X @ root.z, problem.train.X.T @ r),
            "SciPy": lambda: (X @ root.z.numpy(), X.T @ r.numpy()),
        }, 1)
        for name, value in found.items():
            products[name].append(value)
        return root

    def timed_adjoint(system):
        began = clock()
        q = adjoint(system)
        seconds["backward"] += clock() - began
        return q

    draw = problem.draw

    def drawn(new_theta, z, k):
        nonlocal theta
        theta = new_theta
        return draw(new_theta, z, k)

    theta, problem.draw = None, drawn
    outer = Hoag(decay=decay, anchor=from_now, moves=2)
    parts = RootAndAdjoint(timed, timed_adjoint)
    for step, totals, _ in Method(parts, outer, 30).run(problem):
        for within in (10.0, 1.0, 0.1):
            if step.value < OPTIMUM + within and within not in best:
                best[within] = (totals.n_g, totals.n_vjp)
    floor = {name: statistics.median(s) for name, s in products.items()}
    each = {name: seconds[name] / n_calls[name] for name in n_calls}
    row(f"{name}: forward, an evaluation", each["ours"], floor["torch"],
        "two products by torch")
    row("", each["ours"], floor["SciPy"], "two products by SciPy CSR")
    row("", each["ours"], each["theirs"],
        "L-BFGS-B with SciPy CSR, an evaluation")
    if totals.n_vjp:
        row(f"{name}: backward, a product with Jᵀ",
            seconds["backward"] / totals.n_vjp, floor["torch"],
            "two products by torch")
    print(f"  {totals.n_g} evaluations of g, {n_calls['ours']} of them forward; "
          f"L-BFGS-B {n_calls['theirs']} on the same solves; {totals.n_vjp} "
          f"products with Jᵀ; last outer loss {step.value:.4f}")
    print("  (g, Jᵀ) when the outer loss is within 10, 1, 0.1 of the optimum: "
          + ", ".join(str(best.get(w, "-")) for w in (10.0, 1.0, 0.1)))


def runs():
    whole_run("SHINE", Shine(), 30, 0.78)
    whole_run("HOAG", ConjugateGradient(first=at_root), 10, 0.9)


SECTIONS = {"inner": inner, "lbfgs": lbfgs, "broyden": broyden}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sections", nargs="*",
        help=f"{', '.join(SECTIONS)}, runs, overhead, growth",
    )
    parser.add_argument("--output-dir", default="results")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # adjoints and products with Jᵀ switch gradients on for themselves
    torch.set_grad_enabled(False)
    if options.peak:
        print(memory_of_a_solve())
        return
    wanted = options.sections or [
        *SECTIONS, "runs", "overhead", "growth",
    ]
    sections = [SECTIONS[name] for name in SECTIONS if name in wanted]
    for threads in (1, 2) if sections else ():
        torch.set_num_threads(threads)
        head(f"threads: {threads}")
        for section in sections:
            section(threads)
    torch.set_num_threads(1)
    # SciPy's L-BFGS-B uses a BLAS of its own, whose idle threads spin: CPU
    # seconds would count them
    threadpool_limits(1, user_api="blas")
    if "lbfgs" in wanted:
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed", "--peak"], check=True,
            capture_output=True, text=True,
        ).stdout
        print(f"\nL-BFGS, m = 60: peak memory of a solve {float(found):.2f} "
              "m d doubles")
    if "runs" in wanted:
        head("20 newsgroups, 30 outer steps, 1 thread")
        runs()
    if "overhead" in wanted:
        print("\nOverhead of a run of 30 outer steps, 1 thread")
        overhead.main(newsgroups()[0])
    if "growth" in wanted:
        growth.main(Path(options.output_dir))


if __name__ == "__main__":
    main()
