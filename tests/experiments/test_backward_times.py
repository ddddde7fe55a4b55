"""Times of the passes: what is counted, resumed and drawn."""
import numpy as np
import pandas as pd
import pytest
import torch

from experiments import backward_times as experiment
from experiments.backward_times import KEY, METHODS, Setting, measure
from experiments.rows import Rows
from figures import backward_times as figure
from figures.__main__ import main as draw
from figures.plotting import paper_style
from figures.results import ResultError

from helpers.figure_rows import assert_nothing_overlaps, pass_times

SMALL = Setting("digits", {"width": 8}, ("dense",), batches=2, batch_size=4)
CPU = torch.device("cpu")


def run(path, methods=METHODS, setting=SMALL):
    measure(Rows(path, KEY), setting, CPU, methods, say=lambda line: None)
    return pd.read_csv(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("times") / "times.csv"
    run(path)
    return path


def test_every_method_makes_the_steps_that_it_is_to_make(path):
    frame = pd.read_csv(path)
    assert len(frame) == 2 * len(METHODS)
    first = frame[frame["batch"] == 1].set_index("method")
    products = first["backward_products"]
    assert products["HOAG"] == 50
    assert products[["SHINE", "Jacobian-Free", "SHINE-OPA"]].eq(0).all()
    for n in experiment.STEPS:
        assert products[f"Neumann[backward_steps={n}]"] == n
        assert products[f"SHINE[backward_steps={n}]"] == n + 1
    # 50 steps forward, the dense recipe's, and one evaluation for theta
    assert first.loc["SHINE", "evaluations"] == 1 + 50 + 1
    assert first.loc["HOAG", "evaluations"] == 1 + 50 + 2
    assert first.loc["Reversible", "evaluations"] == 20
    assert first.loc["SHINE-OPA", "products"] >= 50
    assert (frame[["forward_seconds", "backward_seconds"]] > 0).all(axis=None)
    # what a graph of ten layers needs
    assert first["peak_memory"].idxmax() != "Reversible"


def test_methods_take_turns_on_a_batch(path):
    order = pd.read_csv(path)["batch"].tolist()
    assert order == sorted(order)


def test_a_measurement_that_was_cut_off_goes_on(tmp_path):
    some, path = METHODS[:3], tmp_path / "times.csv"
    run(path, some)
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:3]))
    frame = run(path, some)
    keys = frame[["method", "batch"]].apply(tuple, axis=1)
    assert sorted(keys) == sorted(
        (method, batch) for method in some for batch in (1, 2))
    assert path.read_text().startswith(
        "".join(whole.splitlines(keepends=True)[:3]))


@pytest.mark.parametrize("label, steps", [
    ("HOAG", np.inf), ("HOAG[backward_steps=5]", 5), ("SHINE", 0),
    ("SHINE[forward=anderson]", 0), ("Phantom", np.nan),
])
def test_backward_steps_of_a_label(label, steps):
    np.testing.assert_equal(experiment.steps_of(label), steps)


def test_ratios_are_taken_batch_by_batch(tmp_path):
    path = tmp_path / "times.csv"
    pass_times(0.25).to_csv(path, index=False)
    found = figure.summary(figure.read_times(path)).set_index("method")
    assert found.loc["Jacobian-Free", "ratio"] == pytest.approx(0.25)
    assert found.loc["HOAG", "ratio"] == 1
    assert found.loc["HOAG", "backward"] == 2


def test_published_ratios_are_the_papers():
    for network, ratio in (("large", 16.0 / 209), ("small", 35.3 / 798)):
        ratios = figure.published_ratios(network)
        assert ratios["HOAG", np.inf] == 1
        assert ratios["SHINE", 0] == pytest.approx(ratio)


def test_devices_are_panels_of_their_own(tmp_path):
    path = tmp_path / "times.csv"
    frame = pass_times(0.25)
    slower = frame.assign(
        device="NVIDIA H100 80GB",
        backward_seconds=frame["backward_seconds"].where(
            frame["method"] == "HOAG", 2 * frame["backward_seconds"]))
    pd.concat([frame, slower]).to_csv(path, index=False)
    found = figure.summary(figure.read_times(path))
    found = found.set_index(["device", "method"])["ratio"]
    assert found["cpu", "Jacobian-Free"] == pytest.approx(0.25)
    assert found["NVIDIA H100 80GB", "Jacobian-Free"] == pytest.approx(0.5)
    with paper_style():
        drawn = figure.plot(figure.summary(figure.read_times(path)), "")
    assert [ax.get_title().split()[-1] for ax in drawn.axes] == ["cpu", "H100"]


def test_a_network_without_the_full_solve_is_named(tmp_path):
    path = tmp_path / "times.csv"
    frame = pass_times(0.25)
    frame[frame["method"] != "HOAG"].to_csv(path, index=False)
    with pytest.raises(ResultError, match="no HOAG of network tiny"):
        figure.read_times(path)


def test_the_figure_is_drawn(path, tmp_path):
    assert draw(["backward_times", str(path), "--output-dir", str(tmp_path),
                 "--name", "x"]) == 0
    page = (tmp_path / "x.md").read_text(encoding="utf-8")
    assert page.count("\n| dense") == len(METHODS)
    found = figure.summary(figure.read_times(path))
    with paper_style():
        drawn = figure.plot(found, "caption")
        assert_nothing_overlaps(drawn)
    labels = [t.get_text() for t in drawn.legends[0].get_texts()]
    assert "SHINE (and refined), published" in labels


def test_bad_settings_are_one_line(tmp_path):
    with pytest.raises(SystemExit, match="^error: batches: .*0"):
        experiment.main(
            ["--output", str(tmp_path / "x.csv"), "--batches", "0"])


def test_the_command_line_reaches_the_measurement(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        experiment, "measure", lambda *given: seen.append(given))
    output = "--output", str(tmp_path / "x.csv")
    experiment.main([
        *output, "--scale", "imagenet", "--pictures", "mine", "--methods",
        "HOAG", "SHINE"])
    experiment.main(output)
    (_, first, _, methods, _), (_, usual, _, every, _) = seen
    assert (first.networks, methods) == (("small",), ["HOAG", "SHINE"])
    assert first.pictures["path"] == "mine" and first.pictures["size"] == 224
    assert "path" not in usual.pictures and every == METHODS
