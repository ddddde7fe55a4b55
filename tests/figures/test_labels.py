"""The settings that labels need not show are those that the package runs."""
import json

import pytest
from benchmark_shine.bench.protocols import LABELS, settings_of
from helpers.figure_rows import bilevel, runs_of
from helpers.problems import model

from figures.methods import BY_NAME, Thing, defaults_of, distinct_labels

METHODS = [
    "HOAG", "SHINE", "SHINE-OPA", "SHINE-guarded", "Jacobian-Free", *LABELS,
]


@pytest.mark.parametrize("protocol", ["fair", "hoag"])
@pytest.mark.parametrize("name", METHODS)
def test_usual_settings_are_those_of_the_protocol(name, protocol):
    usual = defaults_of(name, protocol)
    runs = settings_of(name, model("logistic"), protocol)
    told = {key: value for key, value in usual.items()
            if key in runs and key not in ("scale", "forward")}
    assert told == {key: runs[key] for key in told}
    assert {"step", "tol", "decay", "criterion", "memory"} <= told.keys()
    assert name in BY_NAME


def test_what_a_row_says_of_itself_is_never_assumed():
    frame = bilevel("SHINE", 0, [1, 0])
    for text, label in (
        ({"tol": 0.1, "memory": 60}, "SHINE"),
        ({"tol": 0.5, "memory": 60}, "SHINE (tol=0.5)"),
    ):
        frame["objective_settings"] = json.dumps(text)
        assert set(runs_of(frame)["method"]) == {label}


def test_a_word_tells_two_things_apart_before_a_number_and_a_hash():
    things = [
        Thing("cleaning", {"black": 0.0, "data": "a1", "source": "digits"}),
        Thing("cleaning", {"black": -1.0, "data": "b2", "source": "fashion"}),
    ]
    assert distinct_labels(things) == [
        [("source", "digits")], [("source", "fashion")]]
    same = [Thing("text", {"data": data}) for data in ("a1", "b2")]
    assert distinct_labels(same) == [[("data", "a1")], [("data", "b2")]]
