"""The league of result files whose every median is known beforehand."""
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import figure_rows
from helpers.figure_rows import bilevel, rows, run, runs_of, save
from figures import __main__ as command
from figures.tables import league

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2)
NAN, INF = np.nan, np.inf


def problems_of(*frames, only=()):
    return league.problems_of(runs_of(*frames), only)[0]


def league_of(*frames):
    """The numbers of the league, by (method, quantity, protocol)."""
    table = pd.concat(p.league for p in problems_of(*frames))
    keys = ["method", "quantity", "protocol"]
    return table.set_index(keys, drop=False).sort_index()


def quartiles(table, method, quantity, protocol="fair"):
    row = table.loc[method, quantity, protocol]
    return [row[name] for name in ("q1", "median", "q3")]


def cells(text, method, first="time"):
    """The cells of a method in the first table whose columns begin so."""
    row, = (row for row in figure_rows.table(text, f"| {first} to")
            if row["method"] == method)
    return row


def full(*frames):
    return league.full(problems_of(*frames))


def network(method, seed, accuracies, unit=1.0, **columns):
    """A run with a test accuracy per step, in percent."""
    n = len(accuracies)
    return rows(
        method, seed, n, "net", time=unit * np.arange(n),
        **{"test_accuracy": np.array(accuracies) / 100} | columns,
    )


# Suboptimality and arrival

def test_suboptimality_has_the_same_scale_for_every_seed():
    frames = [
        bilevel("SHINE", seed, [1, 0.5, 0.05, 0.005, 0], unit=seed + 1.0)
        for seed in SEEDS
    ]
    table, text = league_of(*frames), full(*frames)
    for level, step in ("1e-1", 2), ("1e-2", 3), ("1e-3", 4), ("1e-4", 4):
        assert quartiles(table, "SHINE", f"time to {level}") == [
            1.5 * step, 2.0 * step, 2.5 * step]
        assert quartiles(table, "SHINE", f"evaluations to {level}") == (
            [11 * step] * 3)
    assert quartiles(table, "SHINE", "lowest suboptimality") == [0, 0, 0]
    assert quartiles(table, "SHINE", "lowest F") == [50.5, 51, 51.5]
    assert cells(text, "SHINE")["time to 1e-2 (s)"] == "6 (4.5–7.5)"
    assert "F falls from 251 to 51 (medians of 3 seeds; by 100 at" in text
    assert "measured at every outer step" in text


def test_best_is_over_methods_and_protocols():
    table = league_of(*(
        frame for seed in SEEDS for frame in (
            bilevel("SHINE", seed, [1, 0.3]),
            bilevel("HOAG", seed, [1, 0.2]),
            bilevel("HOAG", seed, [1, 0.1], p_solver_protocol="published"),
        )
    ))
    for method, protocol, gap in (
        ("SHINE", "fair", 0.2 / 0.9), ("HOAG", "fair", 0.1 / 0.9),
        ("HOAG", "published", 0),
    ):
        found = quartiles(table, method, "lowest suboptimality", protocol)
        np.testing.assert_allclose(found, [gap] * 3, atol=1e-12)


@pytest.mark.parametrize("gaps, quantity, value", [
    ([1, NAN, NAN, 0, NAN, NAN, 0], "time to 1e-1", 3),
    ([1, 0, 0.25, NAN], "last suboptimality", 0.25),
    ([1, 0.05, 0, 0.5], "time to 1e-1", 1),
    ([1, 0.05, 0, 0.5], "lowest suboptimality", 0),
    ([1, 0.05, 0, 0.5], "last suboptimality", 0.5),
])
def test_only_measured_steps_count(gaps, quantity, value):
    frame = bilevel("SHINE", 0, gaps, p_obj_reference=3)
    assert quartiles(league_of(frame), "SHINE", quantity) == [value] * 3


