"""Figures of result files whose every median is known beforehand."""
import ast
import functools
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.image import imread
from pyarrow.parquet import write_table

from helpers.figure_rows import (
    assert_nothing_overlaps, bilevel, losses, older, rows, run, runs_of,
    save, warnings_of,
)
from figures import (
    arrivals, authors, convergence, methods, plotting, results, stats,
)
from figures.gallery import FIGURES

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2)
NAN, INF = np.nan, np.inf
LOGISTIC = {"p_dataset_formulation": "logistic"}
CONVERGENCE = ("fig1", "figE1", "fig2", "nls", "quickstart")


def gaps_of_shine(seed):
    return [256, 20 * (seed + 1), 5 * (seed + 1), (seed + 1) / 2, 0]


def race(dataset="toy", formulation="logistic"):
    """Both protocols; in the published one SHINE goes 1 below the rest."""
    data = {"dataset": dataset, "p_dataset_formulation": formulation}
    published = data | {"p_solver_protocol": "published"}
    return pd.concat([
        losses(method, seed, gaps or gaps_of_shine(seed), products, **columns)
        for seed in SEEDS for method, gaps, products, columns in (
            ("SHINE", None, 0, data),
            ("HOAG", [256, 30, 8, 2, 1], 5, data),
            ("SHINE-OPA", [256, 16, 4, 2, 1], 0, data),
            ("Jacobian-Free", [256, 64, 64, 32, 32], 0, data),
            ("Newton", [256, 4, 4, 4, 4], 0, data),
            ("Grid-search", [256, 50, 50], 0,
             data | {"p_solver_protocol": None}),
            ("SHINE", [256, 8, -1], 0, published),
            ("HOAG", [256, 12, 3], 0, published),
        )
    ], ignore_index=True)


def gaps(frame, method, protocol="fair"):
    frame = arrivals.add_gap(frame, "test_loss")
    return frame[
        (frame["method"] == method) & (frame["protocol"] == protocol)
    ]


@pytest.fixture(scope="module")
def result_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "both.parquet"
    return save(path, race(), race("toy", "nls"), race("20news"))


