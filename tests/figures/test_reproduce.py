"""The paper's numbers beside those of result files known beforehand."""
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "figures"))

import reproduce  # noqa: E402


def table(text, title):
    """The cells of a table, a dict per row."""
    _, _, rest = text.partition(f"**{title}")
    lines = re.search(r"(?m)(?:^\|.*\n)+", rest)[0].splitlines()
    head, _, *body = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines
    )
    return [dict(zip(head, row, strict=True)) for row in body]


def runs(method, losses, seed, moves=2):
    """A run on 20 newsgroups, 30 outer steps, with one loss a step."""
    steps = np.arange(31)
    return pd.DataFrame({
        "dataset_name": f"20news[formulation=logistic,seed={seed}]",
        "solver_name": f"{method}[moves={moves}]", "p_dataset_seed": seed,
        "p_solver_moves": moves, "p_obj_fingerprint": "abc",
        "stop_val": steps, "time": 1.0 * steps,
        "objective_value": losses + steps, "objective_test_loss":
        losses + steps, "objective_value_function": np.nan,
        "objective_theta": -0.1 * steps, "objective_n_g": 10.0 * steps,
        "objective_n_jvp": 2.0 * steps, "objective_diverged": 0.0,
    })


def test_runs_end_where_the_authors_do(tmp_path, capsys):
    pd.concat([
        runs("SHINE", 100, 0), runs("SHINE", 200, 1), runs("SHINE", 400, 2),
        runs("SHINE", 7, 0, moves=1), runs("HOAG", 300, 1),
    ]).to_parquet(tmp_path / "fig1_paper.parquet")
    text = reproduce.main([tmp_path])
    assert capsys.readouterr().out == text
    assert table(text, "Figure 1, left") == [
        # of the authors' run, at its step 29
        {"method": "`SHINE`", "held-out loss": "107.65 / 129.00",
         "log λ": "-5.72 / -2.90", "g": "648 / 290", "Jᵀ": "0 / 58",
         "ours, median of seeds": "229.00 (3)"},
        {"method": "`HOAG`", "held-out loss": "107.86 / -",
         "log λ": "-5.72 / -", "g": "359 / -", "Jᵀ": "1838 / -",
         "ours, median of seeds": "329.00 (1)"},
    ]
    assert "no figE1_paper.parquet in" in text
    assert "no figE2*.csv in" in text


def test_points_beside_the_full_solve():
    points = pd.DataFrame({
        "curve": ["HOAG", "SHINE"], "steps": [np.inf, 0.0],
        "accuracy": [90.0, 89.5], "time": [200.0, 16.0],
    })
    text = reproduce.beside_full(points)
    assert list(text.loc[("SHINE", 0)]) == ["89.50 (-0.50)", "16 (12.5 ×)"]
    assert list(text.loc[("HOAG", np.inf)]) == [
        "90.00 (+0.00)", "200 (1.0 ×)"
    ]


def test_nothing_to_compare(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        reproduce.main([tmp_path])
    assert error.value.code == 2
    line, = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line and "make figure" in line


def test_published_points_are_those_of_the_paper():
    """What the abstract's figure says, read off the files by hand."""
    cifar, imagenet = (
        reproduce.beside_full(
            reproduce.fig3_deq.read_authors(reproduce.HERE / name)
        ) for name in reproduce.PUBLISHED.values()
    )
    assert cifar.loc[("SHINE", 0), "backward (ms)"] == "16 (13.1 ×)"
    assert cifar.loc[("Jacobian-Free", 10), "top-1 (%)"] == "93.60 (+0.09)"
    assert imagenet.loc[("SHINE", 0), "top-1 (%)"] == "70.37 (-5.16)"
    assert imagenet.loc[("Jacobian-Free", 0), "backward (ms)"] == (
        "13.5 (59.1 ×)"
    )


def test_the_page_is_not_stale(tmp_path, monkeypatch):
    page = ROOT / "docs" / "reproduce.md"
    text = page.read_text(encoding="utf-8")
    command, = re.findall(r"<!-- reproduce:begin (.*) -->", text)
    program, script, *words = shlex.split(command)
    assert (program, script) == ("python", "figures/reproduce.py")
    (tmp_path / "docs").mkdir()
    os.symlink(ROOT / "results", tmp_path / "results")
    copy = tmp_path / "docs" / "reproduce.md"
    copy.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    reproduce.main(words)
    again = copy.read_text(encoding="utf-8")
    assert again == text, f"docs/reproduce.md is stale: run {command}"
