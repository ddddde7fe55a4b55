"""The race of the methods, of numbers that are known beforehand."""
import numpy as np
import pytest

from figures.results import ResultError
from figures.tables import claims, league, race

from helpers.league_numbers import problem
from helpers.figure_rows import table

INF = np.inf
TITLES = [f"evaluations to stay at {gap}" for gap in league.SUBOPTIMALITIES]
ONE = {"HOAG": [200] * 8, "SHINE": [100] * 8, "qNBO": [50] * 4 + [INF] * 4}
TWO = {"HOAG": [100] * 8, "SHINE": [INF] * 8, "qNBO": [50] * 8}


def of(**tasks):
    return [
        problem({title: numbers for title in TITLES}, name)
        for name, numbers in tasks.items()
    ]


def test_the_table_says_who_is_first_where():
    three = {"HOAG": [9] * 8, "SHINE": [8] * 8, "qNBO": [10] * 8}
    found = table(race.table(
        of(one=ONE, two=TWO, three=three), ["1e-2"]), "method")
    # the ranks are 1 3 1, 2 2 2, 3 1 3
    assert [row["method"] for row in found] == [
        "`SHINE`", "`HOAG`", "`qNBO`"]
    found = table(race.table(of(one=ONE, two=TWO), ["1e-2"]), "method")
    rows = {row["method"]: row for row in found}
    assert [rows[f"`{name}`"]["one"] for name in ONE] == [
        "200", "**100**", "– (4)"]
    assert rows["`qNBO`"]["two"] == "**50**"
    assert rows["`qNBO`"]["HOAG / own"] == "1.00"  # of 0 and 2
    assert rows["`SHINE`"]["two"] == "–"
    assert rows["`SHINE`"]["HOAG / own"] == "1.00"  # of 2 and 0


def test_a_method_that_was_not_run_has_an_empty_cell():
    rows = table(race.table(
        of(one=ONE, two={"HOAG": [9] * 3}), ["1e-2"]), "method")
    shine, = [row for row in rows if row["method"] == "`SHINE`"]
    assert (shine["two"], shine["HOAG / own"]) == ("", "2.00")


def test_the_short_table_has_two_goals():
    fast = {name: [x / 2 for x in xs] for name, xs in ONE.items()}
    numbers = {title: ONE for title in TITLES} | {TITLES[0]: fast}
    text = race.short([problem(numbers, "one")])
    rows = {row["method"]: row for row in table(text, "method")}
    assert rows["`SHINE`"]["one"] == "**50** / **100**"
    assert rows["`qNBO`"]["one"] == "– (4) / – (4)"
    assert "over 8 seeds" in text


def test_rivals_are_judged_against_shine_and_its_relatives():
    problems = of(one=ONE, two=TWO)
    page = race.full(problems, claims.places_of(problems), "")
    rows = {row["where"]: row for row in table(
        page[page.index("## qNBO"):], "where")
        if row["quantity"] == "evaluations to stay at 1e-2"}
    assert rows["two, fair"]["verdict"] == "confirmed"
    assert rows["two, fair"]["wins:losses:ties"] == "8:0:0"
    assert rows["one, fair"]["verdict"] == "undecided"
    assert "## NBO" not in page


def test_no_verdict_depends_on_the_other_tasks():
    def told(problems):
        page = race.full(problems, claims.places_of(problems), "")
        return [
            row for row in table(page[page.index("## qNBO"):], "where")
            if row["where"] == "one, fair"]

    assert told(of(one=ONE)) == told(of(one=ONE, two=TWO)) != []


def test_no_runs_under_the_fair_protocol():
    other = problem({TITLES[0]: {"SHINE": [1]}}, protocol="published")
    with pytest.raises(ResultError, match="fair protocol"):
        race.fair([other])
