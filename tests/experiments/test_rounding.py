"""What rounding changes: rows that resume, arrivals, spread, verdicts."""
import numpy as np
import pandas as pd
import pytest
import torch

from experiments import rounding
from experiments.rows import Rows

from helpers.problems import model


def test_rows_go_on_where_they_ended(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    Rows(path, ("a", "b")).add(a=1, b="x", found=0.5)
    rows = Rows(path, ("a", "b"))
    assert not rows.missing(b="x", a=1) and rows.missing(a=1, b="y")
    rows.add(a=1, b="y", found=0.25)
    assert not rows.missing(a=1, b="y")
    assert pd.read_csv(path)["found"].tolist() == [0.5, 0.25]


@pytest.mark.parametrize("change", [
    lambda frame: frame.assign(fingerprint="0" * 12),
    lambda frame: frame.drop(columns="a"),
])
def test_rows_of_something_else_are_refused(change, tmp_path):
    path = tmp_path / "rows.csv"
    Rows(path, ("a",)).add(a=1)
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(ValueError, match="rows.csv: .*another --output"):
        Rows(path, ("a",))


def test_starts_differ_by_rounding():
    problem = model("logistic")
    z, same, other, again = (
        each.start()[1] for each in (
            problem, *(rounding.perturbed(problem, k) for k in (0, 1, 1))
        )
    )
    assert torch.equal(z, same) and torch.equal(other, again)
    change = ((other - z) / z).abs()
    assert 0 < float(change.min()) < float(change.max()) < 1e-11


@pytest.mark.parametrize("gaps, expected", [
    ([1, 0.5, 0.1, 0.01], (30, 30)), ([1, 0.05, 0.2, 0.1], (20, 40)),
    ([1, 0.05, 0.2, np.inf], (20, np.inf)),
    ([1, 1, 1, 1], (np.inf, np.inf)), ([0, 0, 0, 0], (10, 10)),
])
def test_arrivals(gaps, expected):
    assert rounding.arrivals([10, 20, 30, 40], gaps, 0.1) == expected


def repeats(name, counts):
    """A row for each repeat (outer list) and seed (inner list)."""
    return pd.DataFrame([
        {"task": "t", "protocol": "fair", "method": name, "seed": seed,
         "instructions": "native", "start": k, "stay 0.01": count}
        for k, row in enumerate(counts) for seed, count in enumerate(row)
    ])


def test_verdicts_are_those_of_each_repeat():
    frame = pd.concat([
        repeats("HOAG", [[9] * 6, [9] * 6, [9] * 6]),
        # sooner on all seeds, on five of six, later on all
        repeats("SHINE", [[3] * 6, [3] * 5 + [np.inf], [np.inf] * 6]),
    ])
    row, = rounding.verdicts(frame, "stay 0.01").to_dict("records")
    assert row["pair"] == "HOAG, SHINE"
    assert (row["HOAG sooner"], row["other sooner"], row["undecided"]) == (
        1, 1, 1)


def test_spread_is_of_the_repeats_of_a_seed():
    frame = repeats("SHINE", [[10, 7], [20, 7], [40, np.inf]])
    row, = rounding.spread(frame, "stay 0.01").to_dict("records")
    # medians of the two seeds: 0.5 and 1, 2 and 1, 1 and 2/3
    assert row == pytest.approx(
        {"lowest": 0.75, "highest": 1.5, "there": 5 / 6}
    )


def test_a_run_resumes_and_reports(tmp_path, capsys):
    output = tmp_path / "rounding.csv"
    words = ["--tasks", "ridge", "--protocols", "fair", "--seeds", "1",
             "--starts", "1", "--methods", "HOAG", "SHINE",
             "--output", str(output)]
    rounding.main(words)
    before = output.read_text()
    rounding.main(words)
    assert output.read_text() == before
    frame = pd.read_csv(output)
    assert set(frame["instructions"]) == {"native", "avx2"}
    exact = frame[frame["method"] == "HOAG"]
    assert (exact["last"] < 1e-3).all()
    text = output.with_suffix(".md").read_text()
    assert "| ridge | fair | HOAG, SHINE | 0 | 0 | 2 |" in text