@pytest.fixture(scope="module")
def inversion_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("inversion") / "inversion.csv"
    ratio = {"prescribed": 1.0, "krylov": 1.0, "random": 1.05}
    pd.DataFrame([
        # the fourth try of the random direction leaves the axes
        {"try": i, "direction": name, "ratio": value,
         "cosine": 0.9 if (name, i) == ("random", 3) else 0.999}
        for i in range(4) for name, value in ratio.items()
    ]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def traces_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("authors") / "authors.csv"
    pd.DataFrame([
        {"scheme": scheme, "outer_step": k, "time_s": 0.5 * k,
         "cum_inner_fg": 7 * k, "cum_hvp": 2 * k, "heldout_loss": loss}
        for scheme, last in (
            ("original", 103.0), ("random-search", 131.0),
            ("grid-search", 150.0), ("pure-python", 101.0),
        )
        for k, loss in enumerate((356.0, 115.0, last))
    ]).to_csv(path, index=False)
    return path


# Whose a row is

def labels(*frames):
    return set(runs_of(*frames)["method"])


def variant(solver, seed=0, file=None, **settings):
    settings = {f"p_solver_{key}": [value] * 2
                for key, value in settings.items()}
    return bilevel(solver, seed, [1, 0], file_solver=file, **settings)


@pytest.mark.parametrize("solver, settings, label", [
    ("HOAG", {"backward_steps": 5}, "HOAG-limited"),
    ("HOAG", {"backward_steps": 7}, "HOAG-limited (backward_steps=7)"),
    ("HOAG", {"backward_steps": NAN}, "HOAG"),
    ("HOAG", {"preconditioner": "shine"}, "SHINE-PCG"),
    ("HOAG", {"preconditioner": "recycled"}, "Recycled-PCG"),
    ("HOAG", {"preconditioner": "nystrom"}, "Nystrom-PCG"),
    ("HOAG", {"backward": "gmres"}, "HOAG (backward=gmres)"),
    ("HOAG", {"memory": 60, "tol": 0.1}, "HOAG"),
    ("HOAG", {"memory": 10}, "HOAG (memory=10)"),
    ("SHINE", {"backward_steps": 5}, "SHINE-refine"),
    ("SHINE", {"backward_steps": 0}, "SHINE"),
    ("SHINE", {"keep_pairs": "corrected"}, "SHINE-corrected"),
    ("SHINE", {"keep_pairs": "True"}, "SHINE"),
    ("SHINE", {"root_pairs": 5}, "SHINE-at-root"),
    ("SHINE", {"root_pairs": 5, "keep_pairs": "corrected"},
     "SHINE-corrected-at-root"),
    ("SHINE", {"slurm_gres": "gpu:1"}, "SHINE"),
    ("Neumann", {"backward_steps": 10}, "Neumann"),
    ("Mine", {"alpha": 3}, "Mine"),
])
def test_labels_of_settings_alone_in_a_file(solver, settings, label):
    assert labels(variant(solver, **settings)) == {label}


def test_older_names_are_the_same_methods():
    new = [variant("HOAG", backward_steps=5),
           variant("SHINE", 1, backward_steps=5)]
    old = [
        older(variant("HOAG-limited", 1, n_cg=5)),
        older(variant("SHINE-refine", 0, n_refine=5)),
        older(variant("Neumann", n_steps=1), settings="[n_steps=1]"),
        older(variant("SHINE-at-root", n_pairs=5)),
    ]
    assert labels(*new, *old) == {
        "HOAG-limited", "SHINE-refine", "Neumann (backward_steps=1)",
        "SHINE-at-root",
    }


def test_variants_are_told_apart_by_what_differs():
    assert labels(
        variant("SHINE"), variant("SHINE", memory=3),
        variant("Mine", alpha=1, beta=1), variant("Mine", alpha=2, beta=2),
        variant("Mine", alpha=2, beta=3),
    ) == {"SHINE", "SHINE (memory=3)", "Mine (alpha=1)",
          "Mine (alpha=2, beta=2)", "Mine (alpha=2, beta=3)"}


def test_an_unknown_solver_shows_what_benchopt_shows():
    odd = variant("Mine", alpha=3).assign(solver_name="Mine[alpha=3]")
    assert labels(odd) == {"Mine (alpha=3)"}
    # the number of moves of older files stands for the protocol
    assert labels(older(variant("Mine"), 2, "[moves=2]")) == {"Mine"}


def test_different_solvers_never_get_one_label():
    pair = [variant("Mine [a]", file="mine_a.py"),
            variant("Mine [b]", file="mine_b.py")]
    assert labels(*pair) == {"Mine [a]", "Mine [b]"}
    # of older files only the name up to the bracket is known
    assert labels(*map(older, pair)) == {
        "Mine (file=mine_a.py)", "Mine (file=mine_b.py)"}
    same = [variant("Mine", file="a/mine.py"),
            variant("Mine", file="b/mine.py")]
    assert labels(*same) == {"Mine (file=a/mine.py)", "Mine (file=b/mine.py)"}
    warning, = warnings_of(*same)
    assert "Mine: rows of 2 files (a/mine.py, b/mine.py)" in warning
    sources = [variant("Mine", solver_fingerprint=x, protocol="hoag")
               for x in "xy"]
    sources = [frame.rename(columns={
        "p_solver_solver_fingerprint": "objective_solver_fingerprint"
    }) for frame in sources]
    assert labels(*sources) == {"Mine (source=x)", "Mine (source=y)"}
    assert "2 sources (x, y)" in warnings_of(*sources)[0]
    # a file from before there were fingerprints
    assert labels(sources[0], older(variant("Mine"))) == {"Mine"}
    assert labels(*sources, older(variant("Mine"))) == {
        "Mine (source=x)", "Mine (source=y)", "Mine (source=unknown)"}


def on(path, content="", seed=0):
    return bilevel(
        "SHINE", seed, [1, 0], dataset="svmlight", p_dataset_path=path,
        data_fingerprint=content,
    )


def test_different_data_never_get_one_label():
    names = runs_of(on("/data/cohort, 2023/x.svm"),
                    on("/data/cohort, 2024/x.svm"))["dataset"]
    assert set(names) == {"svmlight (path=cohort, 2023/x.svm)",
                          "svmlight (path=cohort, 2024/x.svm)"}
    frames = on("x.svm", "abc"), on("x.svm", "def", seed=1)
    assert set(runs_of(*frames)["dataset"]) == {
        "svmlight (data=abc)", "svmlight (data=def)"}
    assert "2 contents (abc, def)" in warnings_of(*frames)[0]
    # one content at two places is told by the path alone
    assert len(set(runs_of(on("a/x", "abc"), on("b/x", "abc"))["dataset"])
               ) == 2
    assert set(runs_of(on("x.svm", "abc"))["dataset"]) == {"svmlight"}


def test_flavours_of_the_published_protocol():
    one, two, bad = (
        variant("SHINE", seed, protocol="published", figure=figure).assign(
            objective_settings=text)
        for seed, (figure, text) in enumerate((
            (None, '{"c2": 0.9}'), ("fig2", '{"c2": 9e-4}'), (None, "[1"),
        ))
    )
    assert labels(one) == labels(two) == {"SHINE"}
    runs = runs_of(one, two).groupby("method")["c2"].first()
    assert runs.to_dict() == {"SHINE": 0.9, "SHINE (figure=fig2)": 9e-4}
    with pytest.raises(results.ResultError, match="settings in JSON"):
        runs_of(bad)


def test_settings_that_benchopt_pickled():
    def pickled(value):
        return b"\x00benchopt-pkl\x00" + pickle.dumps(value)

    assert labels(
        variant("SHINE-OPA", opa_every=pickled([5, 5])),
        variant("SHINE-OPA", 0, opa_every=pickled([29, 0])),
    ) == {"SHINE-OPA", "SHINE-OPA (opa_every=(29, 0))"}
    assert results.plain_value(pickled(np.nan)) is None
    assert results.plain_value(pickled({"a": [1, None]})) == (
        ("a", (1, None)),)
    code = pickled(os.getcwd)  # needs an import: stays as it is
    assert results.plain_value(code) == code


def test_network_rows_of_older_files_lose_settings_that_nothing_used():
    old = older(rows("SHINE", 0, 2, "net", test_accuracy=0.5,
                     p_solver_memory=7, p_solver_forward="anderson"))
    assert labels(old) == {"SHINE (forward=anderson)"}


def test_searches_are_in_every_protocol_of_their_data_set():
    frame = race()
    found = runs_of(frame).groupby("protocol")["method"].unique().map(set)
    assert found["fair"] == {"SHINE", "HOAG", "SHINE-OPA",
                             "Jacobian-Free", "Newton", "Grid-search"}
    assert found["published"] == {"SHINE", "HOAG", "Grid-search"}
    mine = frame["solver_name"] == "Grid-search"
    assert set(runs_of(frame[mine])["protocol"]) == {"fair"}
    # but one that has a protocol stays there
    frame.loc[mine, "p_solver_protocol"] = "published"
    found = runs_of(frame).query("method == 'Grid-search'")
    assert set(found["protocol"]) == {"published"}


def test_searches_of_one_file_are_not_in_the_protocols_of_another():
    other = race().query("p_solver_protocol == 'published'")
    found = runs_of(race().query("p_solver_protocol != 'published'"), other)
    found = found.query("method == 'Grid-search'")
    assert set(found["protocol"]) == {"fair"}


def test_protocols_of_older_files():
    frames = [
        older(bilevel("SHINE", 0, [1, 0])),
        older(bilevel("SHINE", 0, [1, 0]), 2, "[memory=10,moves=2]"),
        older(bilevel("Grid-search", 0, [1, 0]), NAN),
        older(bilevel("Random-search", 0, [1, 0]), 1),
        older(bilevel("HOAG", 0, [1, 0]), 3),
        bilevel("HOAG", 0, [1, 0], p_solver_protocol="mine"),
    ]
    runs = runs_of(*frames)
    assert set(runs.groupby(["protocol", "method"]).groups) == {
        ("hoag", "SHINE"), ("published", "SHINE"), ("mine", "HOAG"),
        ("hoag", "HOAG (moves=3)"),
    } | {(protocol, f"{name}-search") for name in ("Grid", "Random")
         for protocol in ("hoag", "published", "mine")}
    assert results.in_protocol_order(["mine", "published", "hoag", "fair"]
                                     ) == ["fair", "hoag", "published", "mine"]


@pytest.mark.parametrize("lacking, bilevel_is", [
    (["objective_optimum"], "hoag"), ([], "fair"),
])
def test_what_was_called_fair_is_hoag_but_of_networks(lacking, bilevel_is):
    runs = runs_of(pd.concat([
        bilevel("SHINE", 0, [1, 0]), rows("SHINE", 0, 2, "net",
                                          test_accuracy=0.5),
    ]).drop(columns=lacking))
    protocols = runs.groupby("dataset")["protocol"].first()
    assert protocols.to_dict() == {"net": "fair", "toy": bilevel_is}


def test_the_optimum_of_a_file_that_lacks_it_is_the_lowest_it_measured():
    frames = [bilevel("SHINE", 0, [1, 0.5]), bilevel("SHINE", 1, [1, 0.25]),
              bilevel("HOAG", 0, [1, 0.2], diverged=[0.0, 1.0])]
    runs = runs_of(older(pd.concat(frames)), bilevel("Newton", 0, [1, 0]))
    found = runs.groupby(["method", "seed"])[["optimum", "estimated"]].first()
    assert found.loc["SHINE", 0.0].tolist() == [100, 1]
    assert found.loc["SHINE", 1.0].tolist() == [101, 1]
    assert found.loc["Newton", 0.0].tolist() == [50, 0]


def test_repeated_runs_of_a_seed_are_one():
    again = race().assign(time=lambda frame: 3 * frame["time"])
    runs = gaps(runs_of(pd.concat([race(), again])), "SHINE")
    assert len(runs) == 5 * len(SEEDS)
    np.testing.assert_allclose(
        runs.groupby("seed")["time"].max(), [0.8, 1.6, 2.4]
    )


def test_a_run_of_several_files_is_that_of_the_first():
    """Its time is compared with those of the file's other methods."""
    again = race().assign(time=lambda frame: 3 * frame["time"])
    again = again[again["solver_name"].str.contains("SHINE|Grid")]
    for frames, last in ((race(), again), 0.4), ((again, race()), 1.2):
        runs = runs_of(*frames)
        assert not runs.duplicated([*results.RUN, "step"]).any()
        assert gaps(runs, "SHINE").groupby("seed")["time"].max().iloc[
            0] == pytest.approx(last)
        assert set(runs["method"]) == set(runs_of(race())["method"])
        assert "several files" in warnings_of(*frames)[-1]


def test_versions_of_the_package_are_not_mixed_in_silence():
    frame, other = race(), race("other").assign(p_obj_fingerprint="def")
    assert not warnings_of(frame, other)
    frame.loc[:5, "p_obj_fingerprint"] = "def"
    warning, = warnings_of(frame)
    assert "abc; def" in warning


def machines(frame, torch="2.13", threads=1, processor="x"):
    return frame.assign(**{
        "p_obj_torch": torch, "p_obj_threads": threads,
        "system-processor": processor})


@pytest.mark.parametrize("other, words", [
    ({"torch": "1.9"}, "torch 1.9"), ({"threads": 64}, "threads 64"),
    ({"processor": "y"}, ", y"),
])
def test_machines_are_not_mixed_in_silence(other, words):
    frame, columns = race(), ["fingerprint", "machine", "path"]
    assert not warnings_of(machines(frame))
    runs = runs_of(machines(frame))
    assert runs[columns].drop_duplicates().to_numpy().tolist() == [
        ["abc", "torch 2.13, threads 1, x", "file 0"]]
    half = frame["objective_solver"] == "HOAG"
    warning, = warnings_of(pd.concat([
        machines(frame[~half]), machines(frame[half], **other)]))
    assert "2 machines" in warning and words in warning


def test_runs_that_were_cut_off_are_named():
    long, short = [1, 0.5, 0.1, 0.01], [1, 0.5]
    frames = [bilevel("SHINE", seed, short if seed == 1 else long)
              for seed in SEEDS]
    warning, = warnings_of(*frames, bilevel("HOAG", 0, long))
    assert "SHINE ends before the others (seed 1)" in warning
    warning, = warnings_of(bilevel("SHINE", 0, short),
                           bilevel("HOAG", 0, long))
    assert "SHINE ends before the others (seed 0)" in warning
    # a run that diverged ends where it did; a search has its own steps
    assert not warnings_of(
        bilevel("HOAG", 0, long), bilevel("Grid-search", 0, short),
        bilevel("SHINE", 0, short, diverged=[0.0, 1.0]))


def test_different_optima_of_a_seed_are_told():
    frames = bilevel("SHINE", 0, [1, 0]), bilevel("HOAG", 0, [1, 0])
    assert not warnings_of(*frames)
    near = frames[1].assign(objective_optimum=50 + 1e-7)
    assert not warnings_of(frames[0], near)
    warning, = warnings_of(
        frames[0], frames[1].assign(objective_optimum=40.0))
    assert "seed 0 tell different optima" in warning


def test_the_optimum_of_a_seed_is_that_of_its_other_rows():
    other = bilevel("HOAG", 0, [1, 0.5]).assign(objective_optimum=NAN)
    runs = runs_of(pd.concat([bilevel("SHINE", 0, [1, 0]), other]))
    assert set(runs["optimum"]) == {50} and set(runs["estimated"]) == {0}


# Statistics

@pytest.mark.parametrize("protocol, offset", [("fair", 0), ("published", 1)])
def test_gap_is_to_the_best_of_the_seed_in_the_protocol(protocol, offset):
    own = gaps(runs_of(race()), "Grid-search", protocol)
    for seed in SEEDS:
        found = own.loc[own["seed"] == seed, "gap"].tolist()
        assert found == [256 + offset, 50 + offset, 50 + offset]


def test_curve_is_the_median_with_quantiles():
    runs = gaps(runs_of(race()), "SHINE")
    curve = stats.median_curve(runs, "time", "gap")
    assert curve["y"].tolist() == [256, 40, 10, 1, 0]
    np.testing.assert_allclose(curve["x"], 0.2 * np.arange(5))
    np.testing.assert_allclose(curve["low"], [256, 24, 6, 0.6, 0])
    np.testing.assert_allclose(curve["high"], [256, 56, 14, 1.4, 0])
    runs = gaps(runs_of(race()), "HOAG")
    curve = stats.median_curve(runs, "evaluations", "gap", (0.25, 0.75))
    assert curve["x"].tolist() == [0, 15, 30, 45, 60]


@pytest.mark.parametrize("numbers, quartiles", [
    ([3, 1, 2], [1.5, 2, 2.5]), ([2, INF, 1], [1.5, 2, INF]),
    ([1, INF, INF], [INF, INF, INF]), ([-INF, 4, 6], [-INF, 4, 5]),
    ([1, 2, INF, INF, INF], [2, INF, INF]), ([NAN, 7], [7, 7, 7]),
    ([NAN], [NAN, NAN, NAN]),
])
def test_quantiles_with_infinity(numbers, quartiles):
    found = [stats.quantile(numbers, q) for q in (0.25, 0.5, 0.75)]
    np.testing.assert_array_equal(found, quartiles)


def broken_runs():
    """Two of three seeds of Neumann diverge at step 2 and end there."""
    dead = {"diverged": np.array([0.0, 0.0, 1.0]), **LOGISTIC}
    return pd.concat([
        race(), losses("Neumann", 0, [256, 2, 1, 0.5], **LOGISTIC),
        losses("Neumann", 1, [256, 2, NAN], **dead),
        # a finite loss, but no hypergradient to go on with
        losses("Neumann", 2, [256, 2, -90], **dead),
    ])


def test_divergence_is_for_ever():
    own = gaps(runs_of(broken_runs()), "Neumann")
    assert own["best"].min() == 100  # not the loss of the broken run
    curve = stats.median_curve(own, "time", "gap")
    assert curve["y"].tolist() == [256, 2, INF, INF]
    np.testing.assert_allclose(curve["x"], [0, 0.2, 0.4, 0.4])


def test_curve_ends_with_the_shortest_run():
    runs = runs_of(race(), losses("Neumann", 0, [256, 2], **LOGISTIC),
                   losses("Neumann", 1, [256, 4, 2], **LOGISTIC))
    curve = stats.median_curve(gaps(runs, "Neumann"), "time", "gap")
    assert curve["y"].tolist() == [256, 3]


@pytest.mark.parametrize("gaps, gap, first, stay", [
    ([1, 0.5, 0.1, 0.5, 0.1, 0.0], 0.2, 2, 4), ([1, 0.1], 0.2, 1, 1),
    ([1, 0.1, NAN, 0.5], 0.2, 1, INF), ([1, NAN, 0.1, NAN], 0.2, 2, 2),
    ([1, 0.5], 0.2, INF, INF), ([NAN, NAN], 0.2, NAN, NAN),
    ([1, 0.1, INF], 0.2, 1, INF), ([0.1, 0.1], 0.2, 0, 0),
    ([1, 0.2], 0.2, 1, 1),  # as far as the gap itself
])
def test_first_and_stay(gaps, gap, first, stay):
    runs = pd.concat([pd.DataFrame({
        "dataset": "toy", "protocol": "fair", "method": method, "seed": 0,
        "step": range(len(own)), "time": range(len(own)), "gap": own,
    }) for method, own in (("SHINE", gaps), ("HOAG", [0.1]))])
    runs = runs.sample(frac=1, random_state=0, ignore_index=True)
    for find, at in (arrivals.first, first), (arrivals.stay, stay):
        found = find(runs, gap, "time").droplevel([0, 1, 3])
        np.testing.assert_array_equal(found[["SHINE", "HOAG"]], [at, 0])


def test_what_was_not_counted_never_arrives_unknown():
    runs = arrivals.add_suboptimality(runs_of(
        bilevel("SHINE", 0, [1, 0.1]), bilevel("HOAG", 0, [1, 0.1], n_g=NAN)))
    for find in arrivals.first, arrivals.stay:
        found = find(runs, 0.2, "evaluations").droplevel([0, 1, 3])
        assert found["SHINE"] == 11 and np.isnan(found["HOAG"])
        assert find(runs, 0.2, "time").tolist() == [1, 1]


def test_a_loss_of_minus_infinity_is_not_the_best():
    runs = arrivals.add_suboptimality(runs_of(
        bilevel("SHINE", 0, [1, -INF]))).sort_values("step")
    assert runs["gap"].tolist() == [1, INF]


def test_a_bilevel_problem_with_accuracies_is_no_network():
    runs = runs_of(bilevel(
        "SHINE", 0, [NAN] * 3, test_accuracy=0.8, optimum=NAN))
    assert not arrivals.is_network(runs)
    runs = runs_of(rows("SHINE", 0, 3, test_accuracy=0.8))
    assert arrivals.is_network(runs)


def test_suboptimality():
    runs = arrivals.add_suboptimality(runs_of(
        bilevel("SHINE", 0, [1, 0.5, 1e-6, 0.7, -1], value_error=1e-3),
        bilevel("HOAG", 0, [2, 1, 1], diverged=[0.0, 0.0, 1.0]),
        bilevel("Newton", 0, [1e-9, 1, 0], value_error=1e-6),
    )).set_index("method").sort_values("step")
    for method, name, numbers in (
        ("SHINE", "gap", [1, 0.5, 0, 0.7, 0]),
        ("SHINE", "best_gap", [1, 0.5, 0, 0, 0]),
        ("SHINE", "floor", [1e-5] * 5), ("HOAG", "gap", [1, 0.5, INF]),
        ("HOAG", "best_gap", [1, 0.5, INF]), ("Newton", "gap", [NAN] * 3),
        ("Newton", "floor", [NAN] * 3),
    ):
        np.testing.assert_allclose(runs.loc[method, name], numbers)


# Looks

def test_one_look_per_method():
    known = [m.name for m in methods.METHODS] + list(methods.VARIANT_DASHES)
    others = [f"Method {i}" for i in range(len(methods.SPARE))]
    looks = methods.looks(known + others)
    pairs = {(look["color"], look["linestyle"]) for look in looks.values()}
    assert len(pairs) == len(known) + len(others)
    for label in methods.VARIANT_DASHES:
        base = label.partition(" (")[0]
        assert looks[label]["color"] == methods.BY_NAME[base].colour
    assert methods.looks(["Mine"])["Mine"] == looks.get(
        "Mine", methods.looks(["Mine", "SHINE"])["Mine"])


@pytest.fixture(scope="module")
def drawn(result_file, inversion_file, traces_file):
    """The drawing of each figure, made once."""
    extra = {"fig1": [traces_file], "fig2": [inversion_file]}
    kept = {"nls": ["toy"], "quickstart": ["toy"]}

    @functools.cache
    def once(name):
        inputs = results.read_inputs(
            [result_file, *extra.get(name, [])], kept.get(name, ["20news"])
        )
        return FIGURES[name].draw(inputs)

    return once


def panels(figure):
    return {ax.get_title(): ax for ax in figure.axes}


def lines(ax):
    return {line.get_label(): line for line in ax.lines
            if not line.get_label().startswith("_")}


@pytest.mark.parametrize("name", CONVERGENCE)
def test_nothing_is_covered_or_cut_off(name, drawn, tmp_path):
    for end, figure in drawn(name).figures.items():
        pdf, png = plotting.save(figure, tmp_path, f"a{end}")
        assert pdf.read_bytes().startswith(b"%PDF")
        assert imread(png).shape[1] == round(200 * 6.8)
        with plotting.paper_style():
            assert_nothing_overlaps(figure)


@pytest.mark.parametrize("name, shown, ends", [
    ("fig1", {"SHINE", "HOAG", "Jacobian-Free", "Grid-search"}, (24, 56)),
    ("figE1", {"SHINE", "HOAG", "Jacobian-Free", "Grid-search", "Newton"},
     (24, 56)),
    ("fig2", {"SHINE", "SHINE-OPA", "HOAG"}, (30, 50)),
    ("nls", {"SHINE", "SHINE-OPA", "HOAG", "Jacobian-Free", "Grid-search",
             "Newton"}, (30, 50)),
])
def test_convergence_figures(name, shown, ends, drawn):
    title = "toy (nls)" if name == "nls" else "20news"
    suffix = "" if name == "fig2" else " protocol"  # 3 columns
    for end, figure in drawn(name).figures.items():
        loss, x = "F", end
        if end.startswith("test_loss"):
            loss, x = "test_loss", end.removeprefix("test_loss_")
        way, floor = {"F": (256, 1e-6), "test_loss": (1, 1e-3)}[loss]
        ax = panels(figure)[f"{title}, fair{suffix}"]
        assert ax.get_xlabel() == plotting.X_LABELS[x]
        assert ax.get_ylabel() == plotting.Y_LABELS[loss]
        assert set(lines(ax)) == shown
        assert len(ax.lines) == len(shown) * (1 + (loss == "F"))
        assert len(ax.collections) == len(shown)  # a band each
        shine = lines(ax)["SHINE"]
        unit = {"time": 0.2, "evaluations": 10}[x]
        np.testing.assert_allclose(shine.get_xdata(), unit * np.arange(1, 5))
        np.testing.assert_allclose(
            shine.get_ydata(), np.array([40, 10, 1, floor]) / way)
        band = ax.collections[0].get_paths()[0].vertices[:, 1]
        for edge in ends:  # of the band at SHINE's second point
            assert np.isclose(band, edge / way).any()
        published = panels(figure)[f"{title}, published{suffix}"]
        assert shown & {"SHINE", "HOAG"} <= set(lines(published))
        assert published.get_ylim() == ax.get_ylim()
        texts = {text.get_text() for text in figure.legends[0].get_texts()}
        assert shown <= texts


def test_best_so_far_and_current(drawn):
    ax, = draw(bilevel("SHINE", 0, [1, 0.1, 0.5, 0])).axes
    best, current = (line.get_ydata() for line in ax.lines)
    floor = 1e-6 / 100
    np.testing.assert_allclose(best, [0.1, 0.1, floor])
    np.testing.assert_allclose(current, [0.1, 0.5, floor])
    shade, = ax.patches
    assert shade.get_extents().y1 == pytest.approx(
        ax.transData.transform((1, floor))[1])
    assert ax.get_ylim()[0] < floor < ax.get_ylim()[1]
    assert [text.get_text() for text in ax.texts] == ["below the error of $F$"]
    crowd = draw(*(bilevel(f"M{i}", 0, [1, 0.1]) for i in range(11)))
    assert len(crowd.axes[0].lines) == 11  # the best so far alone


def test_files_without_f_have_the_test_loss_alone():
    frame = race().assign(objective_value_function=NAN)
    drawing = FIGURES["fig1"].draw(results.Inputs(runs_of(frame)))
    assert set(drawing.figures) == {"test_loss_time", "test_loss_evaluations"}
    assert "reference above 0" in drawing.warnings[0]


def test_quickstart(drawn):
    figure, = drawn("quickstart").figures.values()
    assert set(panels(figure)) == {
        f"toy ({formulation}), {protocol} protocol"
        for formulation in ("logistic", "nls")
        for protocol in ("fair", "published")
    }


def test_quickstart_without_f_has_the_test_loss():
    frame = race().assign(objective_value_function=NAN)
    drawing = FIGURES["quickstart"].draw(results.Inputs(runs_of(frame)))
    assert set(drawing.figures) == {"test_loss"} and drawing.warnings


@pytest.mark.parametrize("name, band, more", [
    ("fig1", "80 %", "The paper's figure also shows real-sim and takes 10"),
    ("fig2", "50 %", "The paper's figure takes 10 seeds"),
    ("nls", "50 %", "The paper has no such figure"),
    ("quickstart", "80 %", ""),
])
def test_every_picture_states_its_seeds_and_band(name, band, more, drawn):
    drawing = drawn(name)
    for figure in drawing.figures.values():
        told = figure._suptitle.get_text().replace("\n", " ")
        assert f"medians of 3 seeds; bands hold the middle {band}" in told
        assert more in told and ("paper" in told) == bool(more)


def test_a_quick_figure_says_that_it_cannot_test_the_claim():
    drawing = FIGURES["figE1"].draw(results.Inputs(runs_of(race())))
    assert drawing.caption.endswith(
        "The paper's claim is about 20news and real-sim, with 10 seeds: "
        "these runs cannot test it."
    )


def test_panels_wrap():
    for n, shape in (1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)):
        places = plotting.stacked(pd.DataFrame({
            "dataset": [f"d{i}" for i in range(n)], "protocol": "fair",
        }))
        assert len(set(places.values())) == n
        assert plotting.make_grid(places)[1].shape == shape


