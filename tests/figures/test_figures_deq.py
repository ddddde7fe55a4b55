"""Figures of networks, from a result file whose every number is known."""
import importlib
import itertools
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.image import imread

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "figures"))

import common  # noqa: E402
import drawing  # noqa: E402
import fig3_deq  # noqa: E402
import networks  # noqa: E402

SCRIPTS = "fig3_deq", "deq_convergence"
SEEDS = (0, 1, 2)
N_OUTER = np.array([0, 10, 20, 30, 35])  # the last point closes an epoch


def run_of(solver, seed, backward, accuracies, dataset="pictures[seed={}]",
           **columns):
    """One run: ``backward`` ms a pass but for the first ten, which take 50.

    A forward pass takes 4 ms, five evaluations and no product.
    """
    accuracies = np.array(accuracies, dtype=float)
    n_outer = N_OUTER[:len(accuracies)]
    cold = np.where(n_outer > 0, 10 * (50 - backward), 0)
    return pd.DataFrame({
        "dataset_name": dataset.format(seed),
        "solver_name": solver,
        "p_dataset_seed": seed,
        "p_solver_moves": 1,
        "p_obj_fingerprint": "abc",
        "stop_val": n_outer,
        "time": 1.5 + 0.1 * (seed + 1) * n_outer,
        "objective_value": 1.0,
        "objective_test_loss": 2 - accuracies,
        "objective_test_accuracy": accuracies,
        "objective_value_function": np.nan,
        "objective_theta": np.nan,
        "objective_n_outer": n_outer.astype(float),
        "objective_n_g": 5.0 * n_outer,
        "objective_n_jvp": 0.0 * n_outer,
        "objective_forward_time": 4e-3 * n_outer,
        "objective_backward_time": 1e-3 * (backward * n_outer + cold),
        "objective_q_cosine_median":
            np.where(n_outer == 10, 0.9 + seed / 100, np.nan),
        "objective_spectral_radius": np.where(n_outer == 10, 0.8, np.nan),
        "objective_diverged": 0.0,
    } | columns)


def results():
    """Seeds differ in time and accuracy; see `run_of`."""
    runs = []
    for seed in SEEDS:
        end = (0, 1, 3)[seed] / 100  # of the accuracy
        lag = (0, 1, 4)[seed]  # of the backward pass, ms
        rising = np.array([0.1, 0.5, 0.7, 0.75, 0.8])
        runs += [
            run_of(solver, seed, ms + lag, rising + end, **columns)
            for solver, ms, columns in (
                ("HOAG", 20, {}),
                ("HOAG-limited", 8, {"p_solver_n_cg": 5}),
                ("HOAG-limited[n_cg=1]", 3, {"p_solver_n_cg": 1}),
                ("SHINE", 2, {}),
                ("SHINE[forward=anderson]", 40, {}),
                ("SHINE-refine", 9, {"p_solver_n_refine": 5}),
                ("SHINE-refine[n_refine=10]", 12, {"p_solver_n_refine": 10}),
                ("Jacobian-Free", 1, {"p_solver_n_refine": 0}),
                ("Jacobian-Free[n_refine=2]", 5, {"p_solver_n_refine": 2}),
                ("Neumann", 6, {"p_solver_n_steps": 10}),
                ("SHINE-OPA", 2, {}),
                ("Unrolled-network", 2, {}),
                ("Newton", 2, {}),
            )
        ]
    return pd.concat(runs, ignore_index=True)


def with_a_broken_run(solver="SHINE-fallback"):
    """Seed 1 diverges at the third point and ends there."""
    return pd.concat([
        results(), run_of(solver, 0, 2, [0.1, 0.5, 0.6, 0.7, 0.7]),
        run_of(solver, 1, 2, [0.1, 0.5, 0.9],
               objective_diverged=np.array([0.0, 0.0, 1.0])),
        run_of(solver, 2, 2, [0.1, 0.5, 0.6, 0.7, 0.8]),
    ])


