"""Files of measurements that are whole, doubled, or lack something."""
import numpy as np
import pandas as pd
import pytest

from figures import (
    backward_times, error_against_cost, figE2, plotting, results, theory,
)
from figures.gallery import FIGURES

from helpers.figure_rows import (
    NAN, assert_nothing_overlaps, pass_times, run, table,
)

INF = np.inf


def theorems(methods=("BFGS", theory.EXACT, "BFGS, OPA"), steps="subspace"):
    """Errors that fall tenfold, with OPA a hundredfold, an iteration."""
    return pd.DataFrame([
        {"problem": "ridge", "steps": steps, "method": method, "draw": draw,
         "n": n, "d": 9, "z_error": 0.1 ** n, "fingerprint": "abc",
         "span": 5 if ", OPA" in method else 4} | dict.fromkeys(
             theory.ERRORS.values(),
             (0.01 if ", OPA" in method else 0.1) ** n)
        for method in methods for draw in (0, 1) for n in (0, 1, 2)
    ])


def memory(methods=("HOAG", "SHINE"), depths=(2, 4)):
    return pd.DataFrame([
        {"network": "equilibrium", "method": method, "fingerprint": "abc",
         "depth": depth, "peak_memory": 2 ** 20 * depth, "products": 0,
         "bytes_of_z": 2 ** 19, "evaluations": depth, "batch_size": 4}
        for method in methods for depth in depths
    ])


def training(ends):
    """Runs that end after so many epochs, by method and seed."""
    return pd.DataFrame([
        {"network": "equilibrium", "method": method, "fingerprint": "abc",
         "seed": seed, "epoch": epoch, "seconds": 1.0 * epoch,
         "test_accuracy": 0.1 * epoch + 0.01 * seed, "n_parameters": 7}
        for (method, seed), end in ends.items() for epoch in range(end + 1)
    ])


TRAINED = training({("HOAG", 0): 4, ("HOAG", 1): 4, ("SHINE", 0): 2})


def errors(**changes):
    return pd.DataFrame([
        {"task": "ridge", "seed": 0, "start": "warm", "method": method,
         "tol": tol, "step": 2, "n_g": 1 / tol, "n_vjp": 1, "q_error": tol,
         "gradient_error": tol / 9, "z_error": tol, "fingerprint": "abc"}
        | changes
        for method in ("HOAG", "Recycled-PCG") for tol in (0.1, 0.01)
    ])


def alignment(**changes):
    return pd.DataFrame([
        dict.fromkeys(figE2.NUMBERS, 0.5)
        | {"dataset": "digits[network=tiny]", "state": "trained",
           "solver": "SHINE", "fingerprint": "abc", "batch": batch,
           "reference_converged": 1} | changes
        for batch in (0, 1)
    ])


# Figure -> a good file of each of its kinds.
GOOD = {
    "theory": (theorems(),), "error_against_cost": (errors(),),
    "figE2": (alignment(),), "backward_times": (pass_times(0.2),),
    "cost": (memory(), TRAINED, pass_times(0.2)),
}


def written(folder, *frames):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.csv" for i in range(len(frames))]
    for path, frame in zip(paths, frames):
        frame.to_csv(path, index=False)
    return paths


def drawing(name, folder, *frames):
    return FIGURES[name].draw(results.read_inputs(written(folder, *frames)))


def failure(capsys, folder, name, *frames):
    """The one line that the command prints, which fails."""
    status, _, err = run(
        capsys, name, *written(folder, *frames), "--output-dir", folder)
    line, = err.splitlines()
    assert status == 2
    return line


@pytest.mark.parametrize("name, column", [
    ("theory", "method"), ("theory", "fingerprint"),
    ("error_against_cost", "method"), ("error_against_cost", "fingerprint"),
    ("figE2", "solver"), ("figE2", "dataset"), ("figE2", "fingerprint"),
    ("backward_times", "method"), ("backward_times", "device"),
    ("backward_times", "fingerprint"), ("cost", "method"),
    ("cost", "fingerprint"),
])
def test_an_empty_cell_of_text_is_named(name, column, tmp_path, capsys):
    first, *others = GOOD[name]
    holed = first.astype({column: object})
    holed.loc[1, column] = None
    line = failure(capsys, tmp_path, name, holed, *others)
    assert f"0.csv: column {column} has 'nan' where text" in line


