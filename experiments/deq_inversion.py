"""Measure how well each method inverts J in networks (figure E.2).

    python -m experiments.deq_inversion dense --scale quick --output x.csv

On each of a few training batches, each solver's forward pass starts from
zero; its q is compared with that of GMRES in float64 at the same root z, for
rhs = dl/dz there.  Every network is measured at its first theta, and after
the whole recipe of its data set by the setting's trainer.

Notes
-----
Published (authors' code): MDEQ (LARGE) on CIFAR-10, trained for 50 epochs by
SHINE-OPA; 100 batches of 32; 18 forward steps.  There the exact q is taken
from 35 steps of Broyden in float32 that start from the Jacobian-free q, and
is that one where they diverge.
"""
import argparse
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from benchopt.benchmark import Benchmark

from benchmark_shine.adjoint import AdjointSystem, Gmres
from benchmark_shine.evaluate.networks import probe, scores, spectral_radius
from benchmark_shine.evaluate.reference import ADJOINT_TOL
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.implicit import TransposedJacobian
from benchmark_shine.operators import Identity
from benchmark_shine.precision import forbid_tf32
from benchmark_shine.root import Broyden, loss_gradient

ROOT = Path(__file__).resolve().parents[1]

# Name and parameters of each solver.
SOLVERS = (
    ("Jacobian-Free", {}),
    ("SHINE", {}),
    ("SHINE", {"forward": "anderson"}),
    ("SHINE", {"forward": "adjoint_broyden"}),
    ("SHINE-OPA", {"side": "untransposed"}),
    ("SHINE-OPA", {}),
    ("HOAG", {}),
)
STATES = "initial", "trained"
SHOWN = "sample_cosine_median", "cosine", "ratio", "rel_error"


@dataclass(frozen=True)
class Setting:
    """Networks, how they are trained, and how they are measured."""

    dataset: str = "digits"
    networks: tuple = ({},)  # the data set's parameters, one dict a network
    trainer: tuple = ("HOAG", {"backward": "gmres"})  # the solver that trains
    # How many training batches, of how many samples, are measured.
    batches: int = 6
    batch_size: int = 16
    # Most iterations of a forward pass, and of an exact backward pass: those
    # that MDEQ (TINY) is granted.
    forward_steps: int = 22
    backward_steps: int = 24
    # Most iterations of the GMRES that gives the exact q.
    reference_steps: int = 200


TINY = {"network": "tiny", "unrolled_steps": 110, "batch_size": 32}
# That of figure 3, configs/fig3_tiny.yml, on more pictures: for a GPU.
TINY_CIFAR10 = {
    "network": "tiny", "size": 16, "n_train": 10_000, "n_test": 10_000,
    "batch_size": 64, "epochs": 13, "unrolled_steps": 408,
}
CIFAR10 = {
    "network": "large", "device": "cuda", "size": None, "n_train": None,
    "n_test": None, "batch_size": None, "epochs": 50, "unrolled_steps": None,
}


def _tiny_on_cifar10(**settings):
    """Return the settings of MDEQ (TINY) on CIFAR-10, trained by SHINE."""
    make = partial(Setting, "cifar10", trainer=("SHINE", {}))
    brief = {
        "size": 8, "n_train": 64, "n_test": 20, "epochs": 1,
        "unrolled_steps": 0,
    }
    whole = make((TINY_CIFAR10 | settings,))
    return {
        "try": make((TINY_CIFAR10 | brief | settings,), batches=1,
                    batch_size=2, reference_steps=20),
        "quick": whole, "paper": replace(whole, batches=100, batch_size=32),
    }