def draw(*frames):
    inputs = results.Inputs(runs_of(*frames))
    return convergence.draw(convergence.QUICKSTART, inputs).figures[""]


def test_one_seed_has_no_band():
    figure = draw(race().query("p_dataset_seed == 0"))
    for ax in figure.axes:
        assert len(ax.lines) and not len(ax.collections)
    assert "One seed: the lines are single runs" in (
        figure._suptitle.get_text().replace("\n", " "))


@pytest.mark.parametrize("first", [0, 1, 9])
def test_panels_of_diverged_runs(first):
    frame = race()
    frame["objective_diverged"] = 1.0 * (frame["stop_val"] >= first)
    for ax in draw(frame).axes:
        ax.figure.canvas.draw()
        told = [text.get_text() for text in ax.texts]
        # the start is left out
        assert ("no run has a finite value" in told) == (first < 2)
        for line in ax.lines:
            assert min(line.get_xdata(), default=1) > 0


@pytest.mark.parametrize("columns", [
    {"value_error": 0.0},
    {"value_error": NAN, "optimum": 0.0,
     "value_function": [100.0, 10.0, 0.0, 0.0]},
])
def test_a_gap_of_zero_is_on_the_axes(columns):
    ax, = draw(bilevel("SHINE", 0, [1, 0.1, 0, 0], **columns)).axes
    low, high = ax.get_ylim()
    shown = lines(ax)["SHINE"].get_ydata()
    assert len(shown) == 3 and high > 0.1
    assert all(low < y < high for y in shown)


