"""How well each method inverts J in equilibrium networks (figure E.2).

    python -m experiments.deq_inversion -d digits --output x.csv

On each of a few training batches, each solver's forward pass starts from
zero; its q is compared with that of GMRES in float64 at the same root z, for
rhs = dl/dz there.  Data sets (with their networks) and solvers are written as
for ``benchopt run``.  A network is measured at its first theta and after the
whole recipe of its data set, followed by the solver ``--trainer``.

Published (authors' code): ``cifar10[network=large]`` trained for 50 epochs
by SHINE-OPA, 100 batches of 32, 18 forward steps; the exact q is taken from
35 steps of Broyden in float32 that start from the Jacobian-free q, and is
that one where they diverge.
"""
import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from benchopt.benchmark import Benchmark
from benchopt.utils import product_param
from click import BadParameter

from benchmark_shine.adjoint import AdjointSystem, Gmres
from benchmark_shine.checks import check_integer
from benchmark_shine.evaluate.reference import ADJOINT_TOL
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.implicit import TransposedJacobian
from benchmark_shine.operators import Identity
from benchmark_shine.problems.classifier import (
    EquilibriumClassifier, spectral_radius,
)
from benchmark_shine.root import Broyden, loss_gradient

ROOT = Path(__file__).resolve().parents[1]

DATASETS = ("digits",)
SOLVERS = (
    "Jacobian-Free", "SHINE", "SHINE[forward=anderson]",
    "SHINE[forward=adjoint_broyden]", "SHINE-OPA[side=untransposed]",
    "SHINE-OPA", "HOAG",
)
TRAINER = "HOAG[backward=gmres]"
STATES = ("initial", "trained")
# The steps are those that MDEQ TINY is granted.
NUMBERS = {
    "batches": 6, "batch_size": 16, "forward_steps": 22,
    "backward_steps": 24, "reference_steps": 200,
}
SHOWN = "sample_cosine_median", "cosine", "ratio", "rel_error"


# ------------------------------------------------------------ measurement

def reference(equation, z, max_iter):
    """J⁻ᵀ dl/dz at z, by GMRES in the equation's precision.

    Parameters
    ----------
    equation : Equation
    z : Tensor, shape (B, d)
    max_iter : int
        Most iterations.

    Returns
    -------
    q : Tensor, shape (B, d)
    gaps : Tensor, shape (B,)
        Relative residual of each sample, measured; `ADJOINT_TOL` was asked
        for.
    """
    rhs, vjp = loss_gradient(equation, z), TransposedJacobian(equation.g, z)
    q = Gmres(max_iter)(
        AdjointSystem(vjp, rhs, Identity(), z, None, ADJOINT_TOL)
    )
    return q, (vjp(q) - rhs).norm(dim=1) / rhs.norm(dim=1)


