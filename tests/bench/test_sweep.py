"""Every solver on every bundled data set, through benchopt."""
import json
import os
import re
import shutil
import subprocess
import sys
from copy import copy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchopt import run_benchmark
from benchopt.benchmark import Benchmark
from benchopt.results import read_results
from benchopt.utils.dynamic_modules import FailedImport

from benchmark_shine.adjoint import (
    ConjugateGradient, Fallback, Gmres, JacobianFree, Neumann, NormRule,
    Phantom, QuasiNewtonSolve, Refine, ResidualRule, Shine, z_as_q0,
)
from benchmark_shine.bench.solver import broyden_steps
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.loops.reversible import ReversedSeries
from benchmark_shine.operators import transposed, untransposed
from benchmark_shine.outer import (
    Hoag, Search, Secant, from_now, from_start,
)
from benchmark_shine.rivals.torchdeq import TorchDEQ
from benchmark_shine.root import (
    LBFGS, AdjointBroyden, Anderson, Broyden, EveryFewSteps, Opa,
)

from helpers.problems import model

SEARCHES = {"Grid-search", "Random-search"}
EVERYWHERE = {
    "SHINE", "SHINE-OPA", "SHINE-refine", "Jacobian-Free", "HOAG",
    "HOAG-limited", "Neumann", "SHINE-guarded",
}
# what has a finder and an adjoint, and what has a way of its own
BILEVEL_ONLY = {
    "SHINE-PCG", "Recycled-PCG", "AmIGO", "Nystrom", "SHINE-corrected",
    "Nystrom-PCG", "qNBO", "LancBiO", "SubBiO",
}
OWN_WAY = {
    "SHINE-at-root", "SHINE-corrected-at-root", "SOBA", "Unrolled", "F2SA",
    "BOME", "NBO",
}
BILEVEL = SEARCHES | EVERYWHERE | BILEVEL_ONLY | OWN_WAY
EQUILIBRIUM = EVERYWHERE | {
    "SHINE-fallback", "Phantom", "Unrolled-network", "Reversible",
}
# those of a library that may be missing
OPTIONAL = {
    "torchdeq": "torchdeq", "torchdeq-defaults": "torchdeq",
    "TPE-search": "optuna", "jaxopt": "jaxopt", "jaxopt-SHINE": "jaxopt",
    "optimistix": "optimistix",
}
MISSING = {name for name, its in OPTIONAL.items() if not find_spec(its)}
EQUILIBRIUM |= {"torchdeq", "torchdeq-defaults"} - MISSING
SEARCHES |= {"TPE-search"} - MISSING
BILEVEL |= SEARCHES
# compiled for long, and not for every problem: see test_rivals.py
NOT_SWEPT = {"jaxopt", "jaxopt-SHINE", "optimistix", "sklearn-search"}
DATASETS = {
    "simulated", "breast_cancer", "digits_multinomial", "20news", "real-sim",
    "hyper_cleaning", "ijcnn1", "quadratic", "svmlight", "digits",
    "fashion_mnist", "cifar10", "imagenet", "pictures", "text",
}
SIZES = "'formulation, n_samples, n_features'"
RIDGE = f"simulated[{SIZES}=[('ridge', 60, 10)]]"
TEXT = f"simulated[{SIZES}=[('logistic', 80, 40)]]"
BUNDLED = [
    RIDGE, TEXT, f"{TEXT[:-1]},n_groups=4]",
    "breast_cancer[formulation=logistic]", "breast_cancer[formulation=nls]",
    "digits_multinomial",
]
N = 3
OBJECTIVE = f"outer-loss[n_outer={N},reference={N}]"


def few_points(names):
    return [
        f"{name}[n_points={N}]" if name.endswith("search") else name
        for name in sorted(names)
    ]


def sweep(root_dir, output, solvers, datasets, **options):
    """Run benchopt in this process; the result rows as benchopt reads them."""
    settings = dict(
        solver_names=solvers, dataset_names=datasets,
        objective_filters=[OBJECTIVE], max_runs=100, plot_result=False,
        display=False, no_cache=True, show_progress=False,
        output_file=str(output),
    )
    return read_results(
        Path(run_benchmark(str(root_dir), **(settings | options)))
    )


def command(root_dir, *arguments, **environment):
    """Run ``benchopt …`` in a process of its own, without colours."""
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-m", "benchopt", *map(str, arguments)],
        cwd=root_dir, capture_output=True, text=True,
        env=os.environ | {
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1", "COLUMNS": "300", **environment,
        },
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    return done.returncode, text


