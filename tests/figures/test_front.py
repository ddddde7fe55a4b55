"""The README's tables, of numbers that are known beforehand."""
import numpy as np
import pytest

from figures.results import ResultError
from figures.tables import claims, front, league

from helpers.figure_rows import bilevel, run, save, table
from helpers.league_numbers import problem

FIRST, STAY = "evaluations to 1e-2", "evaluations to stay at 1e-2"
INF = np.inf


RUNS = problem({
    FIRST: {"SHINE": [100] * 10, "HOAG": [150] * 10, "Grid-search": [9] * 10},
    STAY: {"SHINE": [100] * 3 + [INF] * 7, "HOAG": [150] * 10,
           "Grid-search": [9] * 10},
})
NETWORK = problem({
    "accuracy": {"SHINE": [95.0, 95, 95]}, "backward": {"SHINE": [4.0] * 3},
}, dataset="net", family=league.NETWORK)


def test_a_row_says_first_stay_and_how_sure():
    row, *others = table(front.says(claims.places_of([RUNS])), "claim")
    assert row == {
        "claim": "SHINE is sooner than HOAG", "runs": "toy, fair, 10 seeds",
        "first, or lowest": "1.5, 10:0, **confirmed**",
        "to stay, or at the end": "0 [0–1.5], 3:7, **undecided**",
    }
    assert [row["claim"] for row in others] == [
        "SHINE is sooner than Grid-search"]


def test_the_words_are_those_of_the_claims():
    """Every verdict of the page of claims is in the README as it is there."""
    places = claims.places_of([RUNS])
    rows = table(front.says(places), "claim")
    for claim in claims.CLAIMS[0], claims.CLAIMS[2]:
        for row in claims.findings(claim, places).itertuples():
            told, = [
                told for told in rows
                if told["claim"] == f"SHINE is sooner than {row.other}"
            ]
            if row.quantity in (FIRST, STAY):
                assert f"**{row.verdict}**" in told[
                    "first, or lowest" if row.quantity == FIRST
                    else "to stay, or at the end"]


def test_a_comparison_that_is_not_tested_says_why():
    short = problem({STAY: {"SHINE": [1] * 3, "HOAG": [2] * 3}})
    assert "**not tested**: 3 seeds in common, 7 can decide" in (
        front.says(claims.places_of([short])))


def test_the_table_counts_who_is_there():
    shown = {row["method"]: row for row in table(
        front.table([RUNS, NETWORK]), "toy")}
    stay = f"toy, fair: {STAY}"
    assert shown["`HOAG`"][stay] == "150 (10 of 10)"
    assert shown["`SHINE`"][stay] == "– (3 of 10)"
    assert set(shown) == {"`SHINE`", "`HOAG`"}
    assert shown["`SHINE`"]["net, fair: accuracy"] == "95.0 % (95.0–95.0)"
    assert shown["`SHINE`"]["net, fair: backward"] == "4 ms"
    assert shown["`HOAG`"]["net, fair: backward"] == "–"
    never = problem({STAY: {"SHINE": [INF] * 3}})
    row, = table(front.table([never]), "toy")
    assert row[stay] == "never (0 of 3)"


@pytest.mark.parametrize("accuracies, cell", [
    ([95.0], "95.0 %"), ([95.0, -INF, 94], "1 of 3 diverged")])
def test_accuracies_without_an_interval(accuracies, cell):
    net = problem({"accuracy": {"SHINE": accuracies}, "backward": {
        "SHINE": [4.0]}}, dataset="net", family=league.NETWORK)
    row, = table(front.table([net]), "net")
    assert row["net, fair: accuracy"] == cell


def test_without_its_methods_there_is_a_sentence():
    search = problem({STAY: {"Grid-search": [1.0]}})
    with pytest.raises(ResultError, match="none of the methods HOAG"):
        front.table([search])
    with pytest.raises(ResultError, match="run SHINE and HOAG"):
        front.says(claims.places_of([search]))


def test_the_command_fills_both_places_of_a_page(tmp_path, capsys,
                                                 monkeypatch):
    monkeypatch.setattr(league, "problems_of", lambda runs: ([RUNS], []))
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- says:begin -->\n<!-- says:end -->\nb\n"
        "<!-- front:begin -->\n<!-- front:end -->\n", encoding="utf-8")
    path = save(tmp_path / "a.parquet", bilevel("SHINE", 0, [1, 0]))
    assert run(capsys, "front", path, "--page", page)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert front.says(claims.places_of([RUNS])) in text
    assert front.table([RUNS]) in text
