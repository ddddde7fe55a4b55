"""The league of result files whose every median is known beforehand."""
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

import common  # noqa: E402
import league  # noqa: E402

SEEDS = (0, 1, 2)
NAN, INF = np.nan, np.inf


def rows_of(method, seed, n, dataset, unit, moves, columns):
    steps = np.arange(n)
    columns = {
        name if name.startswith("p_") else f"objective_{name}": column
        for name, column in columns.items()
    }
    return pd.DataFrame({
        "dataset_name": f"{dataset}[seed={seed}]",
        "solver_name": method if moves == 1 else f"{method}[moves=2]",
        "p_dataset_seed": seed,
        "p_solver_moves": moves,
        "p_obj_fingerprint": "abc",
        "stop_val": steps,
        "time": unit * steps,
        "objective_value": NAN,
        "objective_test_loss": 1.0,
        "objective_value_function": NAN,
        "objective_theta": 0.0,
        "objective_n_g": 10.0 * steps,
        "objective_n_jvp": 1.0 * steps,
        "objective_diverged": 0.0,
    } | columns)


def bilevel(method, seed, gaps, unit=1.0, moves=1, dataset="toy", **columns):
    """A run that takes ``unit`` s, 10 g and a product per step.

    F is 50 + seed at the best, and 100 (seed + 1) above it at the start.
    """
    losses = 50 + seed + 100 * (seed + 1) * np.array(gaps, dtype=float)
    return rows_of(
        method, seed, len(gaps), dataset, unit, moves,
        {"value_function": losses} | columns,
    )


def network(method, seed, accuracies, unit=1.0, **columns):
    """A run with a test accuracy per step, in percent."""
    return rows_of(
        method, seed, len(accuracies), "net", unit, 1,
        {"test_accuracy": np.array(accuracies) / 100} | columns,
    )


def save(tmp_path, *runs):
    path = tmp_path / "runs.parquet"
    pd.concat(runs, ignore_index=True).to_parquet(path)
    return path


def make(tmp_path, *runs, options=()):
    """The league of some runs: its rows, and the Markdown."""
    path = save(tmp_path, *runs)
    league.main([path, "--output-dir", tmp_path, *options])
    rows = pd.read_csv(tmp_path / "league.csv")
    return rows, (tmp_path / "league.md").read_text(encoding="utf-8")


def pick(rows, method, quantity, protocol="fair"):
    row, = rows[
        (rows["method"] == method) & (rows["quantity"] == quantity)
        & (rows["protocol"] == protocol)
    ].to_dict("records")
    return row


def quartiles(rows, method, quantity, protocol="fair"):
    row = pick(rows, method, quantity, protocol)
    return [row[name] for name in ("q1", "median", "q3")]


def split(line):
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.split("|")[1:-1]]


def cells(text, method, first="time"):
    """The cells of a method in the first table whose columns begin so."""
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text)
    lines = next(t for t in tables if f"| {first} to" in t).splitlines()
    head, *body = map(split, lines)
    row, = (row for row in body if row[0] == method)
    return dict(zip(head, row, strict=True))


# Suboptimality and arrival

PATH = [1, 0.5, 0.05, 0.005, 0]


def test_suboptimality_has_the_same_scale_for_every_seed(tmp_path):
    rows, text = make(tmp_path, *(
        bilevel("SHINE", seed, PATH, unit=seed + 1.0) for seed in SEEDS
    ))
    for level, step in ("1e-1", 2), ("1e-2", 3), ("1e-3", 4), ("1e-4", 4):
        times = [1.5 * step, 2.0 * step, 2.5 * step]
        assert quartiles(rows, "SHINE", f"time to {level}") == times
        assert quartiles(rows, "SHINE", f"evaluations to {level}") == (
            [11 * step] * 3
        )
    assert quartiles(rows, "SHINE", "lowest suboptimality") == [0, 0, 0]
    assert quartiles(rows, "SHINE", "lowest F") == [50.5, 51, 51.5]
    assert pick(rows, "SHINE", "time to 1e-1")["unit"] == "s"
    assert cells(text, "SHINE")["time to 1e-2 (s)"] == "6 (4.5–7.5)"
    assert "F falls from 251 to 51 (medians of 3 seeds; by 100 at" in text
    assert "measured at every outer step" in text


