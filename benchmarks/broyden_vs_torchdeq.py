"""Our Broyden against torchdeq's: time and peak memory of one solve.

    make rivals
    .venv/bin/python -m benchmarks.broyden_vs_torchdeq

The same function, start, number of steps and stopping rule (each sample's
2-norm below ``--tol``; 0: all steps), one thread.  With a tolerance torchdeq
goes on until all samples meet it at once; ours drops each that does.

Times alternate in one process, after a warm-up; torchdeq allocates its memory
in each solve and ours takes over the last one's, as in a training loop.  Peak
memory is the growth of the resident set in a fresh process, which has
evaluated f before; glibc is told to hand all larger blocks back at once, or
the figure would be that of its heap's holes (another 5 to 50 %, most of it
torchdeq's).
"""
import argparse
import os
import statistics
import subprocess
import sys
import time
from types import SimpleNamespace

import torch
from torch.nn.functional import conv2d, group_norm
from torchdeq.solver import broyden_solver

from benchmark_shine.root import Broyden
from benchmark_shine.timing import peak_kib

CHANNELS, SIDE, GROUPS, HIDDEN = 24, 36, 8, 48
D = CHANNELS * SIDE * SIDE


def make_f(batch):
    """A small convolutional equilibrium layer on rows of (n, D).

    f(z) = GN(relu(z + GN(x + c₂ * GN(relu(c₁ * z))))), with random weights.

    Returns
    -------
    callable, (Tensor (n, D), Tensor (n, D)) -> Tensor (n, D)
        The layer, from the state and the input x.
    Tensor, shape (batch, D)
        A random x.
    """
    torch.manual_seed(0)
    c1 = 0.05 * torch.randn(HIDDEN, CHANNELS, 3, 3)
    c2 = 0.05 * torch.randn(CHANNELS, HIDDEN, 3, 3)

    def f(z, x):
        z, x = (t.view(-1, CHANNELS, SIDE, SIDE) for t in (z, x))
        h = group_norm(conv2d(z, c1, padding=1).relu_(), GROUPS)
        h = group_norm(x + conv2d(h, c2, padding=1), GROUPS)
        return 0.7 * group_norm((z + h).relu_(), GROUPS).flatten(1)

    return f, torch.randn(batch, D)


def solvers(options):
    """Each side's solve, () -> worst residual norm over the samples, steps."""
    f, x = make_f(options.batch)
    start = torch.zeros_like(x)
    equation = SimpleNamespace(
        g=lambda z: z - f(z, x), start=start,
        restrict=lambda i: lambda z, x_i=x[i]: z - f(z, x_i),
    )
    finder = Broyden(memory=options.memory, max_iter=options.steps)
    last = [None]

    def ours():
        root = last[0] = finder(
            equation, atol=options.tol, warm_start=last[0]
        )
        return float(root.residuals.max()), root.n_iter

    def theirs():
        _, _, info = broyden_solver(
            lambda z: f(z, x), start, max_iter=options.steps,
            tol=options.tol, LBFGS_thres=options.memory,
        )
        # the lowest residual's step, counted from 1
        return float(info["abs_lowest"].max()), int(info["nstep"].max())

    def only_f():
        for _ in range(options.steps + 1):
            f(start, x)

    return {"ours": ours, "torchdeq": theirs, "f": only_f}


def peak(options):
    """Growth of the peak resident set over one solve, MiB."""
    solve = solvers(options)[options.peak]
    f, x = make_f(options.batch)
    f(x, x)
    before = peak_kib()
    solve()
    return (peak_kib() - before) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=22)
    parser.add_argument("--memory", type=int, default=22)
    parser.add_argument("--tol", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", choices=["ours", "torchdeq"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if options.peak:
        print(peak(options))
        return
    runs = solvers(options)
    for name in ("ours", "torchdeq"):
        print(f"{name}: worst residual, steps = {runs[name]()}")
    seconds = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, solve in runs.items():
            began = time.process_time()
            solve()
            seconds[name].append(time.process_time() - began)
    best = {name: min(values) for name, values in seconds.items()}
    middle = {name: statistics.median(v) for name, v in seconds.items()}
    mib = {
        name: float(subprocess.run(
            [sys.executable, "-m", "benchmarks.broyden_vs_torchdeq",
             *sys.argv[1:], "--peak", name],
            check=True, capture_output=True, text=True,
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        ).stdout)
        for name in ("ours", "torchdeq")
    }
    print(f"B = {options.batch}, D = {D}, m = {options.memory}, "
          f"{options.steps} steps, tol = {options.tol}")
    print(f"CPU seconds, best: {best}")
    for name, of in (("best", best), ("median", middle)):
        print(f"time, torchdeq / ours ({name}): "
              f"{of['torchdeq'] / of['ours']:.2f}")
    if not options.tol:  # all samples make all steps on both sides
        outside = {name: best[name] - best["f"] for name in mib}
        print("time outside f, torchdeq / ours: "
              f"{outside['torchdeq'] / outside['ours']:.2f}")
    print(f"peak MiB: {mib}")
    print(f"peak, ours / torchdeq: {mib['ours'] / mib['torchdeq']:.2f}")


if __name__ == "__main__":
    main()
