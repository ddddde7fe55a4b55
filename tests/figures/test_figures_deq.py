"""Figures of networks in a result file whose every number is known."""
import numpy as np
import pandas as pd
import pytest

from helpers.figure_rows import assert_nothing_overlaps, rows, runs_of
from figures import deq, fig3, methods, networks, plotting, results, stats

SEEDS = (0, 1, 2)
INF = np.inf
N_OUTER = np.array([0, 10, 20, 30, 35])  # the last point closes an epoch


def run_of(solver, seed, backward, accuracies, dataset="pictures", **columns):
    """One run: ``backward`` ms a pass but for the first ten, which take 50.

    A forward pass takes 4 ms, five evaluations and no product.
    """
    accuracies = np.array(accuracies, dtype=float)
    n_outer = N_OUTER[:len(accuracies)]
    cold = np.where(n_outer > 0, 10 * (50 - backward), 0)
    return rows(solver, seed, len(accuracies), dataset, **{
        "stop_val": n_outer, "time": 1.5 + 0.1 * (seed + 1) * n_outer,
        "test_loss": 2 - accuracies, "test_accuracy": accuracies,
        "n_outer": n_outer.astype(float), "n_g": 5.0 * n_outer,
        "n_vjp": 0.0 * n_outer, "forward_time": 4e-3 * n_outer,
        "backward_time": 1e-3 * (backward * n_outer + cold),
        "q_cosine_median": np.where(n_outer == 10, 0.9 + seed / 100, np.nan),
        "spectral_radius": np.where(n_outer == 10, 0.8, np.nan),
        "test_residual": 0.1 / (1 + n_outer), "p_dataset_network": "dense",
    } | columns)


def race(dataset="pictures"):
    """Seeds differ in time and accuracy; see `run_of`."""
    frames = []
    for seed in SEEDS:
        end = (0, 1, 3)[seed] / 100  # of the accuracy
        lag = (0, 1, 4)[seed]  # of the backward pass, ms
        rising = np.array([0.1, 0.5, 0.7, 0.75, 0.8])
        frames += [
            run_of(solver, seed, ms + lag, rising + end, dataset, **{
                f"p_solver_{key}": value for key, value in settings.items()})
            for solver, ms, settings in (
                ("HOAG", 20, {}),
                ("HOAG", 8, {"backward_steps": 5}),
                ("HOAG", 3, {"backward_steps": 1}),
                ("SHINE", 2, {}),
                ("SHINE", 40, {"forward": "anderson"}),
                ("SHINE", 9, {"backward_steps": 5}),
                ("SHINE", 12, {"backward_steps": 10}),
                ("Jacobian-Free", 1, {"backward_steps": 0}),
                ("Jacobian-Free", 5, {"backward_steps": 2}),
                ("Neumann", 6, {"backward_steps": 10}),
                ("SHINE-OPA", 2, {}),
                ("Unrolled-network", 2, {}),
                ("Newton", 2, {}),
            )
        ]
    return pd.concat(frames, ignore_index=True)


def broken(solver="SHINE-fallback", **columns):
    """Seed 1 diverges at the third point and ends there."""
    return pd.concat([
        race(), run_of(solver, 0, 2, [0.1, 0.5, 0.6, 0.7, 0.7], **columns),
        run_of(solver, 1, 2, [0.1, 0.5, 0.9],
               diverged=np.array([0.0, 0.0, 1.0]), **columns),
        run_of(solver, 2, 2, [0.1, 0.5, 0.6, 0.7, 0.8], **columns),
    ])


@pytest.fixture(scope="module")
def frame():
    return networks.network_runs(runs_of(race()))


def loaded(*frames):
    return networks.network_runs(runs_of(*frames))


# Numbers


def test_time_counts_from_the_first_point(frame):
    ends = frame[frame["method"] == "HOAG"].groupby("seed")["time"]
    np.testing.assert_allclose(ends.min(), 0, atol=1e-12)
    np.testing.assert_allclose(ends.max(), [3.5, 7, 10.5])


def test_costs_are_medians_of_what_a_step_adds(frame):
    # neither the mean of a run, which its cold start spoils, nor its last
    hoag = networks.costs_of(frame).xs("HOAG", level="method")
    np.testing.assert_allclose(hoag["backward_time"], [20, 21, 24])
    np.testing.assert_allclose(hoag["forward_time"], 4)
    np.testing.assert_allclose(hoag["n_g"], 5)
    np.testing.assert_allclose(hoag["n_vjp"], 0, atol=1e-12)