SETTINGS = {
    "dense": {
        "try": Setting(networks=({"epochs": 1},), batches=2),
        "quick": Setting(networks=({"seed": 0}, {"seed": 1}, {"seed": 2})),
        "paper": Setting(batches=100, batch_size=32),
    },
    "mdeq": {
        "try": Setting(networks=(TINY | {"epochs": 1},), batches=2),
        "quick": Setting(networks=(TINY | {"epochs": 5},)),
        "paper": Setting(
            "cifar10", (CIFAR10,), ("SHINE-OPA", {}), batches=100,
            batch_size=32, forward_steps=18, backward_steps=20,
        ),
    },
    "tiny_cifar10": _tiny_on_cifar10(),
    "tiny_cifar10_penalised": _tiny_on_cifar10(jacobian_weight=1.0),
}


def reference(equation, z, max_iter):
    """Solve Jᵀ q = dl/dz at z by GMRES, in the equation's precision.

    Returns
    -------
    q : Tensor, shape (B, d)
    gaps : Tensor, shape (B,)
        Relative residual of each sample as measured; `ADJOINT_TOL` was
        asked for.
    """
    rhs, vjp = loss_gradient(equation, z), TransposedJacobian(equation.g, z)
    q = Gmres(max_iter)(
        AdjointSystem(vjp, rhs, Identity(), z, None, ADJOINT_TOL)
    )
    return q, (vjp(q) - rhs).norm(dim=1) / rhs.norm(dim=1)


def quality(q, exact):
    """Compare q with the exact one, both (B, d).

    Returns
    -------
    dict of float
        ``cosine``, ``ratio`` ‖exact‖ / ‖q‖ and ``rel_error`` of the batch as
        one vector, as published; ``sample_cosine_q1``, ``…_median`` and
        ``…_q3``: the quartiles over its samples, because a few samples whose
        J is nearly singular dominate the former.
    """
    flat, exact_flat = q.flatten(), exact.flatten()
    quartiles = torch.cosine_similarity(q, exact, dim=1).quantile(
        q.new_tensor([0.25, 0.5, 0.75])
    )
    names = "sample_cosine_q1", "sample_cosine_median", "sample_cosine_q3"
    return {
        "cosine": float(torch.cosine_similarity(flat, exact_flat, dim=0)),
        "ratio": float(exact.norm() / q.norm()),
        "rel_error": float((q - exact).norm() / exact.norm()),
        **dict(zip(names, quartiles.tolist())),
    }


def by_finder(problem, solvers):
    """Give, for each root finder, the adjoint of each solver by name."""
    methods = {}
    for solver in solvers:
        method = solver.method(problem, problem.n_steps)
        methods.setdefault(method.find_root, {})[str(solver)] = method.adjoint
    return methods


def one_batch(problem, theta, index, methods, reference_steps):
    """Compare each method's q on one fixed training batch.

    Yields
    ------
    dict
        ``batch``, ``solver``, ``batch_size`` (what the reference could
        afford), those of `quality`; of the forward pass
        ``forward_residual`` (median over samples of ‖g‖ / ‖z‖),
        ``spectral_radius_median`` and ``spectral_radius`` (the largest) of
        df/dz; ``n_g`` and ``n_vjp`` of both passes; ``reference_residual``
        (the largest) and whether it is good enough,
        ``reference_converged``.
    """
    single, double = (
        probe(problem, theta, dtype, index) for dtype in (None, torch.float64)
    )
    for finder, adjoints in methods.items():
        root = finder(single, problem.atol)
        z = root.z
        exact, gaps = reference(double, z.double(), reference_steps)
        radii = spectral_radius(
            single.g, z, torch.Generator().manual_seed(index)
        )
        gap = float(gaps.max())
        residuals = root.residuals / z.norm(dim=1)
        of_root = {
            "forward_residual": float(residuals.median()),
            "spectral_radius_median": float(radii.median()),
            "spectral_radius": float(radii.max()),
            "reference_residual": gap,
            "reference_converged": gap <= 10 * ADJOINT_TOL,
        }
        rhs = loss_gradient(single, z)
        for name, adjoint in adjoints.items():
            vjp = TransposedJacobian(single.g, z)
            q = adjoint(AdjointSystem(
                vjp, rhs, root.inverse, z, None, problem.recipe.backward_tol
            ))
            yield {
                "batch": index, "solver": name, "batch_size": len(z),
                **quality(q.double(), exact), **of_root,
                "n_g": root.n_g + vjp.n_g,
                "n_vjp": root.n_vjp + vjp.n_vjp,
            }


