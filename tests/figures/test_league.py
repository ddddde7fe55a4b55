"""The league of result files whose every median is known beforehand."""
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import figure_rows
from helpers.figure_rows import bilevel, older, rows, run, runs_of, save
from figures import __main__ as command
from figures.tables import findings, league

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2)
TEN = range(10)
FIRST, STAY = "evaluations to 1e-2", "evaluations to stay at 1e-2"
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


def cells(text, method, first="time to"):
    """The cells of a method in the first table with such a column."""
    row, = (row for row in figure_rows.table(text, f"| {first}")
            if row["method"] == method)
    return row


def ends(text, method):
    return cells(text, method, "last suboptimality")


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
    assert cells(text, "SHINE")["time to 1e-2 (s)"] == "6 (3 of 3)"
    assert "F falls from 251 at θ₀ to 51 at the optimum (medians of 3" in text
    assert "measured at every outer step" in text


def test_first_stay_and_last_are_told_apart():
    text = full(bilevel("SHINE", 0, [1, 0.005, 0.5, 0.004, 0.003]),
                bilevel("HOAG", 0, [1, 0.5, 0.001, 0.001, 0.2]))
    for method, first, stay, last in (
        ("SHINE", "11 (1 of 1)", "33 (1 of 1)", "3.0e-03"),
        ("HOAG", "22 (1 of 1)", "– (0 of 1)", "2.0e-01"),
    ):
        row = cells(text, method, "evaluations to")
        assert (row[FIRST], row[STAY]) == (first, stay)
        assert ends(text, method)["last suboptimality"] == last


def test_a_verdict_does_not_depend_on_other_files():
    """Neither on lower losses there nor on searches, seeds or protocols."""
    one = [bilevel("SHINE", seed, [1, 0.4, 0.01]) for seed in SEEDS]
    more = [
        frame for seed in (*SEEDS, 3) for frame in (
            bilevel("HOAG", seed, [1, -5]),
            bilevel("HOAG", seed, [1, 0], p_solver_protocol="published"),
            bilevel("Grid-search", seed, [1, 0], p_solver_protocol=None),
        )
    ]
    for make in lambda frame: frame, older:
        alone, both = (
            problems_of(pd.concat(map(make, one)), *others)[0].numbers
            for others in ((), [pd.concat(map(make, more))])
        )
        pd.testing.assert_frame_equal(alone, both.loc[alone.index])


def test_files_without_the_optimum_have_the_lowest_that_they_measured():
    text = full(older(pd.concat([
        bilevel("SHINE", 0, [1, 0.3]), bilevel("HOAG", 0, [1, 0.1])])))
    assert ends(text, "SHINE")["last suboptimality"] == "2.2e-01"  # 0.2 / 0.9
    assert ends(text, "HOAG")["last suboptimality"] == "0"
    assert "F* is the lowest F that was measured in the same file" in text
    assert "lowest F" not in full(bilevel("SHINE", 0, [1, 0])).split("###")[0]


