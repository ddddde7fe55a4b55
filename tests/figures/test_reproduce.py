"""The paper's numbers beside ours, and its claims, on known files."""
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from helpers import figure_rows
from helpers.figure_rows import bilevel, rows, run, runs_of
from figures import __main__ as command
from figures import fig3
from figures.tables import claims, league, reproduce

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


# Claims

def spread(q1, median, q3, counted=3, of=3):
    return claims.Spread(q1, median, q3, counted, of)


INF = np.inf
LOW, MIDDLE, HIGH = spread(1, 2, 3), spread(2, 3, 4), spread(5, 6, 7)


@pytest.mark.parametrize("rule, one, other, settings, verdict", [
    (claims.better, LOW, HIGH, {}, "confirmed"),
    (claims.better, HIGH, LOW, {}, "refuted"),
    (claims.better, LOW, MIDDLE, {}, "undecided"),
    (claims.better, LOW, spread(31, 40, 50), {"factor": 10}, "confirmed"),
    (claims.better, LOW, HIGH, {"factor": 10}, "refuted"),
    (claims.no_worse, LOW, LOW, {}, "confirmed"),
    (claims.no_worse, MIDDLE, LOW, {}, "undecided"),
    (claims.no_worse, HIGH, LOW, {}, "refuted"),
    (claims.no_worse, HIGH, LOW, {"margin": 4}, "confirmed"),
    (claims.no_worse, spread(INF, INF, INF), spread(INF, INF, INF), {},
     "undecided"),
    (claims.within, LOW, MIDDLE, {"margin": 1}, "confirmed"),
    (claims.within, LOW, MIDDLE, {"margin": 0.5}, "undecided"),
    (claims.within, HIGH, LOW, {"margin": 1}, "refuted"),
])
def test_rules(rule, one, other, settings, verdict):
    assert rule(one, other, **settings) == verdict


def found(title, *frames):
    problems, _ = league.problems_of(runs_of(*frames))
    claim, = (c for c in claims.CLAIMS if c.title.startswith(title))
    table = claims.findings(claim, claims.places_of(problems))
    return dict(zip(table.get("quantity", []), zip(
        table.get("verdict", []), table.get("why", []))))


def pair(shine, hoag, seeds=(0, 1, 2), **columns):
    return [
        bilevel(method, seed, [1, 0], unit=unit + seed / 10, **columns)
        for seed in seeds for method, unit in (("SHINE", shine),
                                               ("HOAG", hoag))
    ]


SOONER = "SHINE reaches a given suboptimality sooner than HOAG"


def test_a_claim_about_times():
    assert found(SOONER, *pair(1, 2)) == {
        "time to 1e-2": ("confirmed", ""),
        "evaluations to 1e-2": ("undecided", ""),
    }
    assert found(SOONER, *pair(2, 1))["time to 1e-2"][0] == "refuted"
    verdict, why = found(SOONER, *pair(1, 2, (0, 1)))["time to 1e-2"]
    assert verdict == "not tested" and "2 of 2 seeds" in why
    several = [bilevel("HOAG", 0, [1, 0])] + [
        bilevel("SHINE", 0, [1, 0], p_solver_memory=m) for m in (3, 4)]
    _, why = found(SOONER, *several)["time to 1e-2"]
    assert "several settings of SHINE" in why
    assert not found(SOONER, bilevel("SHINE", 0, [1, 0]))


def on_network(method, accuracy):
    return [rows(method, seed, 2, "net", test_accuracy=[
        0.1, (accuracy + seed / 10) / 100]) for seed in range(3)]


@pytest.mark.parametrize("shine, refined, loss, repaired", [
    (90, 95, "refuted", "confirmed"), (90, 91, "refuted", "refuted"),
    (94.8, 95, "confirmed", "confirmed"), (96, 95, "confirmed", "not tested"),
])
def test_claims_of_which_more_is_better(shine, refined, loss, repaired):
    frames = [
        *on_network("SHINE", shine), *on_network("HOAG", 95),
        *(frame.assign(p_solver_backward_steps=5)
          for frame in on_network("SHINE", refined)),
    ]
    assert found("… at a loss of at most", *frames)["accuracy"][0] == loss
    made_good = found("… which a few refining steps", *frames)
    assert made_good["accuracy"][0] == repaired


def test_the_page_of_claims_has_every_claim(tmp_path, capsys):
    path = figure_rows.save(tmp_path / "a.parquet", *pair(1, 2))
    status, text, _ = run(
        capsys, "claims", path, "--output-dir", tmp_path / "out")
    assert status == 0 and text.startswith("# The paper's claims")
    assert text.count("\n## ") == len(claims.CLAIMS)
    first = figure_rows.table(text, "verdict")[0]
    assert first["the claim is for"] == "SHINE: 1.1 (1.05–1.15)"
    assert first["verdict"] == "confirmed"
    written = (tmp_path / "out" / "claims.md").read_text(encoding="utf-8")
    assert written in text