def test_best_is_over_methods_and_protocols(tmp_path):
    rows, _ = make(tmp_path, *(
        run for seed in SEEDS for run in (
            bilevel("SHINE", seed, [1, 0.3]),
            bilevel("HOAG", seed, [1, 0.2]),
            bilevel("HOAG", seed, [1, 0.1], moves=2),
        )
    ))
    for method, protocol, gap in (
        ("SHINE", "fair", 0.2 / 0.9), ("HOAG", "fair", 0.1 / 0.9),
        ("HOAG", "published", 0),
    ):
        found = quartiles(rows, method, "lowest suboptimality", protocol)
        np.testing.assert_allclose(found, [gap] * 3, atol=1e-12)


def test_arrival_waits_for_a_measurement(tmp_path):
    rows, text = make(
        tmp_path, bilevel("SHINE", 0, [1, NAN, NAN, 0, NAN, NAN, 0])
    )
    assert quartiles(rows, "SHINE", "time to 1e-1") == [3, 3, 3]
    assert quartiles(rows, "SHINE", "last suboptimality") == [0, 0, 0]
    assert "measured every 3 outer steps" in text


def test_the_last_measurement_stands_for_the_end(tmp_path):
    rows, _ = make(
        tmp_path, bilevel("SHINE", 0, [1, 0, 0.25, NAN]),
    )
    assert quartiles(rows, "SHINE", "last suboptimality") == [0.25] * 3


def test_first_arrival_counts_though_the_run_goes_away_again(tmp_path):
    rows, _ = make(tmp_path, bilevel("SHINE", 0, [1, 0.05, 0, 0.5]))
    assert quartiles(rows, "SHINE", "time to 1e-1")[1] == 1
    assert quartiles(rows, "SHINE", "lowest suboptimality")[1] == 0
    assert quartiles(rows, "SHINE", "last suboptimality")[1] == 0.5


@pytest.mark.parametrize("reach, median", [(0, INF), (2, INF), (3, 2.0)])
def test_never_reached_is_infinitely_late(tmp_path, reach, median):
    seeds = range(4)
    rows, text = make(tmp_path, *(
        run for seed in seeds for run in (
            bilevel("SHINE", seed, [1, 0.5, 0.05 if seed < reach else 0.5]),
            bilevel("HOAG", seed, [1, 0]),
        )
    ))
    assert quartiles(rows, "SHINE", "time to 1e-1")[1] == median
    shown = cells(text, "SHINE")["time to 1e-1 (s)"]
    assert shown == ("–" if median == INF else "2 (2–∞)")
    assert cells(text, "SHINE")["time to 1e-2 (s)"] == "–"


def test_differences_within_the_error_of_f_are_none(tmp_path):
    # best is 50, the way to it 100: the error is 5e-7 of the way
    rows, _ = make(
        tmp_path, bilevel("SHINE", 0, [1, 0]), bilevel("HOAG", 0, [1, 4e-7]),
        bilevel("Newton", 0, [1, 6e-7]),
    )
    for method, gap in ("SHINE", 0), ("HOAG", 0), ("Newton", 6e-7):
        found = quartiles(rows, method, "lowest suboptimality")
        np.testing.assert_allclose(found, [gap] * 3, rtol=1e-6)


def test_a_start_that_is_the_best(tmp_path):
    rows, _ = make(
        tmp_path, bilevel("SHINE", 0, [0, 0]), bilevel("HOAG", 0, [0, 1])
    )
    for method in "SHINE", "HOAG":
        assert quartiles(rows, method, "time to 1e-4") == [0, 0, 0]
    assert quartiles(rows, "HOAG", "last suboptimality") == [INF] * 3


def test_an_unknown_start_is_announced(tmp_path, capsys):
    rows, _ = make(
        tmp_path, bilevel("SHINE", 0, [1, 0]), bilevel("SHINE", 1, [NAN, 0])
    )
    assert quartiles(rows, "SHINE", "time to 1e-1")[::2] == [INF, INF]
    assert "start of seeds 1:" in capsys.readouterr().err


# Divergence and failure