@pytest.mark.parametrize("gaps, quantity, value", [
    ([1, NAN, NAN, 0, NAN, NAN, 0], "time to 1e-1", 3),
    ([1, 0, 0.25, NAN], "last suboptimality", 0.25),
    ([1, 0.05, 0, 0.5], "time to 1e-1", 1),
    ([1, 0.05, 0, 0.5], "lowest suboptimality", 0),
    ([1, 0.05, 0, 0.5], "last suboptimality", 0.5),
    ([1, 0.05, NAN, 0.5], "time to stay at 1e-1", INF),
    ([1, 0.05, NAN, 0.04], "time to stay at 1e-1", 1),
    ([1, NAN, 0.05, NAN], "time to stay at 1e-1", 2),
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
    told = "–" if median == INF else "2"
    assert shown["time to 1e-1 (s)"] == f"{told} ({reach} of 4)"
    assert shown["time to 1e-2 (s)"] == "– (0 of 4)"


def test_differences_within_the_error_of_f_are_none():
    # the way is 100, the error 1e-3
    table = league_of(*(
        bilevel(method, 0, [1, gap], value_error=1e-3)
        for method, gap in (("SHINE", -1), ("HOAG", 9e-6), ("Newton", 11e-6))
    ))
    for method, gap in ("SHINE", 0), ("HOAG", 0), ("Newton", 11e-6):
        found = quartiles(table, method, "lowest suboptimality")
        np.testing.assert_allclose(found, [gap] * 3, rtol=1e-6)


# Nothing to win, nothing measured

@pytest.mark.parametrize("more", [[0, 0], [0, 1], [0, NAN]])
def test_where_the_start_is_an_optimum_nobody_arrives(more):
    frames = bilevel("SHINE", 0, [0, 0]), bilevel("HOAG", 0, more)
    table, text = league_of(*frames), full(*frames)
    for level in league.SUBOPTIMALITIES:
        for x in "time", "evaluations":
            for to in "to", "to stay at":
                found = quartiles(table, "SHINE", f"{x} {to} {level}")
                assert np.isnan(found[1])
    assert "The start θ₀ is an optimum already" in text
    assert "nan" not in text and "diverged" not in text
    sentence, = league.who_won(problems_of(*frames))
    assert "the start θ₀ is an optimum already" in sentence


def test_a_seed_without_a_way_down_has_no_arrivals():
    frames = bilevel("SHINE", 0, [1, 0]), bilevel("SHINE", 1, [0, 0])
    table = league_of(*frames)
    assert quartiles(table, "SHINE", "time to 1e-1") == [1, 1, 1]
    assert table.loc["SHINE", "time to 1e-1", "fair"]["counted"] == 1
    assert "With seed 1 the start is an optimum already" in full(*frames)


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
    cell = ends(full(*frames), "SHINE")["last suboptimality"]
    assert cell == "5.0e-01"  # the last that was measured
    assert "nan" not in full(bilevel("SHINE", 0, [1, NAN]))
    why = frames[0].assign(objective_unmeasured=[0, 2, 0, 3])
    told = "4 of 7 rows (no root was found: 1, J is nearly singular: 1)."
    assert told in full(why, frames[1])


def test_diverged_is_said_of_those_that_did_alone():
    frames = [
        bilevel("SHINE", 0, [1, 0]), bilevel("Newton", 0, [1, INF]),
        bilevel("HOAG", 0, [1, NAN], diverged=[0.0, 1]),
    ]
    text = full(*frames)
    assert ends(text, "HOAG")["last suboptimality"] == "diverged"
    assert ends(text, "Newton")["last suboptimality"] == "–"


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
    assert hoag["time to 1e-1 (s)"] == "1 (3 of 3)"
    assert hoag["time to stay at 1e-1 (s)"] == "– (1 of 3)"
    assert hoag["time to 1e-2 (s)"] == "– (1 of 3)"
    assert newton["time to 1e-1 (s)"] == "– (0 of 3)"
    hoag, newton = ends(text, "HOAG"), ends(text, "Newton")
    assert hoag["lowest suboptimality"] == "5.0e-02 (3.0e-02–5.0e-02)"
    assert hoag["last suboptimality"] == hoag["last test loss"] == "diverged"
    assert newton["lowest suboptimality"] == "diverged"


def test_where_every_run_diverges_nothing_is_won():
    frames = [bilevel(method, seed, [1, NAN], diverged=1.0)
              for seed in SEEDS for method in ("SHINE", "HOAG")]
    assert not league_of(*frames)["winner"].any()
    row = ends(full(*frames), "HOAG")
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


# Winners: the test itself is that of `figures.stats.winner`

def race(*methods, seeds=TEN):
    """Arrival of every method at once, a time per seed, in one file."""
    return [pd.concat([
        bilevel(method, seed, [1, 0], unit=time)
        for method, times in methods for seed, time in zip(seeds, times)
    ])]


def winners_of(table, quantity):
    own = table[(table["quantity"] == quantity) & table["winner"]]
    return own["method"].tolist()


@pytest.mark.parametrize("slower, winner", [
    (10 * [1.1], ["A"]), (9 * [1.1] + [0.5], ["A"]),  # whatever the seeds
    (5 * [1.1] + 5 * [0.9], []), (10 * [1], []),
])
def test_a_winner_beats_every_other_seed_by_seed(slower, winner):
    times = 1 + np.arange(10)
    frames = race(("A", times), ("B", times * slower), ("C", 2 * times))
    text, table = full(*frames), league_of(*frames)
    assert winners_of(table, "time to 1e-1") == winner
    for method in "ABC":
        shown = cells(text, method)["time to 1e-1 (s)"]
        assert shown.startswith("**") == ([method] == winner)
    # who has the most of it does not win where less is better
    assert not winners_of(table, "lowest F")


def test_a_method_that_is_not_shown_still_counts():
    frames = race(("A", TEN), ("B", TEN), ("C", range(20, 30)))
    problem, = problems_of(*frames, only=["A", "C"])
    assert set(problem.league["method"]) == {"A", "C"}
    assert not winners_of(problem.league, "time to 1e-1")


UNDECIDED = 5 * [1.1] + 5 * [0.9]


@pytest.mark.parametrize("times, words", [
    ((10 * [1], 10 * [2]), "(1 s, 10 of 10 runs), decided"),
    ((10 * [1], UNDECIDED), "(1 s, 10 of 10 runs), undecided against B"),
    ((3 * [1], 3 * [2]), "(1 s, 3 of 3 runs), undecided with so few seeds"),
    ((10 * [1],), "(1 s, 10 of 10 runs), alone"),
])
def test_who_won(times, words):
    sentence, = league.who_won(problems_of(*race(*zip("AB", times))))
    assert sentence.startswith(f"toy, fair protocol, {len(times[0])} seeds: ")
    assert sentence.endswith(f"A is first in time to stay at 1e-2 {words}.")


def test_who_lacks_seeds_is_not_called_first():
    frames = race(("A", 10 * [2]), ("B", 10 * [3])) + [
        bilevel("C", seed, [1, 0], unit=1.0) for seed in SEEDS]
    sentence, = league.who_won(problems_of(pd.concat(frames)))
    assert "A is first in time to stay at 1e-2 (2 s" in sentence
    assert sentence.endswith("undecided against C.")


def test_the_highest_accuracy_is_told_from_those_that_beat_it_at_times():
    odd = np.tile([2.0, -1.0], 5)
    sentence, = league.who_won(problems_of(*(
        frame for seed, more in zip(TEN, odd) for frame in (
            network("A", seed, [10, 90]), network("B", seed, [10, 87 + more]),
            network("C", seed, [10, 70]))
    )))
    assert "A has the highest accuracy (90.0 %), decided" in sentence
    sentence, = league.who_won(problems_of(*(
        frame for seed, more in zip(TEN, odd) for frame in (
            network("A", seed, [10, 90]), network("B", seed, [10, 89 + more]),
            network("C", seed, [10, 70]))
    )))
    assert "(90.0 %), undecided against B;" in sentence


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
                hypergrad_sign=[NAN, 0.9, 0.6], peak_memory=[1e6, 5e6, 2e6],
                q_cosine=[NAN, 0.9, 0.7]),
        bilevel("HOAG", 0, [1, 0.5, 0]),
    ]
    assert ends(full(*frames), "SHINE") == {
        "method": "SHINE", "seeds": "1", "last suboptimality": "0",
        "lowest suboptimality": "0", "wrong signs": "25%",
        "error of dF/dθ": "0.2", "cosine of q": "0.8000", "lowest F": "50",
        "last test loss": "1", "g": "20", "Jᵀ": "2", "memory (MB)": "5",
    }
    assert ends(full(*frames), "HOAG")["memory (MB)"] == "–"


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
    assert not winners_of(table, "accuracy")  # three seeds
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
    assert row["time to best − 5 (s)"] == "– (0 of 1)"
    assert "best accuracy is 90.0 %" in text