def quality(q, exact):
    """How near q is to the exact one, both (B, d).

    Returns
    -------
    dict of float
        ``cosine``, ``ratio`` ‖exact‖ / ‖q‖ and ``rel_error`` of the batch as
        one vector, as published; ``sample_cosine_q1``, ``…_median`` and
        ``…_q3``, quartiles over its samples: a few that are nearly singular
        dominate the former.
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
    """Solvers that have the same forward pass, together.

    Returns
    -------
    dict of finder to dict of str to adjoint
        Of each forward solver, the backward pass of each solver by name.
    """
    methods = {}
    for solver in solvers:
        method = solver.method(problem, problem.n_steps)
        own = methods.setdefault(method.find_root, {})
        own[str(solver)] = method.adjoint
    return methods


def one_batch(problem, theta, index, methods, reference_steps):
    """Each method's q on one fixed training batch.

    Parameters
    ----------
    problem : EquilibriumClassifier
    theta : tuple of Tensor
    index : int
        Which of the problem's fixed batches.
    methods : dict
        Of `by_finder`.
    reference_steps : int
        Most GMRES iterations.

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
        problem.probe(theta, dtype, index) for dtype in (None, torch.float64)
    )
    for finder, adjoints in methods.items():
        root = finder(single, problem.atol)
        z = root.z
        exact, gaps = reference(double, z.double(), reference_steps)
        radii = spectral_radius(
            single.g, z, torch.Generator().manual_seed(index)
        )
        gap = float(gaps.max())
        of_root = {
            "forward_residual": float(
                (root.residuals / z.norm(dim=1)).median()
            ),
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
    """All solvers on the first so many fixed batches of a problem.

    Parameters
    ----------
    problem : EquilibriumClassifier
        Its recipe has the size of the batches, and the most steps of a
        forward pass and of an exact backward pass.
    theta : tuple of Tensor
    solvers : list of ImplicitSolver
    batches, reference_steps : int

    Returns
    -------
    pandas.DataFrame
        Columns of `one_batch`.
    """
    methods = by_finder(problem, solvers)
    return pd.DataFrame(
        row for index in range(batches) for row in
        one_batch(problem, theta, index, methods, reference_steps)
    )


def trained(problem, solver):
    """Theta at the end of the problem's recipe, by that solver.

    Raises
    ------
    RuntimeError
        Where the run diverges.
    """
    method = solver.method(problem, problem.n_steps)
    for step, *_ in method.run(problem):
        if step.diverged:
            raise RuntimeError(
                f"{solver}: training diverged at step {step.n_outer} of "
                f"{problem.n_steps}"
            )
    return tuple(t.detach() for t in step.theta)


# ------------------------------------------------------------ command line

def chosen(selection):
    """Instances of what benchopt selected by its patterns.

    Parameters
    ----------
    selection : list of (class, dict of lists)
        Of ``Benchmark.check_{dataset,solver}_patterns``.
    """
    return [
        cls.get_instance(**parameters)
        for cls, grid in selection for parameters in product_param(grid)
    ]


def load(dataset):
    """The network of a data set.

    Raises
    ------
    ValueError
        Where the data are missing, or it is none of a network.
    """
    found = dataset.get_data()
    problem = found["problem"]
    if problem is None:
        raise ValueError(f"{dataset.name}: {found['reason']}")
    if not isinstance(problem, EquilibriumClassifier):
        raise ValueError(f"{dataset.name}: has no equilibrium network")
    return problem


def select(options):
    """What the command's patterns stand for, all settings checked.

    Returns
    -------
    networks : dict of str to (EquilibriumClassifier, EquilibriumClassifier)
        By the name of its data set, a network as it is trained and as it is
        measured.
    solvers : list of ImplicitSolver
    trainer : ImplicitSolver

    Raises
    ------
    BadParameter, TypeError, ValueError
    """
    for name in NUMBERS:
        check_integer(name, getattr(options, name), least=1)
    benchmark = Benchmark(ROOT)
    solvers, (trainer, *more) = (
        chosen(benchmark.check_solver_patterns(list(patterns)))
        for patterns in (options.solver or SOLVERS, [options.trainer])
    )
    if more:
        raise ValueError("trainer: one solver, please")
    networks = {}
    for dataset in chosen(
        benchmark.check_dataset_patterns(options.dataset or DATASETS)
    ):
        problem = load(dataset)
        measured = problem.under(replace(
            problem.recipe, batch_size=options.batch_size,
            forward_steps=options.forward_steps,
            backward_steps=options.backward_steps,
        ))
        by_finder(measured, [*solvers, trainer])
        networks[str(dataset)] = problem, measured
    return networks, solvers, trainer


def command_line():
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for flag, usual in ("--dataset", DATASETS), ("--solver", SOLVERS):
        parser.add_argument(
            flag[1:3], flag, action="append", metavar="PATTERN",
            help=f"may be repeated; default: {', '.join(usual)}",
        )
    parser.add_argument(
        "--trainer", default=TRAINER, metavar="PATTERN",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--states", nargs="+", choices=STATES, default=STATES,
        help="default: both",
    )
    for name, usual in NUMBERS.items():
        parser.add_argument(
            "--" + name.replace("_", "-"), type=int, default=usual,
            help="default: %(default)s",
        )
    parser.add_argument("--output", type=Path, required=True)
    return parser


def main(arguments=None):
    """Command line: measure and write a CSV file."""
    parser = command_line()
    options = parser.parse_args(arguments)
    try:
        networks, solvers, trainer = select(options)
        options.output.parent.mkdir(parents=True, exist_ok=True)
    except (BadParameter, OSError, TypeError, ValueError) as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    frames = []
    for name, (problem, measured) in networks.items():
        n_steps = problem.recipe.forward_steps
        for state in options.states:
            theta, _ = problem.start()
            if state == "trained":
                theta = trained(problem, trainer)
            scores = problem.scores(theta, Broyden(n_steps, n_steps))
            accuracy = scores["test_accuracy"]
            frame = measure(
                measured, theta, solvers, options.batches,
                options.reference_steps,
            )
            medians = frame.groupby("solver")[list(SHOWN)].median()
            print(f"{name}, {state}, test accuracy {accuracy:.3f}",
                  medians.to_string(), sep="\n", flush=True)
            frames.append(frame.assign(
                dataset=name, state=state, test_accuracy=accuracy,
            ))
    settings = {
        name: getattr(options, name) for name in NUMBERS
        if name != "batch_size"
    }
    frame = pd.concat(frames, ignore_index=True).assign(
        trainer=str(trainer), **settings, fingerprint=fingerprint(),
        torch=torch.__version__,
    )
    frame.to_csv(options.output, index=False)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