def test_the_stride_of_measurements_is_told():
    frame = bilevel("SHINE", 0, [1, NAN, NAN, 0], p_obj_reference=3)
    assert "measured every 3 outer steps" in full(frame)


@pytest.mark.parametrize("reach, median", [(0, INF), (2, INF), (3, 2.0)])
def test_never_reached_is_infinitely_late(reach, median):
    frames = [
        frame for seed in range(4) for frame in (
            bilevel("SHINE", seed, [1, 0.5, 0.05 if seed < reach else 0.5]),
            bilevel("HOAG", seed, [1, 0]),
        )
    ]
    assert quartiles(league_of(*frames), "SHINE", "time to 1e-1")[1] == median
    shown = cells(full(*frames), "SHINE")
    assert shown["time to 1e-1 (s)"] == ("–" if median == INF else "2 (2–∞)")
    assert shown["time to 1e-2 (s)"] == "–"


def test_differences_within_the_error_of_f_are_none():
    # best is 50, the way to it 100: the error is 5e-7 of the way
    table = league_of(
        bilevel("SHINE", 0, [1, 0]), bilevel("HOAG", 0, [1, 4e-7]),
        bilevel("Newton", 0, [1, 6e-7]),
    )
    for method, gap in ("SHINE", 0), ("HOAG", 0), ("Newton", 6e-7):
        found = quartiles(table, method, "lowest suboptimality")
        np.testing.assert_allclose(found, [gap] * 3, rtol=1e-6)


# Nothing to win, nothing measured

@pytest.mark.parametrize("more", [[0, 0], [0, 1], [0, NAN]])
def test_where_no_method_improves_on_the_start_nobody_arrives(more):
    frames = bilevel("SHINE", 0, [0, 0]), bilevel("HOAG", 0, more)
    table, text = league_of(*frames), full(*frames)
    for level in league.SUBOPTIMALITIES:
        for x in "time", "evaluations":
            assert np.isnan(quartiles(table, "SHINE", f"{x} to {level}")[1])
    assert "No method improves on the start" in text
    assert "nan" not in text and "diverged" not in text
    sentence, = league.who_won(problems_of(*frames))
    assert "no method improves on the start" in sentence


def test_a_seed_without_a_way_down_has_no_arrivals():
    frames = bilevel("SHINE", 0, [1, 0]), bilevel("SHINE", 1, [0, 0])
    table = league_of(*frames)
    assert quartiles(table, "SHINE", "time to 1e-1") == [1, 1, 1]
    assert table.loc["SHINE", "time to 1e-1", "fair"]["counted"] == 1
    assert "With seed 1 no method improves" in full(*frames)


def test_an_unknown_start_is_announced():
    frames = bilevel("SHINE", 0, [1, 0]), bilevel("SHINE", 1, [NAN, 0])
    table = league_of(*frames)
    assert table.loc["SHINE", "time to 1e-1", "fair"]["counted"] == 1
    assert "F(θ₀) is not known of seed 1" in full(*frames)


def test_rows_that_could_not_be_measured_are_counted():
    frames = [
        bilevel("SHINE", 0, [1, NAN, 0.5, NAN]),
        bilevel("HOAG", 0, [1, NAN, NAN, NAN], diverged=[0.0, 0, 0, 1]),
    ]
    assert "could not be measured in 4 of 7 rows" in full(*frames)
    cell = cells(full(*frames), "SHINE")["last suboptimality"]
    assert cell == "0"  # the last that was measured
    assert "nan" not in full(bilevel("SHINE", 0, [1, NAN]))
    why = frames[0].assign(objective_unmeasured=[0, 2, 0, 3])
    told = "4 of 7 rows (no root was found: 1, J is nearly singular: 1): the"
    assert told in full(why, frames[1])


def test_diverged_is_said_of_those_that_did_alone():
    frames = [
        bilevel("SHINE", 0, [1, 0]), bilevel("Newton", 0, [1, INF]),
        bilevel("HOAG", 0, [1, NAN], diverged=[0.0, 1]),
    ]
    text = full(*frames)
    assert cells(text, "HOAG")["last suboptimality"] == "diverged"
    assert cells(text, "Newton")["last suboptimality"] == "–"