# The command

def test_where_all_networks_diverge_nobody_arrives():
    problem, = problems_of(*(
        rows(m, s, 3, test_accuracy=[0.1, 0.5, 0.9], n_outer=TEN[:3],
             diverged=[0, 0, 1.0]) for m in ("SHINE", "HOAG")
        for s in SEEDS))
    assert "Most runs of every method have diverged" in problem.note
    found = league_of(*(
        rows(m, s, 3, test_accuracy=[0.1, 0.5, 0.9], n_outer=TEN[:3],
             diverged=[0, 0, 1.0]) for m in ("SHINE", "HOAG")
        for s in SEEDS))
    assert found.loc["SHINE", "time to best − 5", "fair"]["arrived"] == 0
    assert "no method has a finite median" in league.who_won([problem])[0]


def test_minus_infinity_has_its_sign():
    assert league.number(-INF, ".1f") == "−∞"


def test_bold_and_the_sentence_name_one_method():
    """HOAG is sooner on 16 of 20 seeds, SHINE has the lower median."""
    shine = [10] * 9 + [1000] * 7 + [10] * 4
    hoag = [9] * 9 + [999] * 7 + [1000] * 4
    problem, = problems_of(*(
        bilevel(m, s, [1, 0.001], n_g=[0, n], n_vjp=0)
        for m, own in (("SHINE", shine), ("HOAG", hoag))
        for s, n in enumerate(own)))
    told = league.who_won([problem])[0]
    assert "HOAG is first in evaluations" in told
    assert "decided seed by seed, though SHINE has the better" in told


