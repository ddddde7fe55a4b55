"""The tasks of experiments, by short names, and their methods."""
import ast
from functools import cache
from pathlib import Path

from benchopt.benchmark import Benchmark

from benchmark_shine.precision import forbid_tf32

from figures.results import bare_name, settings_in_name

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("formulation", "n_samples", "n_features")

# The data set of a task, and its settings.
TASKS = {
    "ridge": ("simulated", dict(zip(SIZES, ("ridge", 400, 100)))),
    "text": ("simulated", dict(zip(SIZES, ("logistic", 2000, 5000)))),
    "breast_cancer": ("breast_cancer", {}),
    "digits": ("digits_multinomial", {}),
    "20news": ("20news", {}),
    "breast_cancer, by feature": ("breast_cancer", {"groups": "feature"}),
    "digits, by class": ("digits_multinomial", {"groups": "class"}),
    "20news, 30 groups": (
        "20news", {"groups": "frequency", "n_groups": 30}),
    **{
        f"quadratic, d = {d}, κ = {condition:g}": (
            "quadratic", {"dimension": d, "condition": condition})
        for d in (100, 1_000) for condition in (10, 100, 1000)
    },
}
# The tasks of one or few penalties whose data come with the suite.
BUNDLED = "ridge", "text", "breast_cancer", "digits"


@cache
def _classes(kind):
    suite = Benchmark(ROOT)
    found = {"datasets": suite.get_datasets, "solvers": suite.get_solvers}
    return {cls.name: cls for cls in found[kind]()}


def problem_of(task, seed, **settings):
    """Build the problem of a task.

    Raises
    ------
    ValueError
        Where its data cannot be had; the message says what to do.
    """
    name, own = TASKS[task]
    return _load(name, {"seed": seed, **own, **settings})


def network_of(dataset, **settings):
    """Build the problem of a data set of pictures.

    Raises
    ------
    ValueError
        Where its data cannot be had; the message says what to do.
    """
    forbid_tf32()
    return _load(dataset, settings)


def _load(dataset, settings):
    data = _classes("datasets")[dataset].get_instance(**settings).get_data()
    if data["problem"] is None:
        raise ValueError(data["reason"])
    return data["problem"]


def method_of(solver, problem, n_outer, **settings):
    """Build a solver's `Method` for a problem, as `benchopt run` does.

    Raises
    ------
    ValueError
        Where there is no such solver or setting, or it has no meaning for
        the problem.
    """
    if solver not in _classes("solvers"):
        raise ValueError(f"methods: there is no solver {solver}")
    cls = _classes("solvers")[solver]
    for name in settings.keys() - cls.parameters.keys():
        raise ValueError(f"methods: {solver} has no setting {name}")
    return cls.get_instance(**settings).method(problem, n_outer)


def made_of(label, problem, n_outer):
    """Build the `Method` of a label, as "SHINE[backward_steps=5]".

    Raises
    ------
    ValueError
        As `method_of`.
    """
    settings = {
        name: _value(text) for name, text in settings_in_name(label).items()
    }
    return method_of(bare_name(label), problem, n_outer, **settings)


def _value(text):
    """Read a setting: a number, a tuple, True, None, or else text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