def test_points(frame):
    points = fig3.points_of(frame)
    assert points.groupby("curve")["steps"].apply(list).to_dict() == {
        "HOAG": [1, 5, INF], "SHINE": [0, 5, 10],
        "Jacobian-Free": [0, 2], "Neumann": [10], "SHINE-OPA": [0],
    }
    full = points[points["steps"] == INF].iloc[0]
    np.testing.assert_allclose(
        full[["time", "low", "high", "accuracy", "std"]].astype(float),
        [21, 20.5, 22.5, 80 + 4 / 3, np.std([0, 1, 3], ddof=1)],
    )


def test_a_run_that_diverged_has_no_accuracy():
    dead = loaded(broken())
    table = networks.cost_table(dead).set_index("method")
    row = table.loc["SHINE-fallback"]
    assert row["seeds"] == "3" and row["diverged"] == "1"
    assert row["test accuracy (%)"] == "75.00 ± 7.07"
    curve = stats.median_curve(
        dead[dead["method"] == "SHINE-fallback"], "time", "test_accuracy",
        (0, 0.5),
    )
    assert curve["y"].tolist() == [10, 50, 60, 70, 70]
    assert curve["low"].tolist() == [10, 50, -INF, -INF, -INF]
    points = fig3.points_of(loaded(broken(
        "SHINE", p_solver_backward_steps=7)))
    point, = points.loc[points["steps"] == 7, "accuracy"]
    assert point == pytest.approx(75)


def test_cost_table(frame):
    table = networks.cost_table(frame)
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
        "residual": "0.003",
    }
    few = race().query("p_dataset_seed == 1 and solver_name == 'SHINE-OPA'")
    row = networks.cost_table(loaded(few)).iloc[0]
    assert row["full / this"] == "-" and row["test accuracy (%)"] == "81.00"


# Pictures

@pytest.fixture(scope="module")
def drawn():
    inputs = results.Inputs(runs_of(race()))
    return {"fig3": fig3.draw(inputs), "deq": deq.draw(inputs)}


@pytest.mark.parametrize("name, words", [
    ("fig3", "of 3 seeds; bars: standard deviation and quartiles; numbers"),
    ("deq", "medians of 3 seeds; bands hold the middle 80 %"),
])
def test_pictures_are_whole_and_state_their_seeds(name, words, drawn):
    figure = drawn[name].figures[""]
    with plotting.paper_style():  # which chooses the ticks
        assert_nothing_overlaps(figure)
    assert words in figure._suptitle.get_text().replace("\n", " ")


def curves(ax):
    """Points of each curve by its label."""
    return {
        line.get_label(): line.get_xydata() for line in ax.lines
        if line.get_linestyle() == "None" and line.get_marker() in "os^Dv"
    }


def test_protocols_of_networks_are_not_mixed():
    other = race().assign(
        p_solver_protocol="published",
        objective_backward_time=lambda frame: (
            9 * frame["objective_backward_time"]))
    frame = networks.network_runs(runs_of(pd.concat([race(), other])))
    names = {f"{name}, {protocol} protocol"
             for name in set(race()["objective_dataset"])
             for protocol in ("fair", "published")}
    assert set(frame["dataset"]) == names
    times = networks.summarise(frame).set_index(["method", "dataset"])
    for name in set(race()["objective_dataset"]):
        fair, published = (
            times.loc["SHINE", f"{name}, {protocol} protocol"][
                "backward_time"].median() for protocol in (
                    "fair", "published"))
        assert published == pytest.approx(9 * fair)


def test_figure_3(drawn):
    left, right = drawn["fig3"].figures[""].axes
    assert left.get_xscale() == right.get_xscale() == "log"
    ours = curves(left)
    assert set(ours) == {look[0] for look in fig3.LOOKS.values()}
    np.testing.assert_allclose(
        ours["SHINE (and refined)"],
        [[3, 80 + 4 / 3], [10, 80 + 4 / 3], [13, 80 + 4 / 3]],
    )
    numbers = [text.get_text() for text in left.texts]
    assert sorted(numbers) == sorted("10 1 5 ∞ 0 2 0 5 10 0".split())
    assert left.get_title() == "pictures, dense, here"
    assert {line.get_color() for line in right.lines} == {"#666666"}
    assert "SHINE-OPA" in drawn["fig3"].tables[""]