def test_without_a_curve_there_is_no_legend():
    runs = runs_of(bilevel("AmIGO", 0, [1, 0.1, 0]), *(
        bilevel(name, 0, [1, 0.1, 0], value_function=NAN)
        for name in ("SHINE", "HOAG")))
    found = FIGURES["fig1"].draw(results.Inputs(runs))
    figure = found.figures["evaluations"]
    assert not figure.legends
    told, = figure.axes[0].texts
    assert told.get_text() == "no run has a finite value"


def test_names_are_drawn_as_they_are(tmp_path):
    frames = [bilevel(name, 0, [1, 0], dataset="a $b$")
              for name in ("$x^$", "_hidden", "cost in $")]
    figure = draw(*frames)
    plotting.save(figure, tmp_path, "odd")  # would fail as a formula
    legend, = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {
        r"\$x^\$", " _hidden", r"cost in \$"}
    assert figure.axes[0].get_title() == r"a \$b\$, fair protocol"


def test_inversion_quality(drawn):
    drawing = drawn("fig2")
    for figure in drawing.figures.values():
        ax = panels(figure)["inversion quality"]
        assert [c.get_label() for c in ax.collections] == [
            "random (1 of 4 outside)", "prescribed (0 of 4 outside)",
            "krylov (0 of 4 outside)",
        ]
        np.testing.assert_allclose(
            ax.collections[0].get_offsets()[0], [0.999, 1.05]
        )
    row, = (line for line in drawing.tables["inversion"].splitlines()
            if line.startswith("| random") and "cosine" in line)
    n, ours, theirs = (c.strip() for c in row.strip("| ").split("|")[2:])
    assert n == "4"
    assert ours == "0.900000 / 0.974250 / 0.999000 / 0.999000 / 0.999000"
    assert theirs.startswith("0.991283 / 0.997713 / 0.998619")