def curves(rows):
    """What must not depend on how a run was dispatched, row by row."""
    names = [
        "dataset_name", "solver_name", "stop_val", "objective_theta",
        "objective_value", "objective_test_loss", "objective_n_g",
        "objective_n_vjp", "objective_inner_residual",
    ]
    return rows[names].sort_values(names[:3]).reset_index(drop=True)


@pytest.fixture(scope="module")
def benchmark(root_dir):
    return Benchmark(root_dir)


@pytest.fixture(scope="module")
def rows(root_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("sweep") / "all.parquet"
    return sweep(root_dir, output, few_points(BILEVEL), BUNDLED)


def test_benchopt_test_is_green(root_dir, tmp_path):
    status, text = command(
        root_dir, "test", ".", "--skip-env", "-p", "no:cacheprovider"
    )
    assert status == 0, text
    assert re.search(r"\d+ passed", text)
    assert "failed" not in text


def test_solvers_and_datasets_import(benchmark):
    solvers, datasets = benchmark.get_solvers(), benchmark.get_datasets()
    assert {cls.name for cls in solvers} == (
        BILEVEL | EQUILIBRIUM | NOT_SWEPT | OPTIONAL.keys()
    )
    assert {cls.name for cls in datasets} == DATASETS
    for cls in *solvers, *datasets, benchmark.get_benchmark_objective():
        assert not isinstance(cls, FailedImport)
        if cls.name in MISSING:
            continue
        assert cls.is_installed(raise_on_not_installed=True)


def test_a_competitor_fits_one_screen_and_names_its_source(root_dir):
    for path in (root_dir / "solvers").glob("*.py"):
        source = path.read_text()
        assert source.count("\n") <= 70, path
        assert re.search(r"\b(19|20)\d\d\b|et al\.", source), path


def test_every_pair_has_its_whole_curve(rows):
    pairs = rows.groupby(["dataset_name", "solver_name"])
    assert pairs.ngroups == len(BILEVEL) * len(BUNDLED)
    for pair, group in pairs:
        assert list(group["stop_val"]) == list(range(N + 1)), pair
        assert list(group["objective_n_outer"]) == list(range(N + 1)), pair


TEXT_COLUMNS = {f"objective_{name}" for name in (
    "name", "solver", "dataset", "settings", "solver_fingerprint",
    "data_fingerprint",
)}


def numbers(rows):
    """The metrics that are no text."""
    columns = [name for name in rows if name.startswith("objective_")]
    return [name for name in columns if name not in TEXT_COLUMNS]


def test_metrics_are_floats(rows):
    assert len(numbers(rows)) >= 14
    for name in numbers(rows):
        assert rows[name].dtype == np.float64, name
    always = [
        "value", "test_loss", "theta", "inner_residual", "n_g", "n_vjp",
        "forward_time", "backward_time", "diverged", "n_outer",
    ]
    assert np.isfinite(rows[[f"objective_{name}" for name in always]]).all(
        axis=None
    )
    assert not rows["objective_diverged"].any()


def test_rows_say_whose_they_are(rows):
    assert set(rows["p_obj_fingerprint"]) == {fingerprint()}
    for name, own in rows.groupby("solver_name"):
        assert set(own["objective_solver"]) == {name.partition("[")[0]}
    prints = rows.groupby("objective_solver")["objective_solver_fingerprint"]
    assert (prints.nunique() == 1).all()
    assert rows["objective_solver_fingerprint"].nunique() == len(BILEVEL)


def test_a_row_holds_the_settings_that_ran_and_no_others(rows, deq_rows):
    def settings(rows, name):
        found, = set(rows.loc[rows["objective_solver"] == name,
                              "objective_settings"])
        return json.loads(found)

    shared = {
        "step": "secant", "criterion": "energy", "memory": 60, "tol": 0.1,
        "decay": 0.78, "c2": 0.9, "keep_pairs": True, "max_iter": 1000,
        "polish": 0,
    }
    text = rows[rows["dataset_name"].str.contains("n_features=40")]
    assert settings(text, "Jacobian-Free") == shared | {
        "scale": "secant", "backward_steps": 0, "n_power": 0,
    }
    assert settings(text, "SHINE-corrected") == shared | {
        "scale": "secant", "backward_steps": 0, "growth": 0.0,
        "root_pairs": 0, "keep_pairs": "corrected",
    }
    assert settings(deq_rows, "SHINE") == {
        "forward": "broyden", "backward_steps": 0,
    }
    assert settings(deq_rows, "Unrolled-network") == {"n_layers": 10}
    assert settings(deq_rows, "HOAG-limited") == {
        "forward": "broyden", "backward": "broyden", "backward_steps": 5,
    }


def test_the_reference_is_measured_where_due(rows):
    last = rows[rows["stop_val"] == N]
    assert last["objective_value_function"].notna().all()
    between = rows[rows["stop_val"] % N != 0]
    assert between["objective_value_function"].isna().all()
    searches = last["solver_name"].str.contains("search")
    no_q = searches | last["solver_name"].isin(["Unrolled", "BOME"])
    for name, without in (
        ("q_cosine", no_q),
        ("q_rel_error", no_q),
        ("hypergrad_rel_error", searches),
    ):
        assert last.loc[without, f"objective_{name}"].isna().all()
        assert last.loc[~without, f"objective_{name}"].notna().all()
    # HOAG is nearer to the exact q than a method that does not solve for it
    hoag, free = (
        last[last["solver_name"] == name].set_index("dataset_name")[
            "objective_q_rel_error"] for name in ("HOAG", "Jacobian-Free")
    )
    assert (hoag < free).all()


def test_costs_tell_the_methods_apart(rows):
    last = rows[rows["stop_val"] == N].groupby("solver_name")
    products = last["objective_n_vjp"].min()
    free = SEARCHES | {
        "SHINE", "SHINE-OPA", "Jacobian-Free", "SHINE-corrected",
        "SHINE-at-root", "SHINE-corrected-at-root", "F2SA",
    }
    for name in BILEVEL:
        match, = (key for key in products.index if key.split("[")[0] == name)
        assert (products[match] == 0) == (name in free), name


def test_gradient_methods_go_downhill(rows):
    names = "SHINE", "SHINE-refine", "HOAG", "SHINE-OPA"
    curves = rows[rows["solver_name"].isin(names)]
    for _, curve in curves.groupby(["dataset_name", "solver_name"]):
        values = curve["objective_value"].to_numpy()
        assert values[-1] < values[0]


def test_the_end_of_a_short_search_is_measured(root_dir, tmp_path):
    rows = sweep(
        root_dir, tmp_path / "short", ["Grid-search[n_points=4]"], [RIDGE],
        objective_filters=["outer-loss[n_outer=9,reference=3]"],
    )
    measured = rows["objective_value_function"].notna()
    assert rows.loc[measured, "objective_n_outer"].tolist() == [0, 3, 4]


def test_searches_report_the_best_so_far(rows):
    for _, group in rows[
        rows["solver_name"].str.contains("search")
    ].groupby(["dataset_name", "solver_name"]):
        values = list(group["objective_value"])
        assert values == sorted(values, reverse=True)
        assert group["objective_n_g"].is_monotonic_increasing


def test_reruns_and_workers_agree_to_the_bit(root_dir, tmp_path, rows):
    datasets = [RIDGE, TEXT]
    again, parallel = (
        curves(sweep(
            root_dir, tmp_path / f"{n_jobs}.parquet", few_points(BILEVEL),
            datasets, n_jobs=n_jobs,
        )) for n_jobs in (None, 2)
    )
    first = curves(rows[rows["dataset_name"].isin(again["dataset_name"])])
    assert len(first) == len(BILEVEL) * 2 * (N + 1)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    pd.testing.assert_frame_equal(first, parallel, check_exact=True)


SPOILT = '''
import torch
from benchmark_shine.bench.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """A competitor from outside that fails at its second outer step."""

    name = "Spoilt"

    def make_adjoint(self):
        calls = []

        def adjoint(system):
            calls.append(1)
            if len(calls) < 2:
                return system.rhs
            {failure}
        return adjoint
'''


def spoilt(tmp_path, failure):
    path = tmp_path / "spoilt.py"
    path.write_text(SPOILT.format(failure=failure))
    return str(path)


DIGITS = "digits[width=12,'batch_size, epochs'=[(64, 1)]]"


@pytest.mark.parametrize("data", [RIDGE, DIGITS])
def test_a_nan_is_flagged_and_its_curve_kept(data, root_dir, tmp_path):
    path = spoilt(tmp_path, "return torch.full_like(system.rhs, torch.nan)")
    rows = sweep(
        root_dir, tmp_path / "nan.parquet", [path, "SHINE"], [data],
        # comparisons ask the adjoint too: the second call is to be a step's
        objective_filters=[f"outer-loss[n_outer={N},reference=0]"],
    )
    curve = rows[rows["solver_name"] == "Spoilt"]
    assert list(curve["stop_val"]) == [0, 1, 2]
    assert list(curve["objective_diverged"]) == [0, 0, 1]
    assert np.isfinite(curve["objective_test_loss"][:2]).all()
    other = rows[rows["solver_name"] == "SHINE"]
    assert len(other) == N + 1 and not other["objective_diverged"].any()


def test_an_exception_costs_nobody_else(root_dir, tmp_path, capsys):
    path = spoilt(tmp_path, "raise RuntimeError('out of luck')")
    rows = sweep(
        root_dir, tmp_path / "error.parquet", [path, "SHINE", "HOAG"], [RIDGE]
    )
    assert rows.groupby("solver_name").size().to_dict() == {
        "SHINE": N + 1, "HOAG": N + 1
    }
    told = "".join(capsys.readouterr())
    assert "out of luck" in told
    assert re.search(r"Spoilt.*error", told)


@pytest.fixture(scope="module")
def solvers(benchmark):
    """The classes of solvers/ by name."""
    return {cls.name: cls for cls in benchmark.get_solvers()}


@pytest.fixture(scope="module")
def problem(benchmark):
    dataset, = (d for d in benchmark.get_datasets() if d.name == "simulated")
    data = dataset.get_instance(n_samples=40, n_features=8, seed=2)
    return data.get_data()["problem"]


def method_of(solvers, problem, name, n_outer=4, **settings):
    return solvers[name].get_instance(**settings).method(problem, n_outer)


@pytest.mark.parametrize("name, settings, adjoint", [
    ("SHINE", {}, Shine()),
    ("SHINE", {"backward_steps": 2}, Refine(Shine(), ConjugateGradient(2))),
    ("SHINE-OPA", {}, Shine()),
    ("Jacobian-Free", {}, JacobianFree()),
    ("Jacobian-Free", {"n_power": 3, "backward_steps": 2},
     Refine(Neumann(0, 3), ConjugateGradient(2))),
    ("HOAG", {}, ConjugateGradient()),
    ("HOAG", {"first_q": "z"}, ConjugateGradient(default_q0=z_as_q0)),
    ("HOAG", {"preconditioner": "shine"},
     ConjugateGradient(estimate=transposed)),
    ("HOAG-limited", {}, ConjugateGradient(5)),
    ("SHINE-refine", {}, Refine(Shine(), ConjugateGradient(5))),
    ("SHINE-refine", {"backward_steps": 0, "growth": 0.01},
     Refine(Shine(), ConjugateGradient(0, growth=0.01))),
    ("Neumann", {}, Neumann(10, 5)),
    ("Neumann", {"backward_steps": 3, "n_power": 0}, Neumann(3, 0)),
    ("Grid-search", {}, None),
])
def test_a_solver_is_its_adjoint(name, settings, adjoint, solvers, problem):
    assert method_of(solvers, problem, name, **settings).adjoint == adjoint


@pytest.mark.parametrize("name, settings, adjoint", [
    ("HOAG", {}, QuasiNewtonSolve(Broyden(50, 50))),
    ("HOAG", {"backward": "gmres", "backward_steps": 3}, Gmres(3, tol=0.0)),
    ("HOAG-limited", {}, broyden_steps(5)),
    ("SHINE-refine", {}, Refine(Shine(), broyden_steps(5, transposed))),
    ("SHINE-refine", {"protocol": "published"},
     Refine(Shine(), broyden_steps(5, untransposed))),
    ("Jacobian-Free", {"backward_steps": 3},
     Refine(JacobianFree(), broyden_steps(3))),
    ("Neumann", {}, Neumann(10, 0)),
    ("SHINE-fallback", {}, Fallback(Shine(), NormRule(1.3))),
    ("SHINE-fallback", {"rule": "residual"},
     Fallback(Shine(), ResidualRule())),
    ("Phantom", {}, Phantom(5, 1.0)),
    ("Phantom", {"form": "unrolled", "tau": 0.5}, Phantom(5, 0.5)),
    ("Reversible", {"steps": 4}, ReversedSeries(4, 0.8)),
    ("torchdeq", {"backward": "anderson"},
     QuasiNewtonSolve(TorchDEQ("anderson", 50))),
    ("torchdeq", {"backward": "phantom"}, Phantom(5, 1.0)),
])
def test_a_solver_is_its_adjoint_in_a_batch(
    name, settings, adjoint, solvers, network
):
    assert method_of(solvers, network, name, **settings).adjoint == adjoint


@pytest.mark.parametrize("name, settings, finder", [
    ("SHINE", {"forward": "broyden"}, Broyden(50, 50)),
    ("HOAG", {"forward": "adjoint_broyden"}, AdjointBroyden(50, 50)),
    ("Jacobian-Free", {"forward": "anderson"}, Anderson(max_iter=50)),
    ("SHINE-OPA", {"side": "untransposed"}, AdjointBroyden(
        100, 50, Opa(EveryFewSteps(5, 5, 4)), untransposed
    )),
])
def test_settings_name_the_finder_of_networks(
    name, settings, finder, solvers, network
):
    method = method_of(solvers, network, name, **settings)
    assert method.find_root == finder


@pytest.mark.parametrize("name", sorted(BILEVEL - OWN_WAY - {"SHINE-OPA"}))
def test_settings_reach_the_finder(name, solvers, problem):
    method = method_of(
        solvers, problem, name, memory=7, max_iter=9, c2=0.5, scale=2.0,
        keep_pairs=False,
    )
    assert method.find_root == LBFGS(
        7, 9, 0.5, scale=2.0, keep_pairs=False, criterion="energy"
    )


@pytest.mark.parametrize("setting, of_data, scale", [
    (None, 3.0, 3.0), (None, "secant", None), ("secant", 3.0, None),
    (0.5, "secant", 0.5),
])
def test_scale_is_the_solvers_or_the_data_sets(
    setting, of_data, scale, solvers, problem
):
    problem = copy(problem)
    problem.scale = of_data
    method = method_of(solvers, problem, "SHINE", scale=setting)
    assert method.find_root.scale == scale


@pytest.mark.parametrize("function", [from_start, from_now])
def test_settings_reach_the_outer_optimiser(function, solvers, problem):
    anchor = function.__name__.removeprefix("from_")
    method = method_of(
        solvers, problem, "HOAG", protocol="hoag", tol=0.1, decay=0.5,
        anchor=anchor, moves=2,
    )
    assert method.outer == Hoag(0.1, 0.5, function, 2)
    assert method.find_root.criterion == "gradient"
    fair = method_of(solvers, problem, "HOAG", tol=0.2, decay=0.5)
    assert fair.outer == Secant(0.2, 0.5)
    # the step rule of HOAG has defaults beside the fair protocol's too
    alone = method_of(solvers, problem, "HOAG", step="hoag")
    assert alone.outer == Hoag(0.1, 0.78, from_start, 1)


@pytest.mark.parametrize("name, settings, finder, decay, adjoint", [
    ("SHINE", {}, LBFGS(30, keep_pairs=False), 0.78, Shine()),
    ("SHINE", {"figure": "fig2"},
     LBFGS(30, c2=9e-4, scale=1.0, keep_pairs=True), 0.78, Shine()),
    ("HOAG", {}, LBFGS(10, keep_pairs=False), 0.9,
     ConjugateGradient(default_q0=z_as_q0)),
    ("SHINE-refine", {}, LBFGS(30, keep_pairs=False), 0.78,
     Refine(Shine(), ConjugateGradient(0, growth=0.01))),
    ("SHINE-OPA", {}, LBFGS(
        60, c2=9e-4, scale=1.0, keep_pairs=True,
        opa=Opa(EveryFewSteps(29, 0, 4)),
    ), 0.78, Shine()),
])
def test_the_published_protocol(
    name, settings, finder, decay, adjoint, solvers, problem
):
    method = method_of(
        solvers, problem, name, protocol="published", **settings
    )
    assert (method.find_root, method.adjoint) == (finder, adjoint)
    assert method.outer == Hoag(1e-3, decay, from_now, 2)


def test_the_problem_says_which_figure_published_it(solvers, benchmark):
    dataset, = (
        d for d in benchmark.get_datasets() if d.name == "breast_cancer"
    )
    nls = dataset.get_instance(formulation="nls").get_data()["problem"]
    method = method_of(solvers, nls, "HOAG", protocol="published")
    assert method.find_root.memory == 10 and method.find_root.c2 == 9e-4
    assert method.outer == Hoag(1e-3, 0.8, from_now, 2)


def test_searches_cover_the_box(solvers, problem):
    grid = method_of(solvers, problem, "Grid-search", n_points=5, rtol=0.1)
    assert grid.outer == Search((12, 6, 0, -6, -12), 0.1, 3e-4)
    drawn = method_of(solvers, problem, "Random-search", n_points=5)
    expected = np.random.RandomState(problem.seed).uniform(-12, 12, 5)
    assert drawn.outer == Search(tuple(expected), 0.0, 3e-4)
    assert grid.n_outer == drawn.n_outer == 5
    # stale pairs are poison where theta jumps
    for search in grid, drawn:
        assert (search.find_root.scale, search.find_root.keep_pairs) == (
            None, False)


def test_published_searches(solvers):
    logistic = model("logistic")
    grid, drawn = (
        method_of(solvers, logistic, name, protocol="published", n_points=3)
        for name in ("Grid-search", "Random-search")
    )
    assert grid.outer == Search((-12, 0, 12), 1e-3)
    assert (drawn.outer.rtol, drawn.outer.atol) == (1e-3, 0)
    assert grid.find_root == drawn.find_root == LBFGS(10)


@pytest.mark.parametrize("name, settings, reason", [
    ("SHINE", {"memory": -1}, "memory: .*-1"),
    ("SHINE", {"max_iter": 0}, "max_iter: .*0"),
    ("SHINE", {"tol": "low"}, "tol: .*low"),
    ("SHINE", {"decay": 2}, "decay: .*2"),
    ("SHINE", {"protocol": "hoag", "anchor": "end"},
     "anchor: 'end' is not one of start, now"),
    ("SHINE", {"protocol": "hoag", "moves": 0}, "moves: .*0"),
    ("SHINE", {"anchor": "now"}, "anchor: needs step=hoag"),
    ("SHINE", {"moves": 2}, "moves: needs step=hoag"),
    ("SHINE", {"protocol": "hoag", "step": "secant"},
     "anchor: needs step=hoag; the protocols hoag and published set it"),
    ("SHINE", {"polish": -1}, "polish: .*-1"),
    ("SHINE", {"decay": "linear"}, "decay: .*quadratic, cubic, got 'linear'"),
    ("Jacobian-Free", {"n_power": -1}, "n_power: .*-1"),
    ("SHINE", {"step": "newton"}, "step: 'newton' is not one of secant"),
    ("SHINE", {"criterion": "z"}, "criterion: 'z' is not one of gradient"),
    ("SHINE", {"c2": 1.5}, "c2: .*1.5"),
    ("SHINE", {"scale": "big"}, "scale: .*big"),
    ("SHINE", {"keep_pairs": "no"}, "keep_pairs: .*no"),
    ("SHINE-OPA", {"opa_every": 5}, "opa_every: .*5"),
    ("SHINE-refine", {"growth": -1.0}, "growth: .*-1"),
    ("HOAG", {"first_q": "x"}, "first_q: 'x' is not one of zero, z"),
    ("HOAG-limited", {"backward_steps": -1}, "backward_steps: .*-1"),
    ("SHINE", {"figure": "fig1"}, "figure: needs protocol=published"),
    ("HOAG-limited", {"protocol": "published", "figure": "fig2"},
     "protocol: HOAG-limited was published in fig1 .* not in fig2"),
    ("Neumann", {"protocol": "published"},
     "protocol: Neumann was published in no figure"),
    ("Neumann", {"n_power": -1}, "n_power: .*-1"),
    ("Random-search", {"n_points": 2.5}, "n_points: .*2.5"),
    ("Random-search", {"atol": -1.0}, "atol: .*-1"),
    ("Grid-search", {"order": "up"}, "order: 'up' is not one of descending"),
    ("TPE-search", {"protocol": "published"},
     "protocol: TPE-search was published in no figure"),
    ("SHINE-fallback", {}, "SHINE-fallback: is for equilibrium"),
    ("SHINE", {"forward": "anderson"}, "forward: .*bi-level"),
])
def test_bad_settings_skip_the_solver(
    name, settings, reason, solvers, problem
):
    skipped, told = solvers[name].get_instance(**settings).skip(problem, 3, 1)
    assert skipped
    assert re.match(reason, told)
    assert "\n" not in told
    usual = solvers["SHINE"].get_instance()
    assert usual.skip(problem, 3, 1) == (False, None)


@pytest.mark.parametrize("settings, reason", [
    ({"n_outer": 2.5}, "n_outer: .*2.5"), ({"threads": 0}, "threads: .*0"),
    ({"reference": -1}, "reference: .*-1"),
])
def test_bad_settings_skip_the_objective(settings, reason, benchmark):
    objective = benchmark.get_benchmark_objective().get_instance(**settings)
    skipped, told = objective.skip(problem=object())
    assert skipped
    assert re.match(reason, told)


def test_the_command_line_skips_what_is_wrong(root_dir, tmp_path):
    lines = [f"{i % 2} 1:{i} {2 + i % 3}:{i % 5}" for i in range(40)]
    for name, text in {
        "good": lines, "bad": [*lines, "1 one"], "three": [*lines, "7 1:1"],
        "nan": [*lines[:-1], "1 1:nan"],
    }.items():
        (tmp_path / f"{name}.svm").write_text("\n".join(text) + "\n")
    output = tmp_path / "out.parquet"
    datasets = [
        f"svmlight[path='{tmp_path / name}.svm']"
        for name in ("good", "bad", "three", "nan", "none")
    ]
    status, text = command(
        root_dir, "run", ".", "--no-cache", "--no-plot", "--output", output,
        *(f"-d{name}" for name in (
            *datasets, "20news", "real-sim", f"{RIDGE[:-1]},n_groups=11]",
            "breast_cancer[formulation=ridge]",
        )),
        "-sSHINE", "-sHOAG", "-sSHINE[memory=-1]", "-sSHINE[step=end]",
        "-sNeumann[backward_steps=-2]",
        f"-o{OBJECTIVE}", "-oouter-loss[n_outer=0]",
        SCIKIT_LEARN_DATA=str(tmp_path / "sk"),
        LIBSVMDATA_HOME=str(tmp_path / "libsvm"),
    )
    assert status == 0, text
    assert "Traceback" not in text
    reasons = "\n".join(re.findall(r"Reason: (.*)", text))
    for reason in (
        rf"^{re.escape(str(tmp_path))}/bad.svm, line 41: ",
        r"^y: labels must be two classes, got 3 ",
        r"^X: NaN or infinite entries ",
        rf"^path: there is no file {re.escape(str(tmp_path))}/none.svm$",
        r"^20news .*benchopt prepare \. -d 20news",
        r"^real-sim .*benchopt prepare \. -d real-sim",
        r"^n_groups: .*11",
        r"^formulation: 'ridge'",
        r"^memory: .*-1$",
        r"^step: 'end'",
        r"^backward_steps: .*-2$",
        r"^n_outer: .*0$",
    ):
        assert re.search(reason, reasons, re.MULTILINE), (reason, text)
    rows = read_results(output)
    assert rows["dataset_name"].str.contains("good.svm").all()
    assert rows.groupby("solver_name").size().to_dict() == {
        "SHINE": N + 1, "HOAG": N + 1
    }


def test_an_edit_changes_the_fingerprint(root_dir, tmp_path):
    package = tmp_path / "benchmark_shine"
    shutil.copytree(root_dir / "benchmark_shine", package)

    def of_copy():
        code = ("from benchmark_shine.fingerprints import fingerprint as f;"
                "print(f())")
        return subprocess.check_output(
            [sys.executable, "-c", code], cwd=tmp_path, text=True
        ).strip()

    assert of_copy() == fingerprint()
    with (package / "root" / "lbfgs.py").open("a") as file:
        file.write("# edited\n")
    assert of_copy() != fingerprint()


# ------------------------------------------------- deep equilibrium networks

N_DEQ = 6
DEQ_OBJECTIVE = f"outer-loss[n_outer={N_DEQ},reference={N_DEQ}]"


@pytest.fixture(scope="module")
def deq_rows(root_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("deq") / "all.parquet"
    return sweep(
        root_dir, output, few_points(EQUILIBRIUM), [DIGITS],
        objective_filters=[DEQ_OBJECTIVE],
    )


def test_every_solver_trains_a_network(deq_rows):
    curves = deq_rows.groupby("solver_name")
    assert set(curves.groups) == EQUILIBRIUM
    for name, curve in curves:
        assert list(curve["objective_n_outer"]) == list(range(N_DEQ + 1))
        losses = curve["objective_test_loss"].to_numpy()
        assert losses[-1] < losses[0], name
        assert not curve["objective_diverged"].any()


def test_metrics_of_networks(deq_rows):
    last = deq_rows[deq_rows["stop_val"] == N_DEQ]
    assert last["objective_test_accuracy"].between(0.1, 1).all()
    # the Cayley map's eigenvalues times slopes in [½, 1]
    assert last["objective_spectral_radius"].between(0.47, 0.951).all()
    for name in "q_cosine", "q_cosine_median", "q_rel_error", "peak_memory":
        assert last[f"objective_{name}"].notna().all()
    peaks = last.set_index("solver_name")["objective_peak_memory"]
    assert peaks["HOAG"] > peaks["SHINE"] > 50 * 4 * 64 * 12
    for name in "theta", "value_function":
        assert deq_rows[f"objective_{name}"].isna().all()
    for name in numbers(deq_rows):
        assert deq_rows[name].dtype == np.float64, name
    hoag = last[last["solver_name"] == "HOAG"]
    assert (hoag["objective_q_rel_error"] < 1e-3).all()


def test_costs_in_networks(deq_rows):
    last = deq_rows[deq_rows["stop_val"] == N_DEQ]
    products = last.set_index("solver_name")["objective_n_vjp"]
    for name in "SHINE", "SHINE-fallback", "Jacobian-Free":
        assert products[name] == 0
    assert products["Neumann"] == 10 * N_DEQ
    assert products["HOAG-limited"] == 5 * N_DEQ
    assert products["HOAG"] > products["HOAG-limited"]
    # adjoint Broyden pays in the forward pass
    assert products["SHINE-OPA"] > 10 * N_DEQ


@pytest.fixture(scope="module")
def network(benchmark):
    dataset, = (d for d in benchmark.get_datasets() if d.name == "digits")
    return dataset.get_instance(width=8).get_data()["problem"]


@pytest.mark.parametrize("name, settings, reason", [
    ("Grid-search", {}, "Grid-search: is for bi-level"),
    ("SHINE", {"memory": 60}, "memory: .*equilibrium networks"),
    ("HOAG", {"first_q": "z"}, "first_q: .*equilibrium networks"),
    ("SHINE", {"forward": "newton"}, "forward: 'newton' is not one of"),
    ("SHINE-OPA", {"side": "left"}, "side: 'left' is not one of"),
    ("SHINE-refine", {"estimate": "hot"}, "estimate: 'hot' is not one of"),
    ("HOAG", {"backward": "cg"}, "backward: 'cg' is not one of"),
    ("SHINE-fallback", {"rule": "luck"}, "rule: 'luck' is not one of"),
    ("SHINE", {"estimate": "cold"}, "estimate: needs backward_steps"),
    ("SHINE-PCG", {}, "SHINE-PCG: preconditioner .*networks"),
    ("Phantom", {"tau": 2.0}, "tau: .*2.0"),
    ("Phantom", {"form": "unrolled", "k": 0}, "k: .*0"),
    ("Phantom", {"form": "closed"}, "form: 'closed' is not one of"),
    ("Reversible", {"steps": 8}, "steps: 8 .*float32.*at most 7"),
    ("torchdeq", {"backward": "cg"}, "backward: 'cg' is not one of"),
    ("Unrolled-network", {"n_layers": 0}, "n_layers: .*0"),
])
def test_networks_skip_what_has_no_meaning(
    name, settings, reason, solvers, network
):
    skipped, told = solvers[name].get_instance(**settings).skip(network, 3, 1)
    assert skipped
    assert re.match(reason, told)
    assert "\n" not in told


def test_a_network_is_scored_once_an_epoch(solvers, network):
    solver = solvers["SHINE"].get_instance()
    solver.set_objective(network, network.n_steps, 1)
    points = [0]
    while points[-1] < network.n_steps:
        points.append(solver.get_next(points[-1]))
    assert points == list(range(0, 221, 22))
    solver.set_objective(network, 25, 1)
    assert solver.get_next(24) == 25 and solver.get_next(22) == 24


def test_solvers_of_a_run_share_exact_solutions(benchmark):
    named = {cls.name: cls for cls in benchmark.get_datasets()}
    data = named["simulated"].get_instance(n_samples=40, n_features=8)
    objective = benchmark.get_benchmark_objective().get_instance()
    copies = [copy(objective), copy(objective)]  # as benchopt hands them out
    for each in copies:
        assert each._set_dataset(data) == (False, None)
    one, two = copies
    assert one is not two and one._compare is two._compare


def test_each_family_has_its_own_length(benchmark, network, problem):
    objective = benchmark.get_benchmark_objective().get_instance()
    for each, n_outer in (network, 220), (problem, 30):
        objective.set_data(each)
        assert objective.get_objective()["n_outer"] == n_outer
