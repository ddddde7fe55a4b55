"""The configurations of runs name what there is."""
from pathlib import Path

import pytest
import yaml
from benchopt.benchmark import Benchmark

from benchmark_shine.bench.protocols import PROTOCOLS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yml")
    if path.parent.name != "parallel" and path.name != "record.yml"
)


@pytest.fixture(scope="module")
def classes():
    suite = Benchmark(ROOT)
    return {
        "objective": {suite.get_benchmark_objective().name: (
            suite.get_benchmark_objective()
        )},
        "dataset": {cls.name: cls for cls in suite.get_datasets()},
        "solver": {cls.name: cls for cls in suite.get_solvers()},
    }


def settings_of(entry):
    """Return the name of an entry, and its settings one by one."""
    (name, given), = entry.items() if isinstance(entry, dict) else [
        (entry, {})
    ]
    for names, values in given.items():
        yield from (
            (name, setting, value)
            for value in (values if isinstance(values, list) else [values])
            for setting, value in (
                zip(names.split(", "), value) if ", " in names
                else [(names, value)]
            )
        )
    if not given:
        yield name, None, None


@pytest.mark.parametrize(
    "path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs"))
)
def test_a_configuration_names_what_there_is(path, classes):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for kind, known in classes.items():
        for entry in config[kind]:
            for name, setting, value in settings_of(entry):
                assert name in known
                names = {
                    part for key in known[name].parameters
                    for part in key.split(", ")
                }
                assert setting is None or setting in names
                assert setting != "protocol" or value in PROTOCOLS


def test_settings_are_read_one_by_one():
    assert list(settings_of("HOAG")) == [("HOAG", None, None)]
    assert list(settings_of({"A": {"b, c": [[1, 2], [3, None]], "d": 4}})) == [
        ("A", "b", 1), ("A", "c", 2), ("A", "b", 3), ("A", "c", None),
        ("A", "d", 4),
    ]
