"""How much of a run's end is its method's, how much its rounding's?

    python -m benchmarks.perturbed [--number 10]          10 to 20 minutes

SHINE and SHINE-refine in the published protocol, 30 outer steps on 20
newsgroups, seed 0, over and over, each time from a first z that differs by
1e-12, relatively: far less than anybody would call another start.
"""
import argparse

import torch

from benchmark_shine.adjoint import ConjugateGradient, Refine, Shine
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.outer import Hoag, from_now
from benchmark_shine.root import LBFGS
from benchmark_shine.speed import OPTIMUM, newsgroups

WITHIN = 10.0, 1.0, 0.1


def one_run(problem, adjoint, start):
    """What a run came to, as a line of text."""
    problem.start = lambda: start
    first, lowest = {}, float("inf")
    outer = Hoag(decay=0.78, anchor=from_now, moves=2)
    parts = RootAndAdjoint(LBFGS(memory=30), adjoint)
    for step, totals, _ in Method(parts, outer, 30).run(problem):
        lowest = min(lowest, step.value)
        for within in WITHIN:
            if step.value < OPTIMUM + within:
                first.setdefault(within, totals.n_g + totals.n_vjp)
    reached = "".join(f"{first.get(within, '-'):>6}" for within in WITHIN)
    return f"{reached}{lowest:>10.3f}{step.value:>10.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=10)
    number = parser.parse_args().number
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    problem, *_ = newsgroups()
    theta, z = problem.start()
    print("evaluations and products until F is within 10, 1, 0.1 of the "
          f"optimum, {OPTIMUM};\nF at its lowest; F at the end\n")
    refined = Refine(Shine(), ConjugateGradient(0, growth=0.01))
    for name, adjoint in ("SHINE", Shine()), ("SHINE-refine", refined):
        for k in range(number):
            generator = torch.Generator().manual_seed(k)
            noise = torch.randn(z.shape, generator=generator, dtype=z.dtype)
            start = theta, z * (1 + 1e-12 * noise if k else 1)
            print(f"{name:<13}{k:>3}", one_run(problem, adjoint, start),
                  flush=True)


if __name__ == "__main__":
    main()