def test_figure_2_without_the_inversion(result_file):
    drawing = FIGURES["fig2"].draw(results.read_inputs([result_file]))
    assert "right panel needs" in drawing.caption and not drawing.tables


def test_authors_lines(drawn):
    greys = {
        (end, title): [line for line in ax.lines
                       if line.get_color() == plotting.GREY]
        for end, figure in drawn("fig1").figures.items()
        for title, ax in panels(figure).items()
    }
    assert not greys["test_loss_time", "20news, fair protocol"]
    assert not greys["time", "20news, published protocol"]  # they have no F
    # the best of seed 0 is 99; equally spaced values are "random-search"
    hoag, grid = greys["test_loss_evaluations", "20news, published protocol"]
    assert hoag.get_ydata().tolist() == [16, 4]
    assert hoag.get_xdata().tolist() == [9, 18]
    assert grid.get_ydata().tolist() == [16, 32]
    hoag, grid = greys["test_loss_time", "20news, published protocol"]
    assert hoag.get_xdata().tolist() == [0.5, 1]


@pytest.mark.parametrize("dataset, formulation, factor, words", [
    ("20news", "logistic", 1, ""),
    ("20news", "logistic", 1.5, "seed 0 starts at 356"),
    ("toy", "logistic", 1.5, ""), ("20news", "nls", 1.5, ""),
])
def test_authors_of_another_split_are_announced(
    dataset, formulation, factor, words, traces_file, tmp_path
):
    theirs = pd.read_csv(traces_file)
    theirs["heldout_loss"] *= factor
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    inputs = results.read_inputs([tmp_path / "theirs.csv"])
    runs = arrivals.add_gap(runs_of(race(dataset, formulation)), "test_loss")
    overlay, warnings = authors.find_overlay(runs, inputs)
    assert bool(overlay) == (dataset == "20news" and formulation != "nls")
    assert words in " ".join(warnings) and len(warnings) == bool(words)