# Divergence and failure

def test_diverged_runs():
    late = {"diverged": [0.0, 0, 1]}
    frames = [
        *(bilevel("SHINE", seed, [1, 0.05, 0]) for seed in SEEDS),
        # arrives at 1e-1, then diverges: in two seeds with a finite loss
        bilevel("HOAG", 0, [1, 0.05, NAN], **late),
        bilevel("HOAG", 1, [1, 0.05, -1], **late),
        bilevel("HOAG", 2, [1, 0.05, 0.01]),
        *(bilevel("Newton", seed, [NAN], diverged=1.0) for seed in SEEDS),
    ]
    table, text = league_of(*frames), full(*frames)
    assert quartiles(table, "SHINE", "lowest suboptimality") == [0, 0, 0]
    assert quartiles(table, "HOAG", "lowest F") == [55, 55, 58]
    hoag, newton = cells(text, "HOAG"), cells(text, "Newton")
    assert hoag["seeds"] == "3, 2 diverged"
    assert hoag["time to 1e-1 (s)"] == "1"
    assert hoag["time to 1e-2 (s)"] == "–"  # one seed of three
    assert hoag["lowest suboptimality"] == "5.0e-02 (3.0e-02–5.0e-02)"
    assert hoag["last suboptimality"] == hoag["last test loss"] == "diverged"
    assert newton["time to 1e-1 (s)"] == "–"
    assert newton["lowest suboptimality"] == "diverged"


def test_where_every_run_diverges_nothing_is_won():
    frames = [bilevel(method, seed, [1, NAN], diverged=1.0)
              for seed in SEEDS for method in ("SHINE", "HOAG")]
    assert not league_of(*frames)["winner"].any()
    row = cells(full(*frames), "HOAG")
    assert row["lowest suboptimality"] == "diverged"
    assert "nan" not in full(*frames)


def test_failed_runs_leave_no_rows():
    frames = [
        *(bilevel("SHINE", seed, [1, 0.2]) for seed in SEEDS),
        *(bilevel("HOAG", seed, [1, 0]) for seed in SEEDS[1:]),
    ]
    text = full(*frames)
    assert cells(text, "SHINE")["seeds"] == "3"
    assert cells(text, "HOAG")["seeds"] == "2 of 3"


# Winners

def race(*methods, seeds=SEEDS):
    """Arrival of every method at 1e-1, a time per seed."""
    return [
        bilevel(method, seed, [1, 0], unit=time)
        for method, times in methods for seed, time in zip(seeds, times)
    ]


def winners_of(table, quantity):
    own = table[(table["quantity"] == quantity) & table["winner"]]
    return own["method"].tolist()


@pytest.mark.parametrize("times, winner", [
    # quartiles of (1, 2, 3) are 1.5 and 2.5
    ([(1, 2, 3), (2.4, 3, 4)], ["A"]),  # from 2.7: seeds may overlap
    ([(1, 2, 3), (2, 3, 4)], []),       # from 2.5: they touch
    ([(1, 1, 1), (1, 1, 1)], []),
    ([(1, 1, 1), (2, 2, 2)], ["A"]),
    ([(5, 6, 7), (1, 2, 3), (9, 9, 9)], ["B"]),
    ([(5, 6, 7), (1, 2, 3), (2, 3, 9)], []),
    ([(1, 2, 3)], []),                  # nobody to win against
])
def test_a_winners_quartiles_overlap_with_no_others(times, winner):
    frames = race(*zip("ABC", times))
    text = full(*frames)
    assert winners_of(league_of(*frames), "time to 1e-1") == winner
    for method in "ABC"[:len(times)]:
        shown = cells(text, method)["time to 1e-1 (s)"]
        assert shown.startswith("**") == ([method] == winner)