def loaded(tmp_path, frame):
    path = tmp_path / "loaded.parquet"
    frame.to_parquet(path)
    return networks.load(Namespace(results=[path], datasets=[]))


@pytest.fixture(scope="module")
def result_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "networks.parquet"
    results().to_parquet(path)
    return path


def draw(script, folder, *arguments):
    main = importlib.import_module(script).main
    return main([*map(str, arguments), "--output-dir", str(folder)])


@pytest.fixture(scope="module")
def drawn(result_file, tmp_path_factory):
    """The figure of each script, and the folder that it went to."""
    found = {}
    for script in SCRIPTS:
        folder = tmp_path_factory.mktemp(script)
        (figure,) = draw(script, folder, result_file)
        found[script] = figure, folder
    return found


# Numbers

def test_backward_steps(tmp_path):
    frame = loaded(tmp_path, results())
    steps = frame.groupby("method")["backward_steps"].agg(["min", "max"])
    assert set(steps[steps["min"].isna()].index) == {
        "Newton", "Unrolled-network"
    }
    steps = steps.dropna()
    assert (steps["min"] == steps["max"]).all()
    assert steps["min"].to_dict() == {
        "HOAG": np.inf, "HOAG-limited": 5, "HOAG-limited (n_cg=1)": 1,
        "SHINE": 0, "SHINE (forward=anderson)": 0, "SHINE-OPA": 0,
        "SHINE-refine": 5, "SHINE-refine (n_refine=10)": 10,
        "Jacobian-Free": 0, "Jacobian-Free (n_refine=2)": 2, "Neumann": 10,
    }


@pytest.mark.parametrize("label, kept", [
    ("SHINE", "SHINE"), ("SHINE-refine (n_refine=2)", "SHINE-refine"),
    ("Neumann (n_steps=3)", "Neumann"),
    ("SHINE-OPA (opa_every=(5, 5))", "SHINE-OPA (opa_every=(5, 5))"),
    ("SHINE-refine (estimate=cold, n_refine=2)",
     "SHINE-refine (estimate=cold)"),
    ("HOAG-limited (forward=anderson, n_cg=2)",
     "HOAG-limited (forward=anderson)"),
])
def test_labels_without_steps(label, kept):
    assert networks.without_steps(label) == kept


def test_time_counts_from_the_first_point(tmp_path):
    frame = loaded(tmp_path, results())
    ends = frame[frame["method"] == "HOAG"].groupby("seed")["time"]
    np.testing.assert_allclose(ends.min(), 0, atol=1e-12)
    np.testing.assert_allclose(ends.max(), [3.5, 7, 10.5])


def test_costs_are_medians_of_what_a_step_adds(tmp_path):
    # neither the mean of a run, which its cold start spoils, nor its last
    costs = networks.costs_of(loaded(tmp_path, results()))
    hoag = costs.xs("HOAG", level="method")
    np.testing.assert_allclose(hoag["backward_time"], [20, 21, 24])
    np.testing.assert_allclose(hoag["forward_time"], 4)
    np.testing.assert_allclose(hoag["n_g"], 5)
    np.testing.assert_allclose(hoag["n_jvp"], 0, atol=1e-12)


def test_points(tmp_path):
    points = fig3_deq.points_of(loaded(tmp_path, results()))
    assert points.groupby("curve")["steps"].apply(list).to_dict() == {
        "HOAG": [1, 5, np.inf], "SHINE": [0, 5, 10],
        "Jacobian-Free": [0, 2], "Neumann": [10],
    }
    full = points[points["steps"] == np.inf].iloc[0]
    np.testing.assert_allclose(
        full[["time", "low", "high", "accuracy", "std"]].astype(float),
        [21, 20.5, 22.5, 80 + 4 / 3, np.std([0, 1, 3], ddof=1)],
    )