@pytest.mark.parametrize("name, frame, words", [
    ("figE2", alignment(state="halfway"),
     "column state has 'halfway' where initial or trained is expected"),
    ("error_against_cost", errors(start="hot"),
     "column start has 'hot' where warm or cold is expected"),
    ("theory", theorems(steps="odd"),
     "column steps has 'odd' where span or subspace is expected"),
])
def test_an_unknown_word_is_named(name, frame, words, tmp_path, capsys):
    assert words in failure(capsys, tmp_path, name, frame)


def test_a_fingerprint_of_digits_is_text(tmp_path):
    frame = theorems().assign(fingerprint="1e5000000000")
    assert "package 1e5000000000." in drawing(
        "theory", tmp_path, frame).tables[""]


@pytest.mark.parametrize("name", GOOD)
def test_rows_that_stand_twice_count_once(name, tmp_path):
    once = drawing(name, tmp_path, *GOOD[name]).tables[""]
    twice = [pd.concat([frame, frame]) for frame in GOOD[name]]
    assert drawing(name, tmp_path, *twice).tables[""] == once


@pytest.mark.parametrize("name", [
    "error_against_cost", "figE2", "backward_times"])
def test_a_file_that_is_given_twice_counts_once(name, tmp_path):
    once, twice = (
        drawing(name, tmp_path, *GOOD[name] * n) for n in (1, 2))
    assert once.caption == twice.caption
    tables = [
        found.tables[""].replace("0.csv, 1.csv", "0.csv")
        for found in (once, twice)]
    assert tables[0] == tables[1]


# Theory

@pytest.mark.parametrize("methods, words", [
    (("BFGS", "BFGS, OPA"), "With OPA the error is 1e2 times lower"),
    (("BFGS, OPA",), "1e-04 (n = 2); BFGS was not measured."),
])
def test_theorems_without_some_of_the_methods(methods, words, tmp_path):
    found = drawing("theory", tmp_path, theorems(methods))
    assert words in found.tables[""]
    ax, = found.figures[""].axes
    span = 4 if "BFGS" in methods else 5
    assert ax.get_title() == f"ridge, {span} of 9 dimensions"


def test_one_draw_is_no_draws(tmp_path):
    found = drawing("theory", tmp_path, theorems().query("draw == 0"))
    assert "medians over\n1 draw after" in found.tables[""]
    assert "medians of 1 draw," in found.caption


@pytest.mark.parametrize("number, words", [
    (2.345, "2.3"), (99.4, "99"), (99.7, "1e2"), (100, "1e2"), (3e5, "1e5"),
    (INF, "∞"), (NAN, "–"),
])
def test_factors_in_words(number, words):
    assert theory.times_in_words(number) == words


# Cost

def test_two_devices_are_not_one(tmp_path):
    times = pd.concat([
        pass_times(0.2), pass_times(0.2).assign(device="NVIDIA H100")])
    found = drawing("cost", tmp_path, memory(), TRAINED, times)
    assert "NVIDIA H100: medians of 3" in found.caption
    assert len(found.figures[""].axes[1].patches) == 2 * 2


def test_one_depth_has_no_slope_and_an_unknown_method_a_curve(tmp_path):
    frame = pd.concat([
        memory(("HOAG", "MySolver", "HOAG[backward_steps=5]"), (4,)),
        memory(("SHINE",), (2, 4, 8)),
    ])
    found = drawing("cost", tmp_path, frame, TRAINED, pass_times(0.2))
    rows = {row["method"]: row for row in table(found.tables[""], "MiB")}
    assert list(rows) == [
        "HOAG", "MySolver", "HOAG[backward_steps=5]", "SHINE"]
    assert rows["MySolver"]["4 (MiB)"] == "4.0"
    assert rows["MySolver"]["2 (MiB)"] == "-"
    assert rows["MySolver"]["more per step (z)"] == "-"
    assert rows["SHINE"]["more per step (z)"] == "2.0"


def test_a_run_that_stopped_early_is_in_the_table(tmp_path):
    ends = {("HOAG", 0): 4, ("HOAG", 1): 3, ("SHINE", 0): 1}
    found = drawing(
        "cost", tmp_path, memory(), training(ends), pass_times(0.2))
    # medians of both seeds
    assert found.figures[""].axes[2].lines[0].get_xdata().tolist() == [1, 2, 3]
    text = found.tables[""]
    rows = {row["network"]: row for row in table(text, "epochs")}
    assert rows["HOAG"]["epochs"] == "3 to 4"
    assert rows["HOAG"]["test accuracy (%)"].startswith("35.50")
    assert rows["SHINE"]["epochs"] == "1"
    assert rows["SHINE"]["test accuracy (%)"] == "10.00"


