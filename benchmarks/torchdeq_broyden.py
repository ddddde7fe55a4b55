"""Our Broyden beside torchdeq's: time and peak memory of one solve.

The same function, start and number of steps, in a batch; torchdeq (`make
rivals`) allocates its memory in each solve, ours takes over the last one's,
as in a training loop.
"""
from types import SimpleNamespace

import torch
from torch.nn.functional import conv2d, group_norm

from benchmark_shine.root import Broyden

from .timing import growth_of, head, in_fresh_process, medians, row

BATCH, STEPS = 32, 22
CHANNELS, SIDE, GROUPS, HIDDEN = 24, 36, 8, 48
D = CHANNELS * SIDE * SIDE


def layer():
    """Build a layer of random weights, and an input x (BATCH, D) of it.

    f(z) = GN(relu(z + GN(x + c₂ * GN(relu(c₁ * z))))).
    """
    torch.manual_seed(0)
    c1 = 0.05 * torch.randn(HIDDEN, CHANNELS, 3, 3)
    c2 = 0.05 * torch.randn(CHANNELS, HIDDEN, 3, 3)

    def f(z, x):
        z, x = (t.view(-1, CHANNELS, SIDE, SIDE) for t in (z, x))
        h = group_norm(conv2d(z, c1, padding=1).relu_(), GROUPS)
        h = group_norm(x + conv2d(h, c2, padding=1), GROUPS)
        return 0.7 * group_norm((z + h).relu_(), GROUPS).flatten(1)

    return f, torch.randn(BATCH, D)


def solves():
    """Build the calls: each side's solve, and its evaluations of f alone."""
    from torchdeq.solver import broyden_solver  # an optional library

    f, x = layer()
    start = torch.zeros_like(x)
    equation = SimpleNamespace(
        g=lambda z: z - f(z, x), start=start,
        restrict=lambda i: lambda z, x_i=x[i]: z - f(z, x_i),
    )
    finder, last = Broyden(memory=STEPS, max_iter=STEPS), [None]

    def ours():
        last[0] = finder(equation, warm_start=last[0])

    def theirs():
        broyden_solver(
            lambda z: f(z, x), start, max_iter=STEPS, tol=0.0,
            LBFGS_thres=STEPS,
        )

    def only_f():
        for _ in range(STEPS + 1):
            f(start, x)

    return {"ours": ours, "theirs": theirs, "f": only_f}


def peak(side):
    """Measure the MiB of one solve, f evaluated before."""
    torch.set_num_threads(1)
    with torch.no_grad():
        calls = solves()
        f, x = layer()
        f(x, x)
        return growth_of(calls[side])


def main(folder):
    """Print the table; write no file."""
    torch.set_num_threads(1)
    head(f"Broyden, B = {BATCH}, D = {D}, {STEPS} steps")
    calls = solves()
    for call in calls.values():
        call()
    found = medians(calls, 3)
    row("a solve", found["ours"], found["theirs"], "by torchdeq")
    row("a solve without f", found["ours"] - found["f"],
        found["theirs"] - found["f"], "by torchdeq")
    ours, theirs = (
        in_fresh_process("benchmarks.torchdeq_broyden", f"peak('{side}')")
        for side in ("ours", "theirs")
    )
    row("peak memory of a solve", ours, theirs, "by torchdeq", "MB")