@pytest.mark.parametrize("base, c2, scheme", [
    ("SHINE", NAN, "shine-big-rank"), ("SHINE", 9e-4, "shine-big-rank-pp"),
    ("Grid-search", NAN, "random-search"), ("SHINE-OPA", 0.9, None),
    ("Jacobian-Free", 9e-4, None),
])
def test_authors_lines_are_of_the_same_forward_solver(base, c2, scheme):
    assert authors.scheme_of(base, c2) == scheme


# The command

def test_it_writes_pictures_and_says_who_won(result_file, tmp_path, capsys):
    status, out, err = run(
        capsys, "quickstart", result_file, "--output-dir", tmp_path,
        "--name", "first", "--datasets", "20news",
    )
    assert (status, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["first.png"]
    assert "20news, fair protocol, 3 seeds: " in out


def broken(kind, tmp_path, good):
    """A file that will not do."""
    path, frame = tmp_path / "broken.parquet", pd.read_parquet(good)
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[:999])
    elif kind == "column":
        frame.drop(columns="objective_n_g").to_parquet(path)
    elif kind == "words":
        frame.assign(time="soon").to_parquet(path)
    elif kind == "empty":
        frame.iloc[:0].to_parquet(path)
    elif kind == "others":
        frame.assign(objective_solver="Newton").to_parquet(path)
    elif kind == "not utf-8":
        offsets = pa.py_buffer(np.array([0, 1], dtype="int32").tobytes())
        write_table(pa.table({"solver_name": pa.Array.from_buffers(
            pa.string(), 1, [None, offsets, pa.py_buffer(b"\x80")]
        )}), path)
    return path