def test_diverged_runs(tmp_path):
    late = {"diverged": [0.0, 0, 1]}
    rows, text = make(
        tmp_path,
        *(bilevel("SHINE", seed, [1, 0.05, 0]) for seed in SEEDS),
        # arrives at 1e-1, then diverges: in two seeds with a finite loss
        bilevel("HOAG", 0, [1, 0.05, NAN], **late),
        bilevel("HOAG", 1, [1, 0.05, -1], **late),
        bilevel("HOAG", 2, [1, 0.05, 0.01]),
        *(bilevel("Neumann", seed, [1, NAN], diverged=[0.0, 1])
          for seed in SEEDS),
        *(bilevel("Newton", seed, [NAN], diverged=1.0) for seed in SEEDS),
    )
    assert quartiles(rows, "SHINE", "lowest suboptimality") == [0, 0, 0]
    hoag = cells(text, "HOAG")
    assert hoag["seeds"] == "3, 2 diverged"
    assert hoag["time to 1e-1 (s)"] == "1"
    assert hoag["time to 1e-2 (s)"] == "–"  # one seed of three
    assert hoag["lowest suboptimality"] == "5.0e-02 (3.0e-02–5.0e-02)"
    assert hoag["last suboptimality"] == "diverged"
    assert hoag["last test loss"] == "diverged"
    assert quartiles(rows, "HOAG", "lowest F") == [55, 55, 58]
    for method in "Neumann", "Newton":
        row = cells(text, method)
        assert row["seeds"] == "3, 3 diverged"
        assert row["time to 1e-1 (s)"] == "–"
        assert row["last suboptimality"] == "diverged"
    assert cells(text, "Neumann")["lowest suboptimality"] == "1.0e+00"
    assert cells(text, "Newton")["lowest suboptimality"] == "diverged"


def test_where_every_run_diverges_nothing_is_won(tmp_path):
    rows, text = make(tmp_path, *(
        bilevel(method, seed, [1, NAN], diverged=1.0)
        for seed in SEEDS for method in ("SHINE", "HOAG")
    ))
    assert not rows["winner"].any()
    assert cells(text, "HOAG")["lowest suboptimality"] == "diverged"


def test_failed_runs_leave_no_rows(tmp_path):
    rows, text = make(
        tmp_path, *(bilevel("SHINE", seed, [1, 0.2]) for seed in SEEDS),
        *(bilevel("HOAG", seed, [1, 0]) for seed in SEEDS[1:]),
    )
    assert cells(text, "SHINE")["seeds"] == "3"
    assert cells(text, "HOAG")["seeds"] == "2 of 3"
    assert pick(rows, "HOAG", "time to 1e-1")["of"] == 3


# Winners

def race(*methods, seeds=SEEDS):
    """Arrival of every method at 1e-1, a time per seed."""
    return [
        bilevel(method, seed, [1, 0], unit=time)
        for method, times in methods for seed, time in zip(seeds, times)
    ]


def winners_of(rows, quantity):
    own = rows[(rows["quantity"] == quantity) & rows["winner"]]
    return own["method"].tolist()


@pytest.mark.parametrize("times, winner", [
    # quartiles of (1, 2, 3) are 1.5 and 2.5
    ([(1, 2, 3), (2.4, 3, 4)], ["A"]),  # from 2.7: seeds may overlap
    ([(1, 2, 3), (2, 3, 4)], []),       # from 2.5: they touch
    ([(1, 2, 3), (1, 2, 3)], []),
    ([(1, 1, 1), (1, 1, 1)], []),
    ([(1, 1, 1), (2, 2, 2)], ["A"]),
    ([(5, 6, 7), (1, 2, 3), (9, 9, 9)], ["B"]),
    ([(5, 6, 7), (1, 2, 3), (2, 3, 9)], []),
    ([(1, 2, 3)], []),                  # nobody to win against
])
def test_a_winners_quartiles_overlap_with_no_others(tmp_path, times, winner):
    rows, text = make(tmp_path, *race(*zip("ABC", times)))
    assert winners_of(rows, "time to 1e-1") == winner
    for method in "ABC"[:len(times)]:
        shown = cells(text, method)["time to 1e-1 (s)"]
        assert shown.startswith("**") == ([method] == winner)
        assert shown.endswith("**") == ([method] == winner)


@pytest.mark.parametrize("better, winner", [
    (-1, [True, False, False]), (1, [False, False, True]),
    (0, [False, False, False]),
])
def test_which_end_wins(better, winner):
    rows = pd.DataFrame({"q1": [1, 3, 5], "q3": [2, 4, 6]})
    rows = rows.assign(counted=3, of=3)
    assert league.mark_winners(rows, better) == winner