def test_a_run_that_diverged_has_no_accuracy(tmp_path):
    frame = loaded(tmp_path, with_a_broken_run())
    table = networks.cost_table(frame).set_index("method")
    row = table.loc["SHINE-fallback"]
    assert row["seeds"] == "3" and row["diverged"] == "1"
    assert row["test accuracy (%)"] == "75.00 ± 7.07"
    curve = common.over_seeds(
        frame[frame["method"] == "SHINE-fallback"], "time", (0, 0.5),
        "test_accuracy",
    )
    assert curve["test_accuracy"].tolist() == [10, 50, 60, 70, 70]
    assert curve["low"].tolist() == [10, 50, -np.inf, -np.inf, -np.inf]
    points = fig3_deq.points_of(
        loaded(tmp_path, with_a_broken_run("SHINE-refine[n_refine=7]").assign(
            p_solver_n_refine=lambda frame: frame["p_solver_n_refine"].mask(
                frame["solver_name"].str.contains("=7"), 7)))
    )
    point, = points.loc[points["steps"] == 7, "accuracy"]
    assert point == pytest.approx(75)


def test_cost_table(tmp_path):
    table = networks.cost_table(loaded(tmp_path, results()))
    assert list(zip(table["method"], table["backward steps"])) == [
        ("SHINE", "0"), ("SHINE (forward=anderson)", "0"),
        ("SHINE-OPA", "0"), ("SHINE-refine", "5"), ("SHINE-refine", "10"),
        ("Jacobian-Free", "0"), ("Jacobian-Free", "2"), ("HOAG", "full"),
        ("HOAG-limited", "1"), ("HOAG-limited", "5"), ("Neumann", "10"),
        ("Unrolled-network", "-"), ("Newton", "-"),
    ]
    assert table.iloc[0].to_dict() == {
        "data set": "pictures", "method": "SHINE", "backward steps": "0",
        "seeds": "3", "diverged": "0", "test accuracy (%)": "81.33 ± 1.53",
        "backward (ms)": "3 (2.5 to 4.5)", "full / this": "7.0",
        "products": "0.0", "evaluations": "5.0", "forward (ms)": "4",
        "cosine of q": "0.9100", "spectral radius": "0.80",
    }


def test_no_full_solve_no_ratio(tmp_path):
    frame = results().query("solver_name in ['SHINE', 'SHINE-OPA']")
    table = networks.cost_table(loaded(tmp_path, frame))
    assert table["full / this"].tolist() == ["-", "-"]


def test_one_seed_has_no_deviation(tmp_path):
    frame = results().query("p_dataset_seed == 1")
    table = networks.cost_table(loaded(tmp_path, frame))
    assert set(table["test accuracy (%)"]) == {"81.00"}


# Looks

@pytest.mark.parametrize("script", SCRIPTS)
def test_files(script, drawn):
    figure, folder = drawn[script]
    kinds = {"pdf", "png"} | ({"md"} if script == "fig3_deq" else set())
    assert {path.suffix[1:] for path in folder.iterdir()} == kinds
    assert imread(folder / f"{script}.png").shape[1] == round(200 * 6.8)
    if "md" in kinds:
        text = (folder / f"{script}.md").read_text(encoding="utf-8")
        assert text.startswith("From networks.parquet, package abc.")
        assert "SHINE-OPA" in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_is_covered_or_cut_off(script, drawn):
    figure, _ = drawn[script]
    with drawing.paper_style():  # which chooses the ticks
        figure.canvas.draw()
        boxes = [ax.get_tightbbox() for ax in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for i, box in enumerate(boxes):
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1
        assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[:i])


def curves(ax):
    """Points of each curve by its label."""
    return {
        line.get_label(): line.get_xydata() for line in ax.lines
        if line.get_linestyle() == "None" and line.get_marker() in "os^D"
    }