@pytest.mark.parametrize("name, kind, words", [
    ("fig1", "missing", "no such file"),
    ("quickstart", "truncated", "cannot be read"),
    ("league", "column", "no column objective_n_g"),
    ("claims", "words", "not numbers"), ("nls", "empty", "has no rows"),
    ("fig2", "others", "none of its methods"),
    ("figE1", "not utf-8", "UTF8"), ("fig3", "others", "no equilibrium"),
    ("figE2", "others", "no CSV file"),
])
def test_bad_result_file(name, kind, words, result_file, tmp_path, capsys):
    path = broken(kind, tmp_path, result_file)
    status, out, err = run(
        capsys, name, path, "--output-dir", tmp_path / "out")
    line, = err.splitlines()
    assert status == 2 and line.startswith("error: ") and words in line
    assert not out and not (tmp_path / "out").exists()


@pytest.mark.parametrize("text, words", [
    ("", "cannot be read"), ("a,b\n1,2\n", "leave it out"),
    ("scheme,outer_step\nx,1\n", "no column time_s"),
    ("direction,ratio,cosine\nrandom,long,1\n", "not numbers"),
])
def test_bad_csv_file(text, words, result_file, tmp_path, capsys):
    path = tmp_path / "extra.csv"
    path.write_text(text)
    name = "fig2" if "direction" in text else "fig1"
    status, _, err = run(capsys, name, result_file, path, "--datasets",
                         "20news", "--output-dir", tmp_path / "out")
    line, = err.splitlines()
    assert status == 2 and words in line and str(path) in line


