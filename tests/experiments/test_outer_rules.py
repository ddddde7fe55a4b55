"""The experiment on outer rules, by numbers known beforehand."""
import math

import pandas as pd
import pytest
import torch

from experiments import outer_rules
from experiments.outer_rules import Free, Sign, stay, tables
from experiments.tasks import method_of, problem_of

from helpers.figure_rows import table


@pytest.mark.parametrize("gaps, expected", [
    ([9, 0.1, 0.5, 0.1, 0.0], 40), ([0, 0, 0, 0, 0], 10),
    ([9, 0, 0, 0, 2], math.inf), ([9, 0, math.inf, 0, 0], 40),
])
def test_stay_is_from_the_last_departure(gaps, expected):
    assert stay([10, 20, 30, 40, 50], gaps, 0.1) == expected


def moves(rule, slopes):
    state, found = rule.start((torch.zeros(1),)), []
    for slope in slopes:
        state = rule.step(state, 0.0, (torch.tensor([slope]),), 0.0)
        found.append(float(state.theta[0]))
    return found


def test_rules_that_were_tried():
    # signs alone: 1, then 1.2 times as far, then half of that and back
    assert moves(Sign(growth=1.2), [1.0, 9.0, -1.0]) == pytest.approx(
        [-1, -2.2, -1.6])
    # short secant steps do not keep this radius from growing
    slopes = [1.0, 0.5, 0.25, 0.25 - 1e-6]
    assert moves(Free(growth=1.5), slopes) == pytest.approx(
        [-1, -2, -3, -5])


def test_tables_count_and_compare():
    rows = [
        {"rule": rule, "method": method, "task": "ridge", "seed": seed,
         "theta": 0.0, "gap": gap, "stay": n, "evaluations": 99,
         "furthest": far}
        for rule, method, seed, gap, n, far in (
            ("fair", "HOAG", 0, 0.0, 10, 1), ("fair", "HOAG", 1, 0.0, 10, 1),
            ("fair", "HOAG", 2, 0.0, 5, 1), ("fair", "SHINE", 0, 5e-3, 7, 1),
            ("hoag", "HOAG", 0, 0.0, 40, 1),
            ("hoag", "HOAG", 1, 0.5, math.inf, 12),
        )
    ]
    text = tables(pd.DataFrame(rows))
    fair, hoag = table(text, "runs of each")
    assert (fair["HOAG"], fair["SHINE"]) == ("3 (3)", "1 (0)")
    assert (hoag["HOAG"], hoag["SHINE"], hoag["touched"]) == (
        "1 (1)", "–", "1")
    _, hoag = table(text, "times the fair rule")  # on seeds 0 and 1
    assert hoag["within 0.1 %"] == "1 of 2"
    assert (hoag["times the fair rule"], hoag["fewer : more"]) == (
        "4.00", "0:2")


@pytest.mark.parametrize("rule", outer_rules.RULES | outer_rules.CHOICES)
def test_each_rule_is_a_setting_that_runs(rule):
    settings, _ = (outer_rules.RULES | outer_rules.CHOICES)[rule]
    assert method_of("HOAG", problem_of("ridge", 0), 3, **settings)


def test_one_run_of_each_rule():
    from benchmark_shine.evaluate.bilevel import comparison

    problem = problem_of("ridge", 0, theta=4.0)
    compared = comparison(problem)
    found = {
        rule: outer_rules.one(rule, "HOAG", problem, compared)
        for rule in ("fair", "hoag", "sign")
    }
    assert found["fair"]["gap"] < outer_rules.CLOSE
    assert found["fair"]["stay"] < found["sign"]["evaluations"]
    assert len({row["evaluations"] for row in found.values()}) == 3