def measure(problem, theta, solvers, batches, reference_steps):
    """Measure all solvers on the first fixed batches of a problem.

    Its recipe has the size of the batches, and the most steps of a forward
    pass and of an exact backward pass.  Columns are those of `one_batch`.
    """
    methods = by_finder(problem, solvers)
    return pd.DataFrame(
        row for index in range(batches) for row in
        one_batch(problem, theta, index, methods, reference_steps)
    )


def trained(problem, solver):
    """Train by a solver to the end of the recipe, and return theta."""
    method = solver.method(problem, problem.n_steps)
    for step, *_ in method.run(problem):
        if step.diverged:
            raise RuntimeError(
                f"{solver}: training diverged at step {step.n_outer} of "
                f"{problem.n_steps}"
            )
    return tuple(t.detach() for t in step.theta)


def instance(classes, name, parameters):
    """Make the data set or solver of that name, one of benchopt's classes."""
    cls, = (cls for cls in classes if cls.name == name)
    return cls.get_instance(**parameters)


def load(dataset):
    """Load the network of a data set; ValueError where data are missing."""
    found = dataset.get_data()
    if found["problem"] is None:
        raise ValueError(f"{dataset.name}: {found['reason']}")
    return found["problem"]


def measure_setting(setting):
    """Measure every network of a setting, at its first and trained theta."""
    suite = Benchmark(ROOT)
    *solvers, trainer = (
        instance(suite.get_solvers(), *solver)
        for solver in (*SOLVERS, setting.trainer)
    )
    steps = ("batch_size", "forward_steps", "backward_steps")
    columns = {name: getattr(setting, name) for name in (
        "batches", *steps[1:], "reference_steps"
    )}
    for parameters in setting.networks:
        dataset = instance(suite.get_datasets(), setting.dataset, parameters)
        problem = load(dataset)
        measured = problem.under(replace(
            problem.recipe, **{name: getattr(setting, name) for name in steps}
        ))
        finder = Broyden(*[problem.recipe.forward_steps] * 2)
        for state in STATES:
            theta = (
                problem.start()[0] if state == "initial"
                else trained(problem, trainer)
            )
            accuracy = scores(problem, theta, finder)["test_accuracy"]
            yield measure(
                measured, theta, solvers, setting.batches,
                setting.reference_steps,
            ).assign(
                dataset=str(dataset), state=state, test_accuracy=accuracy,
                trainer=str(trainer), **columns, fingerprint=fingerprint(),
                torch=torch.__version__,
            )


def summary(frame):
    """Show the medians over batches of one network in one state."""
    first = frame.iloc[0]
    medians = frame.groupby("solver")[list(SHOWN)].median()
    return (f"{first['dataset']}, {first['state']}, test accuracy "
            f"{first['test_accuracy']:.3f}\n{medians.to_string()}")


def main(words=None):
    """Measure and write a CSV file; what is finished is written at once."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", choices=SETTINGS)
    parser.add_argument(
        "--scale", choices=SETTINGS["dense"], default="quick",
        help="try: a minute; quick: minutes; paper: hours, MDEQ on a GPU; "
             "default: %(default)s",
    )
    parser.add_argument("--device", help="default: that of the setting")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    forbid_tf32()
    setting = SETTINGS[options.network][options.scale]
    if options.device:
        setting = replace(setting, networks=tuple(
            settings | {"device": options.device}
            for settings in setting.networks
        ))
    frames = []
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        for frame in measure_setting(setting):
            print(summary(frame), flush=True)
            frames.append(frame)
            pd.concat(frames).to_csv(options.output, index=False)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