def test_without_runs_there_is_a_sentence(inversion_file, capsys, tmp_path):
    status, _, err = run(capsys, "fig2", inversion_file, "--output-dir",
                         tmp_path)
    assert status == 2 and "no result file of runs" in err


def test_help_lists_every_figure():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "figures", "--help"],
        capture_output=True, text=True, cwd=ROOT,
    )
    assert done.returncode == 0
    for name, entry in FIGURES.items():
        assert name in done.stdout and entry.title in " ".join(
            done.stdout.split())


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_terminal_will_do(encoding, tmp_path, monkeypatch):
    path = save(tmp_path / "a.parquet", bilevel("SHINE", 0, [1, 0]))
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    from figures.__main__ import main
    assert main(["league", path, "--output-dir", tmp_path]) == 0
    terminal.flush()
    assert b"| error of dF/d? |" in terminal.buffer.getvalue()
    assert "F(θ₀)" in (tmp_path / "league.md").read_text(encoding="utf-8")


def test_imports_neither_the_package_nor_torch():
    allowed = {
        "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "figures"}
    for path in (ROOT / "figures").rglob("*.py"):
        roots = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                roots.add(node.module.split(".")[0])
        if path.parent.name == "report":
            roots -= {"jinja2", "plotly"}
        assert roots - allowed <= sys.stdlib_module_names, path


# benchopt's own page

def test_benchopts_page_has_the_suboptimality():
    benchmark_module = pytest.importorskip("benchopt.benchmark")
    benchmark = benchmark_module.Benchmark(ROOT)
    benchmark.check_plots()
    frame = pd.concat([race(), broken_runs().query(
        "solver_name == 'Neumann'")])
    frame["solver_name"] += "[protocol=" + frame["p_solver_protocol"].astype(
        str) + "]"
    data, options = benchmark.get_plot_data(frame, ["suboptimality"])
    assert options["suboptimality"]["panel"] == ["toy[all seeds]"]
    for view in benchmark.get_plot_config()["plot_configs"].values():
        for key in set(view) - {"plot_kind", "scale"}:
            own = options["suboptimality"][
                key.removeprefix("suboptimality_")]
            assert view[key] in own
    for loss, offset, way, floor in (
        ("test loss", 1, 1, 1e-3),
        ("validation loss at the exact root", 0, 256, 1e-8),
    ):
        curves = {trace["label"]: trace for trace in data["suboptimality"][
            f"suboptimality_toy[all seeds]_{loss}_evaluations"]["data"]}
        shine = curves["SHINE[protocol=fair]"]
        assert shine["x"] == [0, 10, 20, 30, 40]
        gaps = np.maximum((np.array([256, 40, 10, 1, 0]) + offset) / way,
                          floor)
        assert shine["y"] == pytest.approx(gaps)
        assert curves["Neumann[protocol=fair]"]["y"] == pytest.approx(
            (np.array([256, 2]) + offset) / way)
        assert curves["SHINE[protocol=published]"]["y"][-1] == floor


@pytest.mark.parametrize("column", [
    "p_solver_memory", "p_solver_protocol", "objective_data_fingerprint",
    "file_solver", "p_dataset_path", "time", "objective_solver",
    "objective_settings", "p_solver_backward_steps",
])
@pytest.mark.parametrize("value", [
    b"\x80", b"\x00benchopt-pkl\x00bad", [1, [2]], {"a": 1}, True, 10**18,
])
def test_odd_values_are_told_apart_or_refused(column, value):
    frame = bilevel("SHINE", 0, [1, 0])
    odd = frame.assign(**{column: [value] * 2}, p_dataset_seed=1)
    try:
        runs = runs_of(frame, odd)
    except results.ResultError as error:
        assert "give a file as it was written" in str(error)
    else:
        assert set(runs["seed"]) == {0, 1} and runs["method"].notna().all()
