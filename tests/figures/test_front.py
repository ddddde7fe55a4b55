"""The README's tables, of numbers that are known beforehand."""
import numpy as np
import pytest

from figures.results import ResultError
from figures.tables import claims, front, league, race

from helpers.figure_rows import bilevel, run, save, table
from helpers.league_numbers import problem

FIRST, STAY = "evaluations to 1e-2", "evaluations to stay at 1e-2"
INF = np.inf


RUNS = problem({
    FIRST: {"SHINE": [100] * 10, "HOAG": [150] * 10, "Grid-search": [9] * 10},
    STAY: {"SHINE": [100] * 3 + [INF] * 7, "HOAG": [150] * 10,
           "Grid-search": [9] * 10},
    "evaluations to stay at 1e-1": {
        "SHINE": [9] * 10, "HOAG": [8] * 10, "Grid-search": [7] * 10},
})


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


def test_without_its_methods_there_is_a_sentence():
    search = problem({STAY: {"Grid-search": [1.0]}})
    with pytest.raises(ResultError, match="run SHINE and HOAG"):
        front.says(claims.places_of([search]))


@pytest.mark.parametrize("name, mark, text", [
    ("front", "says", lambda: front.says(claims.places_of([RUNS]))),
    ("race", "race", lambda: race.short([RUNS])),
])
def test_a_command_fills_its_place_of_a_page(
        name, mark, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(league, "problems_of", lambda runs: ([RUNS], []))
    page = tmp_path / "page.md"
    page.write_text(
        f"a\n<!-- {mark}:begin -->\n<!-- {mark}:end -->\nb\n",
        encoding="utf-8")
    path = save(tmp_path / "a.parquet", bilevel("SHINE", 0, [1, 0]))
    assert run(capsys, name, path, "--page", page)[0] == 0
    assert text() in page.read_text(encoding="utf-8")