@pytest.mark.parametrize("better, winner", [
    (-1, [True, False, False]), (1, [False, False, True]),
    (0, [False, False, False]),
])
def test_which_end_wins(better, winner):
    table = pd.DataFrame({"q1": [1, 3, 5], "q3": [2, 4, 6]})
    table = table.assign(counted=3, of=3)
    assert league.mark_winners(table, better) == winner


@pytest.mark.parametrize("n, winner", [(1, []), (2, []), (3, ["A"])])
def test_few_seeds_have_no_winner(n, winner):
    frames = race(
        ("A", range(1, n + 1)), ("B", range(20, 20 + n)), seeds=range(n)
    )
    assert winners_of(league_of(*frames), "time to 1e-1") == winner


def test_who_lacks_a_seed_does_not_win():
    frames = race(("A", (1, 1, 1, 1)), ("B", (5, 5, 5, 5)), seeds=range(4))
    assert not winners_of(league_of(*frames[1:]), "time to 1e-1")


def test_a_method_that_is_not_shown_still_counts():
    frames = race(("A", (1, 1, 1)), ("B", (1, 1, 1)), ("C", (2, 2, 2)))
    problem, = problems_of(*frames, only=["A", "C"])
    assert set(problem.league["method"]) == {"A", "C"}
    assert not winners_of(problem.league, "time to 1e-1")


@pytest.mark.parametrize("times, words", [
    (((1, 1, 1), (2, 2, 2)), "A is first in time to 1e-2 (1 s), decided"),
    (((1, 2, 3), (2, 3, 4)),
     "A is first in time to 1e-2 (2 s), undecided against B"),
    (((1,), (2,)), "A is first in time to 1e-2 (1 s), undecided with so few"),
    (((1, 1, 1),), "A is first in time to 1e-2 (1 s), alone"),
])
def test_who_won(times, words):
    sentence, = league.who_won(problems_of(*race(*zip("AB", times))))
    n = len(times[0])
    assert sentence.startswith(
        f"toy, fair protocol, {n} seed{'s' * (n > 1)}: {words}"
    )


def test_who_lacks_seeds_is_not_called_first():
    frames = race(("A", (2, 2, 2)), ("B", (3, 3, 3))) + [
        bilevel("C", 0, [1, 0], unit=1.0)]
    sentence, = league.who_won(problems_of(*frames))
    assert "A is first in time to 1e-2 (2 s), undecided against C" in sentence


def test_who_won_names_those_that_overlap_from_above_too():
    sentence, = league.who_won(problems_of(*(
        frame for seed, a, b, c in zip(SEEDS, (95, 96, 97), (94, 95.5, 96.5),
                                       (80, 80, 80))
        for frame in (network("A", seed, [10, a]), network("B", seed, [10, b]),
                      network("C", seed, [10, c]))
    )))
    assert "A has the highest accuracy (96.0 %), undecided against B;" in (
        sentence)


# Tables

def test_who_comes_closest_comes_first():
    paths = {
        "near": [1, 0.5, 0.5, 0.5, 1e-5], "nearer sooner": [1, 0.5, 1e-5],
        "fast": [1, 0.005], "stuck": [1, 0.9], "HOAG": [1, 0.9],
        "best": [1, 1, 1, 1, 1, 0],
    }
    problem, = problems_of(*(
        bilevel(method, 0, gaps) for method, gaps in paths.items()
    ))
    assert problem.league["method"].unique().tolist() == [
        "nearer sooner", "near", "best", "fast", "HOAG", "stuck"
    ]


