"""Cost as the problem grows: time against nnz, d, m and batch, one thread.

Each point is the CPU time of an outer step's solve with a fixed number of
iterations, the median of five, divided by that number.
"""
import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmark_shine.adjoint import Shine
from benchmark_shine.data.simulate import text
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.implicit import hypergradient
from benchmark_shine.problems import Logistic
from benchmark_shine.root import LBFGS, Broyden

from .pieces import quadratic, sine
from .frame import ratio, sample

ITERATIONS, REPEATS = 10, 5
LABELS = {
    "nnz": "non-zeros of X", "d": "unknowns d (m = 10)",
    "m": "pairs m (d = 30,000)", "batch": "batch B (D = 20,000)",
}


def timed(solve):
    """Measure the median CPU seconds of a call, after one that warms up."""
    return np.median(sample({"": solve}, REPEATS)[""])


def outer_step(n_samples):
    """Measure SHINE's first outer step: nnz, and seconds per iteration."""
    X, y = text(n_samples, 10_000, seed=0)
    some = slice(0, 50)
    problem = Logistic((X, y), (X[some], y[some]), (X[some], y[some]))
    (theta,), z = problem.start()
    theta = (theta.requires_grad_(),)
    finder, last = LBFGS(memory=3, max_iter=ITERATIONS, scale=1.0), [None]

    def solve():
        equation = problem.draw(theta, z, 1)
        last[0] = finder(equation, warm_start=last[0])
        hypergradient(equation, theta, last[0], Shine())

    seconds = timed(solve)
    return X.nnz, seconds / last[0].n_iter


def lbfgs(d, m):
    """Measure the seconds per iteration of L-BFGS with a full memory."""
    equation = quadratic(d)
    last = [LBFGS(memory=m, max_iter=m + 2, scale=1e-2)(equation)]
    finder = LBFGS(memory=m, max_iter=ITERATIONS, scale=1e-2, keep_pairs=True)

    def solve():
        last[0] = finder(equation, warm_start=last[0])

    seconds = timed(solve)
    assert len(last[0].inverse) == m
    return seconds / ITERATIONS


def batched(batch, d=20_000, steps=6):
    """Measure the seconds per step of Broyden's method in a batch."""
    equation, last = sine(batch, d), [None]
    finder = Broyden(memory=steps, max_iter=steps)

    def solve():
        last[0] = finder(equation, warm_start=last[0])

    return timed(solve) / steps


def measure():
    """Measure the table: columns quantity, size, seconds, fingerprint."""
    rows = []
    # below, vectors and calls take as long as the products
    for n_samples in (20_000, 40_000, 80_000, 160_000, 320_000):
        rows.append(("nnz", *outer_step(n_samples)))
    # below 200,000 the pairs fit a core's caches, and cost less than memory
    for d in (200_000, 400_000, 800_000, 1_600_000, 3_200_000, 6_400_000):
        rows.append(("d", d, lbfgs(d, 10)))
    for m in (10, 20, 40, 80, 160, 320):
        rows.append(("m", m, lbfgs(30_000, m)))
    for batch in (2, 4, 8, 16, 32, 64):
        rows.append(("batch", batch, batched(batch)))
    table = pd.DataFrame(rows, columns=["quantity", "size", "seconds"])
    return table.assign(fingerprint=fingerprint())


def exponent(table):
    """Fit slope and intercept of log seconds against log size."""
    return np.polyfit(np.log(table["size"]), np.log(table["seconds"]), 1)


def draw(table, path):
    """Draw a panel per quantity: points and fitted power law."""
    figure = Figure(figsize=(6.8, 2.0), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(LABELS))
    for axis, (name, label) in zip(axes, LABELS.items()):
        part = table[table["quantity"] == name]
        slope, offset = exponent(part)
        size = part["size"].to_numpy(float)
        axis.loglog(size, np.exp(offset) * size ** slope * 1e3, color="0.6")
        axis.loglog(size, 1e3 * part["seconds"], "o", ms=3, color="#0072B2")
        axis.set_title(f"exponent {slope:.2f}", fontsize=8)
        axis.set_xlabel(label, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.set_xticks(size[::2], [
            EngFormatter(sep="")(float(f"{x:.2g}")) for x in size[::2]
        ])
        axis.minorticks_off()
    axes[0].set_ylabel("ms an iteration", fontsize=8)
    figure.savefig(path)


def main(folder):
    """Write growth.csv and growth.png; return the exponents beside 1."""
    torch.set_num_threads(1)
    table = measure()
    table.to_csv(folder / "growth.csv", index=False)
    draw(table, folder / "growth.png")
    return [
        ratio(f"exponent of time in {LABELS[name]}", exponent(part)[0], 1.0,
              "proportional growth", "")
        for name, part in table.groupby("quantity", sort=False)
    ]
