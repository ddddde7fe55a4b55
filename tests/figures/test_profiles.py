"""Profiles of problems whose costs are known beforehand."""
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import league_numbers
from helpers.figure_rows import (
    assert_nothing_overlaps, bilevel, run, runs_of, save, table,
)
from figures import profiles
from figures.plotting import paper_style
from figures.results import ResultError
from figures.tables import league, race

INF = np.inf
# Evaluations on two seeds of one data set and on one of another.
TOY = {"SHINE": [10, 10], "HOAG": [20, 30], "Neumann": [INF, 15]}
OTHER = {"SHINE": [INF], "HOAG": [50], "AmIGO": [5], "Neumann": [INF]}


def problem(dataset, evaluations, protocol="fair"):
    """The same evaluations at each tolerance, times 1, 2, 3 and 4."""
    return league_numbers.problem({
        f"evaluations to stay at {title}": {
            method: [factor * x for x in own]
            for method, own in evaluations.items()}
        for title, factor in zip(profiles.TOLERANCES, (1, 2, 3, 4))
    }, dataset, protocol)


def costs_of(*problems, order=("SHINE", "HOAG", "AmIGO", "Neumann")):
    return profiles.costs_of(problems, "fair", list(order))


def test_data_sets_weigh_the_same():
    costs, warnings = costs_of(problem("toy", TOY), problem("other", OTHER))
    assert list(costs.tables["1e-2"]) == ["SHINE", "HOAG", "Neumann"]
    warning, = warnings
    assert "not run on toy, so left out: AmIGO" in warning
    shown = {row["method"]: row for row in table(
        profiles.shares_table(costs), "method")}
    assert shown["SHINE"]["1e-2: solved"] == "50%"
    assert shown["HOAG"]["1e-2: solved"] == "100%"
    # of three problems: the quarters of toy's seeds, and half of other's
    assert shown["HOAG"]["1e-2: within 2 ×"] == "75%"
    assert shown["Neumann"]["1e-2: within 2 ×"] == "25%"


def test_problems_that_some_method_lacks_are_left_out_and_told():
    toy = TOY | {"HOAG": [20]}
    costs, (warning,) = costs_of(problem("toy", toy))
    assert "1 of 2 problems are left out" in warning
    assert len(costs.weights) == 1


def run_on(monkeypatch, *problems):
    """Draw, with these in the place of the league of the files."""
    monkeypatch.setattr(
        league, "problems_of", lambda runs: (list(problems), []))
    runs = pd.DataFrame(
        [(x, x) for x in ("SHINE", "HOAG", "AmIGO", "Neumann")],
        columns=["base", "method"])
    return profiles.draw(SimpleNamespace(need_runs=lambda: runs))


def test_the_picture_has_a_panel_per_tolerance(monkeypatch):
    drawing = run_on(
        monkeypatch, problem("toy", TOY), problem("other", OTHER),
        problem("toy", {"SHINE": [3]}, "hoag"))
    assert list(drawing.figures) == ["fair", "hoag"]
    assert "fair protocol, 3 problems (2 data sets)" in drawing.caption
    figure = drawing.figures["fair"]
    above, below = figure.axes[:4], figure.axes[4:]
    assert [ax.get_title() for ax in above] == [
        f"to stay within {t}" for t in ("1e-1", "1e-2", "1e-3", "1e-4")]
    lines = {line.get_label(): line for line in below[1].get_lines()}
    x, share = lines["HOAG"].get_data()
    at = dict(zip(x, share))
    assert (at[40], at[60], at[100]) == (0.25, 0.5, 1)
    ends = {line.get_label(): line.get_ydata()[-1]
            for line in above[0].get_lines()}
    assert ends == {"SHINE": 0.5, "HOAG": 1, "Neumann": 0.25}
    assert_nothing_overlaps(figure)


def test_a_problem_whose_start_is_an_optimum_is_left_out():
    runs = runs_of(*(
        bilevel(m, 0, gaps, dataset=name) for m in ("SHINE", "HOAG")
        for name, gaps in (("toy", [1, 0.1, 0.001]), ("flat", [0, 0, 0]))))
    costs, warnings = profiles.all_costs(runs)
    assert [*costs[0].tables["1e-2"]] == ["SHINE", "HOAG"]
    assert any("flat: left out: the start" in w for w in warnings)
    kept, = race.fair(league.problems_of(runs)[0])
    assert kept.dataset == "toy" and "1 seed;" in race.short([kept])


def test_names_of_a_user_s_own_are_no_folders_and_no_lines(tmp_path, capsys):
    path = save(tmp_path / "a.parquet", *(
        bilevel("my\nsolver", seed, [1, 0.001], p_solver_protocol="a/b")
        for seed in range(3)))
    status, _, _ = run(capsys, "profiles", path, "--output-dir", tmp_path)
    assert status == 0 and (tmp_path / "profiles_a-b.png").is_file()
    text = (tmp_path / "profiles.md").read_text("utf-8")
    shown, = table(text, "method")
    assert shown["method"] == "my solver"


def test_many_methods_are_drawn_and_legible():
    names = [f"method-{i}" for i in range(20)]
    costs, _ = costs_of(problem("toy", {
        name: [10.0 + i, INF if i < 8 else 9] for i, name in enumerate(names)
    }), order=names)
    assert profiles.drawn(costs) == names[8:]
    caption = profiles.caption_of(costs)
    assert "Drawn are the 12 of 20 methods" in caption
    with paper_style():
        assert_nothing_overlaps(profiles.plot(costs, caption))


def test_without_a_method_on_every_data_set_there_is_a_sentence(monkeypatch):
    with pytest.raises(ResultError, match="--datasets"):
        run_on(monkeypatch, problem("toy", {"SHINE": [1]}),
               problem("other", {"HOAG": [1]}))
    never = run_on(monkeypatch, problem("toy", {"SHINE": [INF]}))
    assert "0%" in never.tables[""]