@pytest.mark.parametrize("dead, words, drawn_at", [
    ((), "", 81 + 1 / 3),
    ((0,), "leave out runs that diverged: SHINE at 7 on pictures "
           "(2 of 3 seeds; 1 diverged).", 82),
    ((0, 1, 2), "not drawn, since every run diverged: SHINE at 7 on pictures "
                "(0 of 3 seeds; 3 diverged).", None),
])
def test_marks_of_survivors_are_told(dead, words, drawn_at):
    frames = [
        run_of(solver, seed, 2, [0.1, 0.7, 0.8 + end],
               diverged=np.array([0.0, 0.0, seed in dead and more]), **{
                   f"p_solver_{key}": n for key, n in settings.items()})
        for solver, more, settings in (
            ("HOAG", 0, {}), ("SHINE", 1.0, {"backward_steps": 7}))
        for seed, end in zip(SEEDS, (0, 0.01, 0.03))
    ]
    found = fig3.draw(results.Inputs(runs_of(*frames)))
    assert found.caption.endswith(words) and (
        ("diverged" in found.caption) == bool(dead))
    left = found.figures[""].axes[0]
    ours = curves(left).get("SHINE (and refined)", [])
    assert [y for _, y in ours] == pytest.approx(
        [drawn_at] if drawn_at else [])
    with plotting.paper_style():
        assert_nothing_overlaps(found.figures[""])


def test_convergence(drawn):
    figure = drawn["deq"].figures[""]
    usual, other = (
        {"HOAG", "HOAG-limited", "SHINE", "SHINE-refine", "Jacobian-Free",
         "Neumann", "Newton"},
        {"HOAG", "SHINE", "Jacobian-Free", "SHINE-OPA", "Unrolled-network",
         "SHINE (forward=anderson)"},
    )
    assert len(figure.axes) == 4
    for ax in figure.axes:
        lines = {line.get_label(): line for line in ax.lines}
        assert set(lines) == (usual if "usual" in ax.get_title() else other)
        assert len(ax.collections) == len(lines)  # a band each
        shine = lines["SHINE"]
        assert shine.get_color() == methods.BY_NAME["SHINE"].colour
        np.testing.assert_allclose(shine.get_xdata(), [2, 4, 6, 7])
        accuracy = np.array([51, 71, 76, 81])
        np.testing.assert_allclose(shine.get_ydata(), {
            "test loss": 2 - accuracy / 100, "test accuracy (%)": accuracy,
        }[ax.get_ylabel()])
    for left, right in figure.axes[:2], figure.axes[2:]:
        assert left.get_shared_y_axes().joined(left, right)
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert texts == usual | other


def test_one_forward_solver_one_column():
    few = race().query("solver_name == 'HOAG'")
    figure = deq.draw(results.Inputs(runs_of(few))).figures[""]
    assert len(figure.axes) == 2
    assert figure.get_figwidth() == plotting.COLUMN


@pytest.mark.parametrize("module, n_panels", [(fig3, 3), (deq, 8)])
def test_two_data_sets(module, n_panels):
    inputs = results.Inputs(runs_of(race(), race("p2")))
    figure = module.draw(inputs).figures[""]
    assert len(figure.axes) == n_panels
    titles = {ax.get_title().partition(",")[0] for ax in figure.axes}
    assert {"pictures", "p2"} <= titles


# What is lacking

@pytest.mark.parametrize("module, condition, words", [
    (fig3, "solver_name == 'Newton'", "none of HOAG"),
    (deq, "p_solver_backward_steps in (1, 2)", "usual number of backward"),
])
def test_nothing_to_draw(module, condition, words):
    inputs = results.Inputs(runs_of(race().query(condition)))
    with pytest.raises(results.ResultError, match=words):
        module.draw(inputs)


def test_scores_are_paired_with_the_full_solve_by_seed():
    lost = {"SHINE": (0.02, 0.01, 0.03), "HOAG": (0, 0, 0)}
    frame = loaded(*(
        run_of(solver, seed, 2, np.array([0.1, 0.3, 0.5]) + seed / 10 - gap)
        for solver, gaps in lost.items() for seed, gap in zip(SEEDS, gaps)
    ), run_of("Jacobian-Free", 0, 2, [0.1, 0.3, 0.4]))
    table = fig3.paired_table(frame)
    assert table["method"].tolist() == ["SHINE"]  # one pair is no sample
    assert table["n"].tolist() == ["3"]
    half = 4.302652729911275 / np.sqrt(3)  # t, 2 degrees of freedom; std is 1
    assert table["accuracy (points)"].item() == (
        f"−2 (−{2 + half:.3g} to +{half - 2:.3g})")
    assert table["test loss"].item().startswith("+0.02 ")
    assert fig3.paired_table(frame[frame["base"] != "HOAG"]).empty
