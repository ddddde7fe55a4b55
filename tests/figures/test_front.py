"""The README's small table, of runs whose numbers are known beforehand."""
import pytest

from figures.results import ResultError
from figures.tables import front

from helpers.figure_rows import bilevel, rows, runs_of, table

SEEDS = (0, 1, 2)


def test_first_arrival_and_departure_are_told_apart():
    gaps = {"SHINE": [1, 0.005, 0.5], "HOAG": [1, 0.5, 0.001]}
    runs = runs_of(*(
        bilevel(name, seed, own) for name, own in gaps.items()
        for seed in SEEDS
    ), *(bilevel("Grid-search", seed, [1, 0]) for seed in SEEDS))
    shown = {row["method"]: row for row in table(front.table(runs), "toy")}
    first, stays = "toy, fair: evaluations to 1e-2", "there at the end, fair"
    assert shown["`SHINE`"][first] == "11" and shown["`HOAG`"][first] == "22"
    assert shown["`SHINE`"][stays] == "0 of 3"
    assert shown["`HOAG`"][stays] == "3 of 3"
    assert set(shown) == {"`SHINE`", "`HOAG`"}


def test_a_method_that_never_arrives_says_so():
    runs = runs_of(bilevel("SHINE", 0, [1, 0.5]), bilevel("HOAG", 0, [1, 0]))
    shown = {row["method"]: row for row in table(front.table(runs), "toy")}
    assert shown["`SHINE`"]["toy, fair: evaluations to 1e-2"] == "never"


def test_networks_have_accuracy_and_backward_time():
    runs = runs_of(*(
        rows("SHINE", seed, 3, dataset="net", test_accuracy=[0.1, 0.9, 0.95],
             n_outer=[0, 1, 2], backward_time=[0, 0.004, 0.008])
        for seed in SEEDS
    ))
    row, = table(front.table(runs), "net")
    assert row["net: accuracy"] == "95.0 %" and row["net: backward"] == "4 ms"


def test_without_its_methods_there_is_a_sentence():
    with pytest.raises(ResultError, match="none of the methods HOAG"):
        front.table(runs_of(bilevel("Grid-search", 0, [1, 0])))