@pytest.mark.parametrize("n, winner", [(1, []), (2, []), (3, ["A"])])
def test_few_seeds_have_no_winner(tmp_path, n, winner):
    rows, text = make(tmp_path, *race(
        ("A", range(1, n + 1)), ("B", range(20, 20 + n)), seeds=range(n)
    ))
    assert winners_of(rows, "time to 1e-1") == winner
    if n == 1:
        assert cells(text, "A")["time to 1e-1 (s)"] == "1"


def test_who_lacks_a_seed_does_not_win(tmp_path):
    runs = race(("A", (1, 1, 1, 1)), ("B", (5, 5, 5, 5)), seeds=range(4))
    rows, _ = make(tmp_path, *runs[1:])
    assert not winners_of(rows, "time to 1e-1")


def test_who_never_arrives_is_beaten_and_never_wins(tmp_path):
    rows, _ = make(tmp_path, *(
        run for seed in SEEDS for run in (
            bilevel("A", seed, [1, 0.05, 0]), bilevel("B", seed, [1, 0.5]),
            bilevel("C", seed, [1, 0.6]),
        )
    ))
    assert winners_of(rows, "time to 1e-1") == ["A"]
    slower = rows[rows["method"] != "A"]
    assert not winners_of(slower, "time to 1e-1")


def test_high_cosines_win_and_nan_is_no_rival(tmp_path):
    rows, text = make(tmp_path, *(
        run for seed in SEEDS for run in (
            bilevel("A", seed, [1, 0.2, 0.1], q_cosine=[NAN, 0.8, 0.9]),
            bilevel("B", seed, [1, 0.2, 0.1], q_cosine=0.7),
            bilevel("C", seed, [1, 0.2, 0.1]),
            bilevel("D", seed, [1, 0.2, 0.1],
                    q_cosine=0.99 if seed else NAN),
        )
    ))
    np.testing.assert_allclose(quartiles(rows, "A", "cosine of q"), 0.85)
    assert cells(text, "C", "evaluations")["cosine of q"] == "–"
    assert not winners_of(rows, "cosine of q")  # D lacks a seed's
    cosines = rows[rows["quantity"] == "cosine of q"].set_index("method")
    for rivals, winner in ("ABC", [True, False, False]), ("AC", [False] * 2):
        assert league.mark_winners(cosines.loc[list(rivals)], 1) == winner


def test_a_method_that_is_not_shown_still_counts(tmp_path):
    runs = race(("A", (1, 1, 1)), ("B", (1, 1, 1)), ("C", (2, 2, 2)))
    rows, text = make(tmp_path, *runs, options=["--methods", "A", "C"])
    assert set(rows["method"]) == {"A", "C"}
    assert not winners_of(rows, "time to 1e-1")
    assert "| B " not in text


# Tables

def test_who_comes_closest_comes_first(tmp_path):
    paths = {
        "near": [1, 0.5, 0.5, 0.5, 1e-5], "nearer sooner": [1, 0.5, 1e-5],
        "fast": [1, 0.005], "stuck": [1, 0.9], "HOAG": [1, 0.9], "best": [1],
    }
    paths["best"] = [1, 1, 1, 1, 1, 0]
    _, text = make(tmp_path, *(
        bilevel(method, 0, gaps) for method, gaps in paths.items()
    ))
    order = re.findall(r"(?m)^\| (\w[\w ]*?) +\| 1 ", text)
    expected = ["nearer sooner", "near", "best", "fast", "HOAG", "stuck"]
    assert order == 2 * expected


def test_protocols_are_apart_and_searches_in_both(tmp_path):
    rows, text = make(
        tmp_path, bilevel("SHINE", 0, [1, 0.2]),
        bilevel("SHINE", 0, [1, 0.1], moves=2),
        bilevel("Grid-search", 0, [1, 0.5], p_solver_moves=NAN),
        bilevel("HOAG", 0, [1, 0], dataset="other"),
    )
    methods = rows.groupby(["dataset", "protocol"])["method"].unique()
    assert {key: set(names) for key, names in methods.items()} == {
        ("toy", "fair"): {"SHINE", "Grid-search"},
        ("toy", "published"): {"SHINE", "Grid-search"},
        ("other", "fair"): {"HOAG"},
    }
    heads = re.findall("(?m)^### (.*)", text)
    assert heads == [
        "other, fair protocol", "toy, fair protocol",
        "toy, published protocol",
    ]


