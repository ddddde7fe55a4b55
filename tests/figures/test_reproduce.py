"""The paper's numbers beside ours, on known files."""
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import figure_rows
from helpers.figure_rows import rows, run
from figures import __main__ as command
from figures import fig3
from figures.tables import reproduce

ROOT = Path(__file__).resolve().parents[2]


def table(text, title):
    """The cells of the table below a title, a dict per row."""
    return figure_rows.table(text.partition(f"**{title}")[2], "|")


def on_news(method, losses, seed, protocol="published"):
    """A run on 20 newsgroups, 30 outer steps, with one loss a step."""
    steps = np.arange(31)
    return rows(
        method, seed, 31, "20news", p_dataset_formulation="logistic",
        p_solver_protocol=protocol, test_loss=losses + steps,
        theta=-0.1 * steps, n_g=10.0 * steps, n_vjp=2.0 * steps,
    )


def test_runs_end_where_the_authors_do(tmp_path, capsys):
    figure_rows.save(
        tmp_path / "fig1_paper.parquet",
        on_news("SHINE", 100, 0), on_news("SHINE", 200, 1),
        on_news("SHINE", 400, 2), on_news("SHINE", 7, 0, "fair"),
        on_news("HOAG", 300, 1),
    )
    status, text, _ = run(capsys, "reproduce", tmp_path)
    assert status == 0
    assert table(text, "Figures 1 and E.1, left") == [
        # of the authors' run, at its step 29
        {"method": "`SHINE`", "held-out loss": "107.65 / 129.00",
         "log λ": "-5.72 / -2.90", "g": "648 / 290", "Jᵀ": "0 / 58",
         "ours, median of seeds": "229.00 (3)"},
        {"method": "`HOAG`", "held-out loss": "107.86 / -",
         "log λ": "-5.72 / -", "g": "359 / -", "Jᵀ": "1838 / -",
         "ours, median of seeds": "329.00 (1)"},
    ]
    assert "no fig2_paper.parquet in" in text
    assert "no figE2*.csv in" in text


def test_a_variant_has_a_row_of_its_own(tmp_path, capsys):
    figure_rows.save(
        tmp_path / "fig1_paper.parquet", on_news("SHINE", 100, 0),
        on_news("SHINE", 200, 0).assign(p_solver_forward="anderson"))
    _, text, _ = run(capsys, "reproduce", tmp_path)
    rows = table(text, "Figures 1 and E.1, left")
    assert {row["method"]: row["held-out loss"] for row in rows} == {
        "`SHINE`": "107.65 / 129.00",
        "`SHINE (forward=anderson)`": "107.65 / 229.00",
    }


def test_a_file_that_will_not_do_does_not_end_the_others(tmp_path, capsys):
    other = on_news("SHINE", 100, 0).assign(
        objective_dataset="toy", dataset_name="toy[seed=0]")
    figure_rows.save(tmp_path / "fig2_paper.parquet", other)
    figure_rows.save(
        tmp_path / "fig1_paper.parquet", on_news("SHINE", 1, 0, "fair"))
    figure_rows.pass_times(0.25).to_csv(
        tmp_path / "backward_times_cpu.csv", index=False)
    status, text, _ = run(capsys, "reproduce", tmp_path)
    assert status == 0
    assert "**Figure 2, left: 20 newsgroups**: " in text
    assert "no data set 20news; it has toy." in text
    assert "no run under the published protocol" in text
    assert table(text, "Figure 3, x axis")


def network_run(method, seed, end, **columns):
    steps = np.array([0, 10, 20])
    return rows(method, seed, 3, "digits", **{
        "n_outer": 1.0 * steps, "forward_time": 4e-3 * steps,
        "backward_time": 2e-3 * steps, "test_accuracy": [0.1, 0.5, end],
    } | columns)


def test_networks_without_the_full_solve(tmp_path, capsys):
    figure_rows.save(
        tmp_path / "deq_quick.parquet", network_run("SHINE", 0, 0.8),
        network_run("SHINE", 1, 0.6, diverged=[0.0, 0.0, 1.0]))
    status, text, _ = run(capsys, "reproduce", tmp_path)
    assert status == 0
    row = next(row for row in table(text, "Figure 3: networks")
               if row["method"] == "`SHINE`" and row["steps"] == "0")
    assert row["digits, here: top-1 (%)"] == "80.00 (-), 1 diverged"
    assert row["digits, here: backward (ms)"] == "2 (- ×)"


def test_nothing_to_compare(tmp_path, capsys):
    status, _, err = run(capsys, "reproduce", tmp_path)
    line, = err.splitlines()
    assert status == 2 and str(tmp_path) in line and "make figure" in line


def test_published_points_are_those_of_the_paper():
    """What the abstract's figure says, read off the files by hand."""
    cifar, imagenet = (
        reproduce.beside_full(fig3.read_published(path))
        for path in reproduce.PUBLISHED.values()
    )
    assert cifar.loc[("SHINE", 0), "backward (ms)"] == "16 (13.1 ×)"
    assert cifar.loc[("Jacobian-Free", 10), "top-1 (%)"] == "93.60 (+0.09)"
    assert imagenet.loc[("SHINE", 0), "top-1 (%)"] == "70.37 (-5.16)"
    assert imagenet.loc[("Jacobian-Free", 0), "backward (ms)"] == (
        "13.5 (59.1 ×)"
    )


def test_passes_are_so_many_times_faster_than_the_full_solve(tmp_path):
    path = tmp_path / "times.csv"
    times = figure_rows.pass_times(0.25)
    small = times.assign(network="small", device="NVIDIA H200")
    pd.concat([times, small]).to_csv(path, index=False)
    found = reproduce.passes(path).set_index(["method", "steps"])
    free = found.loc["`Jacobian-Free`", "0"]
    assert free["TINY, cpu: ours"] == free["SMALL, H200: ours"] == "4.0"
    assert free["TINY, cpu: published"] == "16.2"
    assert free["SMALL, H200: published"] == "59.1"
    assert found.loc["`HOAG`", "full"].eq("1.0").all()


def test_the_page_is_not_stale(tmp_path, monkeypatch):
    page = ROOT / "docs" / "reproduce.md"
    text = page.read_text(encoding="utf-8")
    told, = re.findall(r"<!-- reproduce:begin (.*) -->", text)
    program, option, package, *words = shlex.split(told)
    assert (program, option, package) == ("python", "-m", "figures")
    (tmp_path / "docs").mkdir()
    os.symlink(ROOT / "results", tmp_path / "results")
    copy = tmp_path / "docs" / "reproduce.md"
    copy.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == 0
    again = copy.read_text(encoding="utf-8")
    assert again == text, f"docs/reproduce.md is stale: run {told}"
