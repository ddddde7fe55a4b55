"""The figure of language models, of rows whose every number is known."""
import math

import numpy as np
import pandas as pd
import pytest

from helpers.figure_rows import (
    assert_nothing_overlaps, rows, runs_of, save, table,
)
from figures import lm, plotting, results
from figures.tables import findings

STEPS = np.array([0, 5, 10])
NATS = math.log(2) * 2  # of one bit per character, at two characters a token


def run_of(solver, seed, bits, dataset="text", **columns):
    bits = np.array(bits, dtype=float)
    return rows(solver, seed, len(bits), dataset, **{
        "stop_val": STEPS, "time": 1.5 + STEPS, "n_outer": STEPS.astype(float),
        "test_loss": NATS * bits, "bits_per_character": bits,
        "perplexity": np.exp(NATS * bits), "test_accuracy": 1 / (1 + bits),
        "baseline_unigram": 5 * NATS, "baseline_bigram": 4 * NATS,
        "forward_time": 4e-3 * STEPS, "backward_time": 2e-3 * STEPS,
    } | columns)


def race():
    return pd.concat([
        run_of(solver, seed, [6, 3, end + seed / 10])
        for seed in (0, 1, 2)
        for solver, end in (("HOAG", 2.0), ("SHINE", 2.2))
    ] + [run_of("Phantom", 0, [6, 3, 2], diverged=[0.0, 0.0, 1.0])])


@pytest.fixture(scope="module")
def drawn():
    pictures = rows("SHINE", 0, 3, "digits", test_accuracy=0.5)
    return lm.draw(results.Inputs(runs_of(race(), pictures)))


def test_lines_are_medians_in_bits(drawn):
    by_step, by_time = drawn.figures[""].axes
    lines = {line.get_label(): line for line in by_step.lines}
    assert lines["HOAG"].get_xdata().tolist() == [0, 5, 10]
    assert lines["HOAG"].get_ydata() == pytest.approx([6, 3, 2.1])
    assert lines["SHINE"].get_ydata() == pytest.approx([6, 3, 2.3])
    assert "(unigram: 5.00)" in by_step.get_title()
    assert lines["bigram, Kneser-Ney"].get_ydata() == pytest.approx([4, 4])
    # a run that diverged ends its line
    assert np.isnan(lines["Phantom"].get_ydata()[-1])
    times = {line.get_label(): line for line in by_time.lines}
    assert times["HOAG"].get_xdata().tolist() == [0, 5, 10]
    assert by_step.get_ylim()[1] == pytest.approx(4.12)
    assert "medians of 1 to 3 seeds" in drawn.caption
    with plotting.paper_style():  # which chooses the size of letters
        assert_nothing_overlaps(drawn.figures[""])


@pytest.mark.parametrize("bits, columns, top", [
    ([6, 3.5, 3], {}, 4.12),
    ([6, 5, 4.5], {}, 6),  # above the bigram's 4: all of the line is shown
    ([6, 5, 4.5], {"diverged": [0.0, 0.0, 1.0]}, 6),
    ([6, 3, 2], {"baseline_unigram": np.nan, "baseline_bigram": np.nan}, 6),
])
def test_every_method_has_its_end_on_the_axis(bits, columns, top):
    found = lm.draw(results.Inputs(runs_of(
        run_of("HOAG", 0, [6, 3, 2], **dict(columns, diverged=0.0)),
        run_of("SHINE", 0, bits, **columns))))
    low, high = found.figures[""].axes[0].get_ylim()
    assert low < 2 and top <= high < 1.1 * top
    assert ("ends just above that line" in found.caption) == (
        "baseline_bigram" not in columns)
    assert "nan" not in found.tables[""]


def test_without_baselines_there_is_neither_line_nor_number(tmp_path):
    frame = race().drop(columns=[
        f"objective_{name}" for name in lm.BASELINES])
    found = lm.draw(results.Inputs(runs_of(frame)))
    ax = found.figures[""].axes[0]
    assert ax.get_title() == "text"
    assert "bigram, Kneser-Ney" not in {
        line.get_label() for line in ax.lines}
    save(tmp_path / "lm_quick.parquet", frame)
    text = findings.told("language", findings.Record(tmp_path))
    assert "unigram model takes -, a bigram model -." in " ".join(text.split())


def test_the_findings_need_the_full_solve(tmp_path):
    frame = race().query("objective_solver != 'HOAG'")
    save(tmp_path / "lm_quick.parquet", frame)
    assert findings.told("language", findings.Record(tmp_path)) == (
        "Not in this record: HOAG, the full solve, on text.\n")


def test_the_table_has_the_ends_and_the_counting_models(drawn):
    head, _, *body = drawn.tables[""].splitlines()
    names = [cell.strip() for cell in head.split("|")]
    table = {
        cells[2]: dict(zip(names, cells)) for cells in (
            [cell.strip() for cell in line.split("|")] for line in body)
    }
    assert set(table) == {"HOAG", "SHINE", "Phantom"}
    assert table["SHINE"]["bits per character"] == "2.300 ± 0.100"
    assert table["SHINE"]["unigram"] == "5.000"
    assert table["SHINE"]["bigram"] == "4.000"
    assert table["SHINE"]["backward (ms)"] == "2"
    assert table["Phantom"]["diverged"] == "1"
    assert table["Phantom"]["bits per character"] == "-"


def test_without_text_it_says_what_to_run():
    pictures = rows("SHINE", 0, 3, "digits", test_accuracy=0.5)
    with pytest.raises(results.ResultError, match="lm_quick.yml"):
        lm.draw(results.Inputs(runs_of(pictures)))


def test_the_findings_tell_how_far_from_the_full_solve(tmp_path):
    save(tmp_path / "lm_quick.parquet", race())
    text = findings.told("language", findings.Record(tmp_path))
    found = {row["method"]: row for row in table(text, "method")}
    assert "unigram model takes 5.00, a bigram model 4.00" in " ".join(
        text.split())
    assert found["`HOAG`"]["less the full solve"] == "–"
    assert found["`SHINE`"]["bits per character"] == "2.300"
    assert found["`SHINE`"]["less the full solve"].startswith("+0.2 (")