def test_costs(tmp_path):
    rows, text = make(
        tmp_path,
        bilevel("SHINE", 0, [1, 0.5, 0], hypergrad_rel_error=[NAN, 0.1, 0.3],
                peak_memory=[1e6, 5e6, 2e6]),
        bilevel("HOAG", 0, [1, 0.5, 0]),
    )
    shine = cells(text, "SHINE", "evaluations")
    assert shine == {
        "method": "SHINE", "seeds": "1", "evaluations to 1e-1": "22",
        "evaluations to 1e-2": "22", "evaluations to 1e-3": "22",
        "evaluations to 1e-4": "22", "cosine of q": "–",
        "error of dF/dθ": "0.2", "g": "20", "Jᵀ": "2", "memory (MB)": "5",
    }
    assert cells(text, "HOAG", "evaluations")["memory (MB)"] == "–"
    older = save(tmp_path, bilevel("SHINE", 0, [1, 0]))
    assert not any(
        name in pd.read_parquet(older) for name in common.OPTIONAL
        if name != "p_solver_moves"
    )
    _, text = make(tmp_path, bilevel("SHINE", 0, [1, 0]))
    assert cells(text, "SHINE", "evaluations")["memory (MB)"] == "–"


@pytest.mark.parametrize("x, text", [
    (0, "0"), (0.012345, "0.0123"), (9.876, "9.88"), (99.96, "100"),
    (123.4, "123"), (12345.6, "12346"), (INF, "∞"),
])
def test_numbers(x, text):
    assert league.number(x, "") == text


# Networks

def test_networks_race_to_the_best_median_accuracy(tmp_path):
    rows, text = make(tmp_path, *(
        run for seed, last in zip(SEEDS, (95, 97.5, 99)) for run in (
            network("SHINE", seed, [10, 92.5, 95.4, 95.5, 96.5, last],
                    unit=seed + 1.0, n_outer=[0, 10, 20, 30, 40, 50],
                    backward_time=[0, 0.1, 0.2, 0.3, 0.4, 0.5],
                    q_cosine=0.1, q_cosine_median=0.9),
            network("HOAG", seed, [10, 80, 93, 93, 93, 93]),
        )
    ))
    assert quartiles(rows, "SHINE", "time to best − 5") == [1.5, 2, 2.5]
    assert quartiles(rows, "SHINE", "time to best − 2") == [4.5, 6, 7.5]
    assert quartiles(rows, "SHINE", "evaluations to best − 1") == [44] * 3
    assert quartiles(rows, "HOAG", "time to best − 2") == [INF] * 3
    assert quartiles(rows, "SHINE", "accuracy") == [96.25, 97.5, 98.25]
    assert winners_of(rows, "accuracy") == ["SHINE"]
    np.testing.assert_allclose(quartiles(rows, "SHINE", "backward"), 10)
    assert quartiles(rows, "SHINE", "cosine of q") == [0.9] * 3
    assert "best accuracy is 97.5 %" in text
    assert cells(text, "SHINE")["backward (ms)"] == "10"
    assert cells(text, "HOAG")["backward (ms)"] == "–"


def test_points_are_not_lost_to_rounding(tmp_path):
    assert 100 * (51.3 / 100) - 100 * (49.3 / 100) > 2  # in floats
    rows, _ = make(tmp_path, network("SHINE", 0, [10, 49.3, 50.3, 51.3]))
    assert quartiles(rows, "SHINE", "time to best − 2") == [1, 1, 1]


def test_a_diverged_network_has_no_accuracy(tmp_path):
    rows, text = make(
        tmp_path, network("SHINE", 0, [10, 90]),
        network("HOAG", 0, [10, 99], diverged=[0.0, 1]),
    )
    row = cells(text, "HOAG")
    assert row["accuracy (%)"] == "diverged"
    assert row["seeds"] == "1, 1 diverged"
    assert row["time to best − 5 (s)"] == "–"
    assert "best accuracy is 90.0 %" in text


# Files and errors

def test_without_exact_losses_a_problem_is_left_out(tmp_path, capsys):
    _, text = make(
        tmp_path, bilevel("SHINE", 0, [1, 0]),
        bilevel("SHINE", 0, [NAN, NAN], dataset="other"),
    )
    assert "## toy" in text and "## other" not in text
    assert "other: no exact loss" in capsys.readouterr().err