def test_figure_3(drawn):
    left, right = drawn["fig3_deq"][0].axes
    assert left.get_xscale() == right.get_xscale() == "log"
    assert "ms" in left.get_xlabel() and left.get_xlabel() == (
        right.get_xlabel())
    ours = curves(left)
    assert set(ours) == {look[0] for look in fig3_deq.LOOKS.values()}
    np.testing.assert_allclose(
        ours["SHINE (and refined)"],
        [[3, 80 + 4 / 3], [10, 80 + 4 / 3], [13, 80 + 4 / 3]],
    )
    numbers = [text.get_text() for text in left.texts]
    assert sorted(numbers) == sorted("10 1 5 ∞ 0 2 0 5 10".split())
    assert {line.get_color() for line in right.lines} == {"#666666"}


def test_published_points(drawn):
    _, right = drawn["fig3_deq"][0].axes
    theirs = curves(right)
    assert {label: len(points) for label, points in theirs.items()} == {
        "HOAG (and limited)": 6, "SHINE (and refined)": 6,
        "Jacobian-Free (and refined)": 6,
    }
    full, free = theirs["HOAG (and limited)"][-1], theirs[
        "Jacobian-Free (and refined)"][0]
    assert full.tolist() == [209, 93.51] and free.tolist() == [12.9, 93.09]
    assert [text.get_text() for text in right.texts] == [
        *"1 2 5 7 10 ∞".split(), *"0 1 2 5 7 10".split(),
        *"0 1 2 5 7 10".split(),
    ]


def panels(figure):
    return {(ax.get_title(), ax.get_ylabel()): ax for ax in figure.axes}


def test_convergence(drawn):
    figure, _ = drawn["deq_convergence"]
    usual, other = (
        {"HOAG", "HOAG-limited", "SHINE", "SHINE-refine", "Jacobian-Free",
         "Neumann", "Newton"},
        {"HOAG", "SHINE", "Jacobian-Free", "SHINE-OPA", "Unrolled-network",
         "SHINE (forward=anderson)"},
    )
    found = panels(figure)
    assert len(found) == 4
    for (title, quantity), ax in found.items():
        lines = {line.get_label(): line for line in ax.lines}
        assert set(lines) == (usual if "usual" in title else other)
        assert len(ax.collections) == len(lines)  # a band each
        shine = lines["SHINE"]
        assert shine.get_color() == drawing.STYLES["SHINE"][0]
        np.testing.assert_allclose(shine.get_xdata(), [2, 4, 6, 7])
        accuracy = np.array([51, 71, 76, 81])
        np.testing.assert_allclose(shine.get_ydata(), {
            "test loss": 2 - accuracy / 100, "test accuracy (%)": accuracy,
        }[quantity])
    for left, right in figure.axes[:2], figure.axes[2:]:
        assert left.get_shared_y_axes().joined(left, right)
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert texts == usual | other


def test_one_forward_solver_one_column(tmp_path):
    frame = results().query("solver_name in ['SHINE', 'HOAG']")
    frame.to_parquet(tmp_path / "few.parquet")
    figure, = draw("deq_convergence", tmp_path, tmp_path / "few.parquet")
    assert len(figure.axes) == 2
    assert figure.get_figwidth() == drawing.COLUMN


@pytest.mark.parametrize("script, n_panels", [
    ("fig3_deq", 3), ("deq_convergence", 8),
])
def test_two_data_sets(script, n_panels, tmp_path):
    more = results()
    more["dataset_name"] = more["dataset_name"].str.replace("pictures", "p2")
    path = tmp_path / "two.parquet"
    pd.concat([results(), more]).to_parquet(path)
    figure, = draw(script, tmp_path, path)
    assert len(figure.axes) == n_panels
    titles = {ax.get_title().partition(",")[0] for ax in figure.axes}
    assert {"pictures", "p2"} <= titles
    figure, = draw(script, tmp_path, path, "--datasets", "p2")
    assert "pictures" not in {
        ax.get_title().partition(",")[0] for ax in figure.axes
    }


# Errors

