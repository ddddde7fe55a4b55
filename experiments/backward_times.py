"""Time the passes of every method on the paper's networks (figure 3, x axis).

    python -m experiments.backward_times --scale paper --output outputs/x.csv

Nothing is trained: an outer step takes as long at one theta as at another, if
it makes as many steps.  So no tolerance ends a solve here, and every sample
makes as many steps as the network's recipe grants, forward and in a full
backward pass.  (In the authors' code, single precision does not reach the
backward tolerance either.)
On each batch of training pictures all methods take turns, so that a slow
minute of the machine slows all of them; those with one root finder share its
solve.  A first turn, whole steps with the memory counted, warms up and is not
timed.  One thread.

Notes
-----
Published: median over 100 batches of 32 on one GPU, MDEQ (LARGE) on CIFAR-10
and MDEQ (SMALL) on ImageNet, whose pictures are 224 × 224.
"""
import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import torch

from benchmark_shine.bench.networks import check_device
from benchmark_shine.checks import check_integer
from benchmark_shine.engine import RootAndAdjoint, clock, leaves
from benchmark_shine.evaluate.memory import peak_memory
from benchmark_shine.root import Root
from figures.results import bare_name, settings_in_name

from .rows import Rows
from .tasks import made_of, network_of

STEPS = 1, 2, 5, 7, 10
METHODS = (
    *(f"HOAG[backward_steps={n}]" for n in STEPS), "HOAG",
    "SHINE", *(f"SHINE[backward_steps={n}]" for n in STEPS),
    "Jacobian-Free", *(f"Jacobian-Free[backward_steps={n}]" for n in STEPS),
    *(f"Neumann[backward_steps={n}]" for n in STEPS),
    "SHINE[forward=anderson]", "SHINE-OPA", "Phantom",
    "Phantom[form=unrolled]", "Reversible", "Unrolled-network",
)
KEY = "network", "device", "method", "batch"
# Of no tolerance a solve is done.
EXHAUSTIVE = SimpleNamespace(atol=0.0, rtol=0.0, eps=0.0)


@dataclass(frozen=True)
class Setting:
    """The pictures, the networks, and how many batches of which size."""

    dataset: str
    pictures: dict
    networks: tuple = ("tiny",)
    batches: int = 20
    batch_size: int = 32


CIFAR10 = {"size": None, "n_train": 1024, "n_test": 100}
SETTINGS = {
    "try": Setting("digits", {}, batches=2, batch_size=2),
    "quick": Setting("digits", {}),
    "paper": Setting("cifar10", CIFAR10, ("large", "tiny")),
    "imagenet": Setting(
        "pictures", {"size": 224, "n_train": 1024, "n_test": 100}, ("small",)),
}


def steps_of(label):
    """Return the backward steps of a method: 0, a number, or infinity.

    NaN where a method has none.
    """
    name, settings = bare_name(label), settings_in_name(label)
    if "backward_steps" in settings:
        return float(settings["backward_steps"])
    known = {
        "HOAG": float("inf"), "SHINE": 0.0, "SHINE-OPA": 0.0,
        "Jacobian-Free": 0.0,
    }
    return known.get(name, float("nan"))