@pytest.mark.parametrize("gaps, options, words", [
    ([NAN], [], "no problem is left"),
    ([1, 0], ["--methods", "Newton"], "none of the methods"),
    ([1, 0], ["--datasets", "mnist"], "no data set for mnist"),
])
def test_nothing_to_compare(tmp_path, capsys, gaps, options, words):
    path = save(tmp_path, bilevel("SHINE", 0, gaps))
    with pytest.raises(SystemExit) as error:
        league.main([path, "--output-dir", tmp_path / "out", *options])
    assert error.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {path}: ") and words in line
    assert not (tmp_path / "out").exists()


def test_what_is_printed_is_written(tmp_path, capsys):
    _, text = make(tmp_path, bilevel("SHINE", 0, [1, 0]))
    printed = capsys.readouterr().out
    assert text.startswith(printed[:printed.index(str(tmp_path / "league.md"))
                                   ].rstrip())
    assert f"{tmp_path / 'league.csv'}\n" in printed
    assert text.endswith(league.EXPLAINED)


README = """\
# Title

<!-- league:begin stale words -->
stale table
<!-- league:end -->

The end.
"""


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README, encoding="utf-8")
    return path


def test_readme_gets_a_short_table(tmp_path, readme):
    path = save(tmp_path, *(
        run for seed in SEEDS for run in (
            bilevel("SHINE", seed, [1, 0.05, 0]),
            bilevel("SHINE", seed, [1, 0.005, 0], moves=2),
            bilevel("HOAG", seed, [1, 1, 0.05], unit=seed + 1.0),
            network("SHINE", seed, [10, 97], backward_time=[0, 0.5],
                    n_outer=[0, 50]),
        )
    ))
    words = [str(path), "--readme", str(readme)]
    league.main(words)
    text = readme.read_text(encoding="utf-8")
    start, rest = text.split("<!-- league:begin ")
    command, rest = rest.split(" -->\n", 1)
    block, end = rest.split("<!-- league:end -->")
    assert (start, end) == ("# Title\n\n", "\n\nThe end.\n")
    assert shlex.split(command) == ["python", "figures/league.py", *words]
    assert "stale" not in text
    tables = [
        [split(line) for line in table.splitlines()]
        for table in re.findall(r"(?m)(?:^\|.*\n)+", block)
    ]
    assert tables[0][2:] == [["SHINE", "97.0 %", "1 s / 11", "–", "10 ms",
                              "1"]]
    assert tables[1][0][1:] == [
        f"{protocol}: to {level}" for protocol in ("fair", "published")
        for level in ("1e-1", "1e-2", "1e-3")
    ]
    assert tables[1][2] == [
        "SHINE", "**1** s / **11**", "**2** s / **22**", "**2** s / **22**",
        "1 s / 11", "1 s / 11", "2 s / 22",
    ]
    assert tables[1][3] == ["HOAG", "4 s / 22", "–", "–", "", "", ""]
    league.main(words)
    assert readme.read_text(encoding="utf-8") == text
    assert not (tmp_path / "league.md").exists()


@pytest.mark.parametrize("text", ["no marks\n", 2 * README])
def test_readme_needs_one_pair_of_marks(tmp_path, readme, capsys, text):
    readme.write_text(text, encoding="utf-8")
    path = save(tmp_path, bilevel("SHINE", 0, [1, 0]))
    with pytest.raises(SystemExit) as error:
        league.main([path, "--readme", readme])
    assert error.value.code == 2
    line, = capsys.readouterr().err.splitlines()
    assert str(readme) in line and "<!-- league:begin -->" in line
    assert readme.read_text(encoding="utf-8") == text


# The committed tables

@pytest.mark.parametrize("name, marked", [
    ("README.md", r"<!-- league:begin (.*) -->"),
    ("results/league.md", r"Made by `(.*)`"),
])
def test_committed_tables_are_not_stale(name, marked, tmp_path, monkeypatch):
    text = (ROOT / name).read_text(encoding="utf-8")
    command = re.search(marked, text)[1]
    program, script, *words = shlex.split(command)
    assert (program, script) == ("python", "figures/league.py")
    (tmp_path / "results").mkdir()
    for path in (ROOT / "results").glob("*.parquet"):
        os.symlink(path, tmp_path / "results" / path.name)
    (tmp_path / "README.md").write_text(
        (ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    league.main(words)
    again = (tmp_path / name).read_text(encoding="utf-8")
    assert again == text, f"{name} is stale: run {command}"
    table = tmp_path / "results" / "league.csv"
    if table.exists():
        pd.testing.assert_frame_equal(
            pd.read_csv(table), pd.read_csv(ROOT / "results" / "league.csv")
        )