# Times of the passes

def several_panels(n):
    return pd.concat([
        pass_times(0.2).assign(device=f"NVIDIA H{i}") for i in range(n)])


@pytest.mark.parametrize("n, shape", [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)),
                                      (5, (2, 3))])
def test_every_network_and_device_has_a_panel(n, shape, tmp_path):
    figure = drawing(
        "backward_times", tmp_path, several_panels(n)).figures[""]
    assert [ax.get_title().split()[-1] for ax in figure.axes] == [
        f"H{i}" for i in range(n)]
    places = {ax.get_subplotspec().get_geometry()[:2] for ax in figure.axes}
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert "HOAG (and limited)" in told and "Neumann" not in told
    assert places == {shape}
    with plotting.paper_style():
        assert_nothing_overlaps(figure)


def test_every_number_of_steps_has_a_place(tmp_path):
    frame = pd.concat([pass_times(0.2)] + [
        pass_times(0.1 * n).query("steps == 0").assign(
            method=f"Jacobian-Free[backward_steps={n}]", steps=n)
        for n in (3, 10)])
    ax, = drawing("backward_times", tmp_path, frame).figures[""].axes
    ours, = (line for line in ax.lines
             if line.get_label() == "Jacobian-Free (and refined)")
    ticks = [text.get_text() for text in ax.get_xticklabels()]
    assert ticks == "0 1 2 3 5 7 10 full".split()
    assert ours.get_xdata().tolist() == [0, 3, 6]


@pytest.mark.parametrize("name", [
    "backward_times", "error_against_cost", "figE2"])
def test_packages_are_not_mixed_in_silence(name, tmp_path):
    first, = GOOD[name]
    assert not drawing(name, tmp_path, first).warnings
    warning, = drawing(
        name, tmp_path, first, first.assign(fingerprint="def")).warnings
    assert "(abc, def)" in warning


def test_each_device_needs_the_full_solve(tmp_path):
    lacking = several_panels(2).query(
        "device != 'NVIDIA H1' or method != 'HOAG'")
    path, = written(tmp_path, lacking)
    with pytest.raises(results.ResultError, match="tiny on NVIDIA H1; meas"):
        backward_times.read_times(path)


# Error against cost

def page_of(frame):
    return error_against_cost.page(
        frame.assign(cost=frame["n_g"] + frame["n_vjp"]))


@pytest.mark.parametrize("last_bit", [0, 1e-15, -1e-15])
def test_methods_that_are_as_low_share_the_task(last_bit):
    frame = errors()
    frame.loc[frame["method"] == "Recycled-PCG", "q_error"] *= 1 + last_bit
    text = page_of(frame)
    assert "that of HOAG on 1, Recycled-PCG on 1; within" in text
    assert "(1 case: 1 task, 1 seed × 1 θ" in text
    first = table(text, "ridge")
    assert [row["ridge"] for row in first] == ["**1e-01**"] * 2


def test_a_method_that_nobody_can_pay_for_is_not_the_lowest():
    frame = pd.concat([
        errors(), errors(task="text").query("method != 'HOAG'")])
    frame.loc[frame["method"] != "HOAG", "q_error"] *= 2
    assert "that of HOAG on 1; within" in page_of(frame)


def test_no_case_of_both_has_no_ratio():
    frame = errors()
    frame.loc[frame["method"] == "Recycled-PCG", "gradient_error"] = 0.5
    text = page_of(frame)
    assert "Recycled-PCG takes – times the" in text
    assert "gets there in 0 of 1 case; HOAG does in 1" in text


def test_what_was_never_measured_has_no_curve_and_no_number(tmp_path):
    found = drawing("error_against_cost", tmp_path, errors(
        q_error=NAN, gradient_error=NAN, z_error=NAN))
    assert not found.figures[""].legends
    many = pd.concat([errors(task=task, q_error=NAN) for task in "abcde"])
    assert len(drawing("error_against_cost", tmp_path, many).figures) == 2
    assert "nan" not in found.tables[""]