def assert_one_line(error, words, capsys):
    assert error.value.code == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind, words", [
    ("missing", "no such file"), ("bilevel", "no equilibrium network"),
    ("column", "no column objective_n_g"),
])
def test_bad_result_file(script, kind, words, tmp_path, capsys):
    path, frame = tmp_path / f"{kind}.parquet", results()
    if kind == "bilevel":
        frame.drop(columns="objective_test_accuracy").to_parquet(path)
    elif kind == "column":
        frame.drop(columns="objective_n_g").to_parquet(path)
    with pytest.raises(SystemExit) as error:
        draw(script, tmp_path / "out", path)
    assert_one_line(error, words, capsys)
    assert not (tmp_path / "out").exists()


def test_only_unusual_numbers_of_steps(tmp_path, capsys):
    frame = results()
    frame = pd.concat([
        frame[frame["solver_name"] == "HOAG-limited[n_cg=1]"],
        frame[frame["solver_name"] == "HOAG-limited[n_cg=1]"].assign(
            solver_name="HOAG-limited[n_cg=2]", p_solver_n_cg=2),
    ])
    frame.to_parquet(tmp_path / "limited.parquet")
    with pytest.raises(SystemExit) as error:
        draw("deq_convergence", tmp_path, tmp_path / "limited.parquet")
    assert_one_line(error, "usual number of backward steps", capsys)


@pytest.mark.parametrize("text, words", [
    (None, "no such file"), ("method,steps\nSHINE,1\n", "no column"),
    ("method,backward_steps,top1_percent,top1_std,backward_ms\nSHINE,few,1,"
     "1,1\n", "not numbers"),
])
def test_bad_file_of_published_points(text, words, result_file, tmp_path,
                                      capsys):
    path = tmp_path / "authors.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as error:
        draw("fig3_deq", tmp_path / "out", result_file, "--authors", path)
    assert_one_line(error, words, capsys)


# Configurations

@pytest.fixture(scope="module")
def configs():
    return {
        scale: yaml.safe_load((ROOT / f"configs/deq_{scale}.yml").read_text())
        for scale in ("quick", "paper")
    }


def test_both_scales_have_the_same_solvers(configs):
    assert configs["quick"]["solver"] == configs["paper"]["solver"]


def names_of(entry):
    """What benchopt calls the solvers of an entry, defaults left out."""
    if isinstance(entry, str):
        return [entry]
    (name, settings), = entry.items()
    usual = {"n_cg": 5, "n_refine": 0 if name == "Jacobian-Free" else 5,
             "n_steps": 10}
    values = [
        value if isinstance(value, list) else [value]
        for value in settings.values()
    ]
    return [
        f"{name}[{','.join(changed)}]" if changed else name
        for changed in (
            [f"{key}={value}" for key, value in sorted(zip(settings, choice))
             if usual.get(key) != value]
            for choice in itertools.product(*values)
        )
    ]


def test_every_method_that_is_run_has_a_style_of_its_own(configs):
    names = [
        name for entry in configs["quick"]["solver"]
        for name in names_of(entry)
    ]
    assert "HOAG-limited[n_cg=1]" in names and "HOAG-limited" in names
    known = drawing.STYLES | drawing.VARIANTS
    for label in common.short_names(names).values():
        assert label in known or networks.without_steps(label) != label


def test_every_point_of_figure_3_is_run(configs):
    steps = {
        name: settings[networks.STEPS[name]]
        for entry in configs["quick"]["solver"] if isinstance(entry, dict)
        for name, settings in entry.items()
        if networks.STEPS.get(name) in settings
    }
    few = [1, 2, 5, 7, 10]
    assert steps == {
        "HOAG-limited": few, "SHINE-refine": few, "Jacobian-Free": [0, *few],
        "Neumann": few,
    }
    assert {"HOAG", "SHINE", "SHINE-fallback", "SHINE-OPA"} <= {
        entry for entry in configs["quick"]["solver"]
        if isinstance(entry, str)
    }
