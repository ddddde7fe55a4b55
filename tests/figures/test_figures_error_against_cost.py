"""Error against cost, from a table whose numbers are known beforehand."""
import math

import pandas as pd
import pytest

from figures.__main__ import main
from figures.error_against_cost import (
    at_equal_cost, cost_to_reach, curve, label_of, page, pictures, polish,
    read_errors, without_polish,
)
from figures.results import ResultError, kind_of

from helpers.figure_rows import table

# Method -> by tolerance, its evaluations, products, and the error of q.
KNOWN = {
    "HOAG": {0.1: (4, 6, 0.1), 1e-3: (8, 12, 1e-3), 1e-5: (16, 24, 1e-5)},
    "SHINE": {0.1: (4, 0, 0.4), 1e-3: (8, 0, 0.2), 1e-5: (16, 0, 0.1)},
    "SHINE[polish=1]":
        {0.1: (5, 0, 0.2), 1e-3: (9, 0, 0.1), 1e-5: (17, 0, 0.05)},
    "Recycled-PCG":
        {0.1: (4, 1, 0.1), 1e-3: (8, 2, 1e-4), 1e-5: (16, 4, 1e-5)},
    "Jacobian-Free": {0.1: (30, 0, 9.0), 1e-3: (40, 0, 9.0),
                      1e-5: (50, 0, math.inf)},
}


def rows(starts=("warm", "cold"), tasks=("ridge", "text"), methods=KNOWN):
    """Rows of two seeds and two theta, seed 1 with three times the error."""
    return pd.DataFrame([
        {"task": task, "seed": seed, "start": start, "method": method,
         "tol": tol, "step": step, "n_g": n_g, "n_vjp": n_vjp,
         "q_error": error * (1 + 2 * seed), "gradient_error": error / 8,
         "z_error": tol, "fingerprint": "abc"}
        for task in tasks for start in starts for seed in (0, 1)
        for step in (2, 4) for method in methods
        for tol, (n_g, n_vjp, error) in KNOWN[method].items()
    ])


@pytest.fixture
def path(tmp_path):
    rows().to_csv(tmp_path / "errors.csv", index=False)
    return tmp_path / "errors.csv"


@pytest.fixture
def frame(path):
    return read_errors([path])


@pytest.fixture
def warm(frame):
    return frame[frame["start"] == "warm"]


def test_a_curve_is_of_medians_and_quartiles(warm):
    found = curve(warm[warm["method"] == "HOAG"], "q_error")
    assert found["cost"].tolist() == [10, 20, 40]
    assert found["error"].tolist() == pytest.approx([0.2, 2e-3, 2e-5])
    assert found[["low", "high"]].iloc[0].tolist() == pytest.approx([0.1, 0.3])
    free = curve(warm[warm["method"] == "Jacobian-Free"], "q_error")
    assert free["error"].iloc[-1] == math.inf


def test_the_best_tolerance_counts_within_the_cost(warm):
    found = at_equal_cost(warm, "q_error", 1e-3)["ridge", 0, 2]
    assert found.to_dict() == {
        # 20 evaluations and products; the tightest SHINE has 16
        "HOAG": 1e-3, "SHINE": 0.1, "SHINE[polish=1]": 0.05,
        "Recycled-PCG": 1e-5, "Jacobian-Free": math.inf,
    }


def test_the_cheapest_tolerance_counts_for_an_error(warm):
    found = cost_to_reach(warm, "gradient_error", 1e-2)["text", 1, 4]
    assert found.to_dict() == {
        "HOAG": 20, "Recycled-PCG": 10, "SHINE": math.inf,
        "SHINE[polish=1]": 17, "Jacobian-Free": math.inf,
    }


def test_polish_is_compared_at_equal_cost(warm):
    row, = polish(warm).to_dict("records")
    assert row["method"] == "SHINE"
    # at 5, 9 and 17: 0.2 / 0.4, 0.1 / 0.2, 0.05 / 0.1
    assert row["q: ratio"] == "0.5" and row["q: lower, higher"] == "24, 0"


@pytest.mark.parametrize("label, plain", [
    ("SHINE[polish=1]", "SHINE"), ("SHINE", "SHINE"),
    ("HOAG[backward_steps=1,polish=1]", "HOAG[backward_steps=1]"),
    ("HOAG[backward_steps=1]", "HOAG[backward_steps=1]"),
])
def test_labels_without_polish(label, plain):
    assert without_polish(label) == plain


def test_labels_are_words():
    assert label_of("HOAG[backward_steps=1,tol=2]") == (
        "HOAG (backward steps 1, tol 2)")


def test_the_page_says_what_the_numbers_say(frame):
    text = page(frame)
    assert "at tolerance 0.001, that of Recycled-PCG on 2" in text
    assert "(8 cases: 2 tasks, 2 seeds × 2 θ; bold" in text
    assert "that of SHINE's q from 0.8 to 0.2" in text
    assert ("Recycled-PCG takes 0.50 times the evaluations and products of "
            "HOAG and gets there in 8") in text
    assert "of 8 cases; HOAG does in 8, SHINE in 0" in text
    hoag = next(row for row in table(text, "ridge") if row["method"] == "HOAG")
    assert hoag["ridge"] == hoag["text"]
    assert text.count("## Warm start") == text.count("## Cold start") == 1


def test_pictures_show_what_there_is(frame):
    found = pictures(frame)
    assert found.keys() == {"", "gradient", "cold"}
    axes = found[""].axes
    assert [ax.get_title() for ax in axes] == ["ridge", "text"]
    tops = [max(line.get_ydata()) for line in axes[0].lines]
    assert max(tops) == 3  # of Jacobian-Free, whose error is higher
    texts = [text.get_text() for text in found[""].legends[0].get_texts()]
    assert texts == ["SHINE", "SHINE (polish 1)", "Jacobian-Free", "HOAG",
                     "Recycled-PCG"]


def test_quadratic_tasks_have_a_picture(tmp_path):
    names = [f"quadratic, d = {d}" for d in (10, 20, 30)]
    rows(("warm",), ["ridge", *names]).to_csv(
        tmp_path / "errors.csv", index=False)
    found = pictures(read_errors([tmp_path / "errors.csv"]))
    titles = {end: [ax.get_title() for ax in figure.axes]
              for end, figure in found.items()}
    assert titles["quadratic"] == names
    assert titles[""] == ["ridge", names[-1]]


def test_the_command_draws_and_writes(path, tmp_path, capsys):
    assert kind_of(path) == "errors"
    assert not main(["error_against_cost", str(path), "--output-dir",
                     str(tmp_path)])
    for name in "error_against_cost", "error_against_cost_gradient":
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert (tmp_path / "error_against_cost.md").exists()
    assert "2 seeds × 2 θ" in capsys.readouterr().out


def test_what_is_lacking_is_told(path, capsys):
    rows(methods=["SHINE"]).to_csv(path, index=False)
    with pytest.raises(ResultError, match="HOAG is not among"):
        page(read_errors([path]))
    rows().drop(columns="z_error").to_csv(path, index=False)
    assert main(["error_against_cost", str(path)]) == 2
    assert "no column z_error" in capsys.readouterr().err
