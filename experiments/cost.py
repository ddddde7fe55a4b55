"""Measure what equilibrium networks cost beside explicit ones.

    python -m experiments.cost memory --output outputs/cost_memory.csv
    python -m experiments.cost training --output outputs/cost_training.csv

memory: the peak of one training step of MDEQ (TINY) on digits against depth.
Depth is the number of layers of the explicit network, whose layers share the
weights of f, and the evaluations of f in the forward pass of an equilibrium
network; a full backward pass makes as many steps.  A minute.

training: test accuracy of dense networks on digits after each epoch, against
the seconds that forward and backward passes have taken.  The equilibrium
network is trained by several methods.  One explicit network repeats the same
cell; in another one each layer has weights of its own, and the width is such
that it has as many parameters.  Minutes.

One thread.  Times of a training step by method are those of
`python -m experiments.backward_times`.
"""
import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from benchmark_shine.checks import check_integer
from benchmark_shine.engine import leaves
from benchmark_shine.evaluate.memory import peak_memory
from benchmark_shine.evaluate.networks import scores
from benchmark_shine.problems import SmallDEQ
from benchmark_shine.root import Broyden

from .backward_times import EXHAUSTIVE
from .rows import Rows
from .tasks import made_of, network_of

DEPTHS = 2, 4, 8, 16, 32
BATCH_SIZE = 32
TIED, UNTIED, EQUILIBRIUM = "weight-tied", "untied", "equilibrium"
# Network, method, and its label at depth n.
AT_DEPTH = (
    (TIED, "Unrolled-network", "Unrolled-network[n_layers={n}]"),
    *((EQUILIBRIUM, label, label) for label in (
        "HOAG", "SHINE-OPA", "SHINE", "Jacobian-Free",
        "SHINE[forward=anderson]",
    )),
    (EQUILIBRIUM, "Reversible", "Reversible[steps={half},beta=0.5]"),
)
LAYERS = 10
TRAINED = (
    (EQUILIBRIUM, "HOAG"), (EQUILIBRIUM, "SHINE"),
    (EQUILIBRIUM, "Jacobian-Free"), (EQUILIBRIUM, "Reversible"),
    (TIED, f"Unrolled-network[n_layers={LAYERS}]"),
    (UNTIED, "Unrolled-network[n_layers=1]"),
)


# Memory

def memory_row(problem, label, depth):
    """Measure the peak memory of one training step at one depth.

    Returns
    -------
    dict
        ``peak_memory`` beyond theta and the data, and ``bytes_of_z``, what
        one iterate of the batch takes.
    """
    problem = problem.under(replace(
        problem.recipe, forward_steps=depth, backward_steps=depth
    ))
    theta, z = problem.start()
    theta = leaves(theta)
    step = made_of(label, problem, 1).outer_step

    def work():
        equation = problem.draw(theta, z, 1)
        return step(equation, theta, EXHAUSTIVE, None)

    step_made, n_bytes = peak_memory(work, problem.device)
    return {
        "peak_memory": n_bytes, "bytes_of_z": z.nbytes,
        "evaluations": step_made.n_g, "products": step_made.n_vjp,
    }


def measure_memory(path, depths=DEPTHS, batch_size=BATCH_SIZE):
    """Measure the depths that the file lacks."""
    rows = Rows(path, ("network", "method", "depth"))
    problem = network_of("digits", network="tiny", batch_size=batch_size)
    for depth in depths:
        for network, method, pattern in AT_DEPTH:
            key = {"network": network, "method": method, "depth": depth}
            if rows.missing(**key):
                label = pattern.format(n=depth, half=depth // 2)
                rows.add(**key, **memory_row(problem, label, depth),
                         batch_size=batch_size)


# Training

class _Layers(nn.Module):
    """The cell of `SmallDEQ`, n times, each with a weight of its own."""

    def __init__(self, n, d):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, d, d))

    def forward(self, z, injection, mask):
        for weight in self.weight:
            u = z @ weight.T + injection
            z = (u + torch.tanh(u)) / 2
        return z


class Untied(SmallDEQ):
    """An explicit network: n layers, each a cell of `SmallDEQ` of its own.

    All layers are one application of its cell, from z = 0.

    Parameters
    ----------
    like : SmallDEQ
        Whose data, recipe, contraction, seed and number of parameters it has
        (at most, as the width is an integer).
    n_layers : int
    """

    def __init__(self, like, n_layers):
        self.n_layers = n_layers
        width = _width(like, n_layers)
        super().__init__(
            like.train, like.test, like.recipe, width, like.contraction,
            seed=like.seed,
        )

    def network(self):
        network = super().network()
        network.cell = _Layers(self.n_layers, self.d)
        return network

    def effective(self, weights):
        layers = []
        for weight in weights["weight"]:
            layers.append(super().effective({"weight": weight})["weight"])
        return {"weight": torch.stack(layers)}


def _width(like, n_layers):
    """Return the largest width with no more parameters than a network."""
    counts = like.parameter_counts()
    beside = (counts["stem"] + counts["head"] - like.train.n_classes) / like.d
    most = sum(counts.values()) - like.train.n_classes
    return max(
        d for d in range(1, like.d + 1)
        if n_layers * d ** 2 + beside * d <= most
    )


def layers(n):
    """Return a root finder that applies f n times from the start."""
    def find_root(equation, *tolerances):
        z = equation.start
        for _ in range(n):
            z = z - equation.g(z)
        return SimpleNamespace(z=z)

    return find_root


# What an explicit network's scores are taken at; an equilibrium otherwise.
DEPTH_OF = {TIED: LAYERS, UNTIED: 1}


def training_rows(problem, network, label, n_epochs):
    """Train, and yield a row per epoch; the start is epoch 0."""
    if network == UNTIED:
        problem = Untied(problem, LAYERS)
    steps = problem.recipe.forward_steps
    find_root = (
        layers(DEPTH_OF[network]) if network in DEPTH_OF
        else Broyden(steps, steps)
    )
    per_epoch = problem.steps_per_epoch
    method = made_of(label, problem, n_epochs * per_epoch)
    for step, totals, _ in method.run(problem):
        epoch, rest = divmod(totals.n_outer, per_epoch)
        if rest == 0:
            found = scores(problem, step.theta, find_root)
            yield {
                "epoch": epoch,
                "seconds": totals.forward_time + totals.backward_time,
                "forward_seconds": totals.forward_time,
                "test_accuracy": found["test_accuracy"],
                "test_loss": found["test_loss"],
                "n_parameters": sum(problem.parameter_counts().values()),
            }


def measure_training(path, seeds=3, n_epochs=10, width=64):
    """Train what the file lacks; a run is written when it is complete."""
    rows = Rows(path, ("network", "method", "seed", "epoch"))
    for seed in range(seeds):
        problem = network_of("digits", seed=seed, epochs=n_epochs, width=width)
        for network, label in TRAINED:
            key = {
                "network": network, "seed": seed,
                "method": label.partition("[")[0],
            }
            if rows.missing(**key, epoch=n_epochs):
                print(f"seed {seed}: {network}, {label}", flush=True)
                for row in list(
                    training_rows(problem, network, label, n_epochs)
                ):
                    if rows.missing(**key, epoch=row["epoch"]):
                        rows.add(**key, **row)


def main(words=None):
    """Measure; finished rows are written at once."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("measure", choices=("memory", "training"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3,
                        help="of training; default: %(default)s")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    try:
        check_integer("seeds", options.seeds, least=1)
        if options.measure == "memory":
            measure_memory(options.output)
        else:
            measure_training(options.output, options.seeds)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