def device_name(device):
    """Return the name of the GPU, or "cpu"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(device)


@dataclass(frozen=True)
class Solve:
    """A root, and the seconds that it took."""

    root: Root
    seconds: float

    @classmethod
    def timed(cls, finder, equation):
        """Find the root of an equation, to no tolerance."""
        began = clock(equation.start)
        root = finder(equation, 0.0, 0.0, None)
        return cls(root, clock(root.z) - began)


class Turns:
    """The methods that take turns on the batches of one network.

    Parameters
    ----------
    problem : EquilibriumClassifier
    methods : iterable of str
    """

    def __init__(self, problem, methods):
        recipe = replace(
            problem.recipe, unrolled_steps=0, jacobian_weight=0.0
        )
        self.problem = problem.under(recipe)
        self.theta = leaves(self.problem.start()[0])
        self.steps = {
            label: made_of(label, self.problem, 1).outer_step
            for label in methods
        }
        self.memory = {}

    def equation(self, batch):
        """Build the equation of a batch, number 0 for the warm-up."""
        _, z = self.problem.start()
        return self.problem.draw(self.theta, z, batch + 1)

    def warm_up(self):
        """Let each method make a step, and measure its peak of memory."""
        equation = self.equation(0)
        for label, step in self.steps.items():
            _, self.memory[label] = peak_memory(
                lambda: step(equation, self.theta, EXHAUSTIVE, None),
                self.problem.device,
            )

    def step(self, label, equation, solves):
        """Make one outer step of a method.

        Parameters
        ----------
        label : str
        equation : Equation
        solves : dict of root finder to `Solve`
            What this batch has had; the step adds to it.
        """
        step = self.steps[label]
        if not isinstance(step, RootAndAdjoint):
            return step(equation, self.theta, EXHAUSTIVE, None)
        finder = step.find_root
        if finder not in solves:
            solves[finder] = Solve.timed(finder, equation)
        solve = solves[finder]
        known = replace(step, find_root=lambda *_: solve.root)
        made = known(equation, self.theta, EXHAUSTIVE, None)
        return replace(made, forward_time=solve.seconds)

    def row(self, label, equation, solves):
        """Measure one turn of a method: seconds, counts, bytes."""
        step = self.step(label, equation, solves)
        root_products = 0 if step.root is None else step.root.n_vjp
        return {
            "steps": steps_of(label),
            "forward_seconds": step.forward_time,
            "backward_seconds": step.backward_time,
            "evaluations": step.n_g, "products": step.n_vjp,
            "backward_products": step.n_vjp - root_products,
            "peak_memory": self.memory[label],
            "batch_size": len(equation.start),
        }


def measure(rows, setting, device, methods=METHODS, say=print):
    """Measure what the file lacks."""
    torch.set_num_threads(1)
    name = device_name(device)
    for network in setting.networks:
        keys = [
            {"network": network, "device": name, "method": label,
             "batch": batch}
            for batch in range(1, setting.batches + 1) for label in methods
        ]
        keys = [key for key in keys if rows.missing(**key)]
        if not keys:
            continue
        turns = Turns(
            network_of(
                setting.dataset, network=network, device=str(device),
                batch_size=setting.batch_size, **setting.pictures,
            ), dict.fromkeys(key["method"] for key in keys),
        )
        turns.warm_up()
        batch = None
        for key in keys:
            if key["batch"] != batch:
                batch = key["batch"]
                equation, solves = turns.equation(batch), {}
                say(f"{network}: batch {batch} of {setting.batches}")
            rows.add(
                **key, **turns.row(key["method"], equation, solves),
                dataset=setting.dataset,
            )


def main(words=None):
    """Measure; each finished row is written at once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scale", choices=SETTINGS, default="quick")
    parser.add_argument("--networks", nargs="+",
                        choices=("tiny", "large", "small"))
    parser.add_argument("--batch", type=int, metavar="SIZE",
                        help="pictures in a batch; default: 32, as published")
    parser.add_argument("--batches", type=int, metavar="N",
                        help="default: 20")
    parser.add_argument("--methods", nargs="+", default=METHODS,
                        metavar="METHOD", help="default: all")
    parser.add_argument("--pictures", metavar="FOLDER",
                        help="for the scale imagenet: train/<class>/*.jpg, "
                             "and val/ or test/, of any size")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(words)
    setting = SETTINGS[options.scale]
    if options.pictures:
        setting = replace(
            setting, pictures=setting.pictures | {"path": options.pictures})
    given = {
        "networks": options.networks and tuple(options.networks),
        "batch_size": options.batch, "batches": options.batches,
    }
    setting = replace(setting, **{
        name: value for name, value in given.items() if value is not None
    })
    try:
        check_integer("batch", setting.batch_size, least=1)
        check_integer("batches", setting.batches, least=1)
        check_device(options.device)
        measure(
            Rows(options.output, KEY), setting, torch.device(options.device),
            options.methods, lambda line: print(line, flush=True),
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