def test_unrolled_training_is_no_backward_pass():
    """Two of five points are of unrolled steps, which take 100 times."""
    problem, = problems_of(pd.concat([
        rows(m, s, 6, test_accuracy=0.5, n_outer=10 * np.arange(6),
             forward_time=0.0,
             backward_time=[0, 1, 2, 2 + x, 2 + 2 * x, 2 + 3 * x])
        for m, x in (("SHINE", 0.01), ("HOAG", 0.1)) for s in SEEDS]))
    found = problem.league.set_index(["method", "quantity"])["median"]
    assert found["SHINE", "backward"] == pytest.approx(1)
    assert found["HOAG", "backward"] == pytest.approx(10)


def test_times_of_two_files_have_no_winner():
    frames = [pd.concat([
        bilevel(m, s, [1, 0.001], unit=unit, n_g=[0, 10 * unit])
        for s in range(8)]) for m, unit in (("SHINE", 1.0), ("HOAG", 3.0))]
    title = "time to stay at 1e-2"
    for read, won in ((pd.concat(frames),), True), (frames, False):
        problem, = problems_of(*read)
        winners = problem.league.set_index(["method", "quantity"])["winner"]
        assert winners["SHINE", title] == won
        assert winners["SHINE", "evaluations to stay at 1e-2"]
        told, = league.who_won([problem])
        assert ("measured on several occasions" in told) == (not won)


def test_a_search_has_no_q_to_beat():
    problem, = problems_of(*(
        bilevel(m, s, [1, 0.5], **more) for m, more in (
            ("SHINE", {"q_cosine": 0.9}), ("HOAG", {"q_cosine": 1.0}),
            ("Grid-search", {})) for s in range(8)))
    won = problem.league.set_index(["method", "quantity"])["winner"]
    assert won["HOAG", "cosine of q"] and not won["SHINE", "cosine of q"]


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
        "SHINE", "97.0 %", "1 s (3 of 3) / 11 (3 of 3)", "–", "10 ms", "1"]
    shine, hoag = figure_rows.table(text, "first to 1e-2")
    assert list(shine) == ["method"] + [
        f"{protocol}: {heading}" for protocol in ("fair", "published")
        for heading in ("first to 1e-2", "to stay", "last", "wrong signs")
    ]
    assert list(shine.values()) == [
        "SHINE", "22 (3 of 3)", "22 (3 of 3)", "0", "–",
        "11 (3 of 3)", "11 (3 of 3)", "0", "–",
    ]
    assert list(hoag.values()) == [
        "HOAG", "– (0 of 3)", "– (0 of 3)", "5.0e-02", "–", "", "", "", ""]
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


@pytest.fixture(scope="module")
def record():
    """The findings' record of results/, read once for all pages."""
    return findings.Record(ROOT / "results")


@pytest.mark.parametrize("name, marked", [
    ("README.md", r"<!-- deep:begin (.*) -->"),
    ("README.md", r"<!-- race:begin (.*) -->"),
    ("docs/results.md", r"<!-- verdicts:begin (.*) -->"),
    ("docs/performance.md", r"<!-- speed:begin (.*) -->"),
    ("results/race.md", r"Made by `(.*)`"),
    ("results/league.md", r"Made by `(.*)`"),
])
def test_committed_tables_are_not_stale(name, marked, record, tmp_path,
                                        monkeypatch, capsys):
    monkeypatch.setattr(findings, "Record", lambda folder: record)
    text = (ROOT / name).read_text(encoding="utf-8")
    told = re.search(marked, text)[1]
    program, option, package, *words = shlex.split(told)
    assert (program, option, package) == ("python", "-m", "figures")
    (tmp_path / "results").mkdir()
    for path in (ROOT / "results").iterdir():
        if path.suffix in (".parquet", ".csv"):
            os.symlink(path, tmp_path / "results" / path.name)
    (tmp_path / "docs").mkdir()
    for page in "README.md", "docs/results.md", "docs/performance.md":
        (tmp_path / page).write_text(
            (ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert command.main(words) == 0
    again = (tmp_path / name).read_text(encoding="utf-8")
    assert again == text, f"{name} is stale: run {told}"