def test_costs():
    frames = [
        bilevel("SHINE", 0, [1, 0.5, 0], hypergrad_rel_error=[NAN, 0.1, 0.3],
                peak_memory=[1e6, 5e6, 2e6]),
        bilevel("HOAG", 0, [1, 0.5, 0]),
    ]
    shine = cells(full(*frames), "SHINE", "evaluations")
    assert shine == {
        "method": "SHINE", "seeds": "1", "evaluations to 1e-1": "22",
        "evaluations to 1e-2": "22", "evaluations to 1e-3": "22",
        "evaluations to 1e-4": "22", "cosine of q": "–",
        "error of dF/dθ": "0.2", "g": "20", "Jᵀ": "2", "memory (MB)": "5",
    }
    hoag = cells(full(*frames), "HOAG", "evaluations")
    assert hoag["memory (MB)"] == "–"


# Networks

def test_networks_race_to_the_best_median_accuracy():
    frames = [
        frame for seed, last in zip(SEEDS, (95, 97.5, 99)) for frame in (
            network("SHINE", seed, [10, 92.5, 95.4, 95.5, 96.5, last],
                    unit=seed + 1.0, n_outer=[0, 10, 20, 30, 40, 50],
                    backward_time=[0, 0.1, 0.2, 0.3, 0.4, 0.5],
                    q_cosine=0.1, q_cosine_median=0.9),
            network("HOAG", seed, [10, 80, 93, 93, 93, 93]),
        )
    ]
    table, text = league_of(*frames), full(*frames)
    assert quartiles(table, "SHINE", "time to best − 5") == [1.5, 2, 2.5]
    assert quartiles(table, "SHINE", "time to best − 2") == [4.5, 6, 7.5]
    assert quartiles(table, "SHINE", "evaluations to best − 1") == [44] * 3
    assert quartiles(table, "HOAG", "time to best − 2") == [INF] * 3
    assert quartiles(table, "SHINE", "accuracy") == [96.25, 97.5, 98.25]
    assert winners_of(table, "accuracy") == ["SHINE"]
    np.testing.assert_allclose(quartiles(table, "SHINE", "backward"), 10)
    assert quartiles(table, "SHINE", "cosine of q") == [0.9] * 3
    assert "best accuracy is 97.5 %" in text
    assert cells(text, "HOAG")["backward (ms)"] == "–"


def test_points_are_not_lost_to_rounding():
    assert 100 * (51.3 / 100) - 100 * (49.3 / 100) > 2  # in floats
    table = league_of(network("SHINE", 0, [10, 49.3, 50.3, 51.3]))
    assert quartiles(table, "SHINE", "time to best − 2") == [1, 1, 1]


def test_a_diverged_network_has_no_accuracy():
    text = full(network("SHINE", 0, [10, 90]),
                network("HOAG", 0, [10, 99], diverged=[0.0, 1]))
    row = cells(text, "HOAG")
    assert row["accuracy (%)"] == "diverged"
    assert row["time to best − 5 (s)"] == "–"
    assert "best accuracy is 90.0 %" in text


# The command

def test_without_exact_losses_a_problem_is_left_out():
    runs = runs_of(bilevel("SHINE", 0, [1, 0]),
                   rows("SHINE", 0, 2, "other", p_obj_reference=0),
                   rows("SHINE", 0, 2, "hard"))
    problems, warnings = league.problems_of(runs)
    assert [problem.dataset for problem in problems] == ["toy"]
    assert "any of 2 rows" in warnings[0] and "hard" in warnings[0]
    assert "reference above 0" in warnings[1] and "other" in warnings[1]


@pytest.mark.parametrize("gaps, options, words", [
    ([NAN], [], "no problem is left"),
    ([1, 0], ["--methods", "Newton"], "none of the methods Newton"),
    ([1, 0], ["--datasets", "mnist"], "no data set mnist"),
])
def test_nothing_to_compare(tmp_path, capsys, gaps, options, words):
    path = save(tmp_path / "a.parquet", bilevel("SHINE", 0, gaps))
    status, out, err = run(
        capsys, "league", path, "--output-dir", tmp_path / "out", *options)
    line, = err.splitlines()
    assert status == 2 and line.startswith("error: ") and words in line
    assert not (tmp_path / "out").exists()


def test_it_writes_what_it_prints_into_the_current_folder(
        tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.parquet", bilevel("SHINE", 0, [1, 0]))
    _, out, _ = run(capsys, "league", "a.parquet")
    text = Path("outputs/league.md").read_text(encoding="utf-8")
    shown, _, end = out.partition("outputs/league.md\n")
    assert text.startswith(shown.rstrip())
    assert text.endswith(league.EXPLAINED)
    assert end.startswith("outputs/league.csv\n") and "is first in" in end
    assert len(pd.read_csv("outputs/league.csv")) == len(
        league.BILEVEL.columns)


README = """\
# Title

<!-- league:begin stale words -->
stale table
<!-- league:end -->

The end.
"""


def test_readme_gets_a_short_table(tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    path = save(tmp_path / "a.parquet", *(
        frame for seed in SEEDS for frame in (
            bilevel("SHINE", seed, [1, 0.05, 0]),
            bilevel("SHINE", seed, [1, 0.005, 0],
                    p_solver_protocol="published"),
            bilevel("HOAG", seed, [1, 1, 0.05], unit=seed + 1.0),
            network("SHINE", seed, [10, 97], backward_time=[0, 0.5],
                    n_outer=[0, 50]),
        )
    ))
    words = ["league", str(path), "--readme", str(readme)]
    run(capsys, *words)
    text = readme.read_text(encoding="utf-8")
    told, = re.findall("<!-- league:begin (.*) -->", text)
    assert shlex.split(told) == ["python", "-m", "figures", *words]
    assert text.startswith("# Title\n\n<!-- league:begin")
    assert text.endswith("<!-- league:end -->\n\nThe end.\n")
    assert "stale" not in text
    net, = figure_rows.table(text, "accuracy")
    assert list(net.values()) == [
        "SHINE", "97.0 %", "1 s / 11", "–", "10 ms", "1"]
    shine, hoag = figure_rows.table(text, "to 1e-1")
    assert list(shine) == ["method"] + [
        f"{protocol}: to {level}" for protocol in ("fair", "published")
        for level in ("1e-1", "1e-2", "1e-3")
    ]
    assert list(shine.values()) == [
        "SHINE", "**1** s / **11**", "**2** s / **22**", "**2** s / **22**",
        "1 s / 11", "1 s / 11", "2 s / 22",
    ]
    assert list(hoag.values()) == ["HOAG", "4 s / 22", "–", "–", "", "", ""]
    run(capsys, *words)
    assert readme.read_text(encoding="utf-8") == text
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("text", ["no marks\n", 2 * README])
def test_readme_needs_one_pair_of_marks(tmp_path, capsys, text):
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    path = save(tmp_path / "a.parquet", bilevel("SHINE", 0, [1, 0]))
    status, _, err = run(capsys, "league", path, "--readme", readme)
    line, = err.splitlines()
    assert status == 2
    assert str(readme) in line and "<!-- league:begin -->" in line
    assert readme.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name, marked", [
    ("README.md", r"<!-- front:begin (.*) -->"),
    ("results/league.md", r"Made by `(.*)`"),
])
def test_committed_tables_are_not_stale(name, marked, tmp_path, monkeypatch,
                                        capsys):
    text = (ROOT / name).read_text(encoding="utf-8")
    told = re.search(marked, text)[1]
    program, option, package, *words = shlex.split(told)
    assert (program, option, package) == ("python", "-m", "figures")
    (tmp_path / "results").mkdir()
    for path in (ROOT / "results").glob("*.parquet"):
        os.symlink(path, tmp_path / "results" / path.name)
    (tmp_path / "README.md").write_text(
        (ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == 0
    again = (tmp_path / name).read_text(encoding="utf-8")
    assert again == text, f"{name} is stale: run {told}"
    table = tmp_path / "results" / "league.csv"
    if table.exists():
        pd.testing.assert_frame_equal(
            pd.read_csv(table), pd.read_csv(ROOT / "results" / "league.csv")
        )
