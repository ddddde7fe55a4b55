"""Every method for networks, on text; the data set of texts."""
import math

import pytest
from benchopt.benchmark import Benchmark

from benchmark_shine.evaluate import metrics

SMALL = {
    "n_test": 300, "width": 8, "n_heads": 2, "inner": 8, "segment": 6,
    "memory": 2, "batch_size": 4, "unrolled_steps": 1,
}
EQUILIBRIUM = {
    "HOAG", "HOAG-limited", "SHINE", "SHINE-OPA", "SHINE-refine",
    "SHINE-fallback", "Jacobian-Free", "Neumann", "Phantom",
    "Unrolled-network",
}


@pytest.fixture(scope="module")
def suite(root_dir):
    return Benchmark(root_dir)


@pytest.fixture(scope="module")
def text(suite):
    found, = (cls for cls in suite.get_datasets() if cls.name == "text")
    return found


@pytest.fixture
def data(text, tmp_path):
    """A function that makes the data set of a file with this content."""
    def make(content="to be, or not to be\n" * 30, name="a.txt", **settings):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return text.get_instance(**SMALL | {"path": str(path)} | settings)

    return make


def test_every_method_for_networks_trains_on_text(suite, data):
    problem = data(jacobian_weight=0.1, dropout=0.1).get_data()["problem"]
    ran = set()
    for cls in suite.get_solvers():
        if not cls.is_installed(quiet=True):
            continue
        try:
            method = cls.get_instance().method(problem, 3)
        except ValueError:  # a method for bi-level problems
            continue
        *_, point = method.run(problem)
        assert not point.step.diverged and point.totals.n_outer == 3
        assert all(map(math.isfinite, metrics(problem, point.step).values()))
        ran.add(cls.name)
    assert ran >= EQUILIBRIUM


def test_what_is_held_out_is_the_end_or_another_file(data, tmp_path):
    train, test = data(test_share=0.25, n_test=None).sources()
    assert len(test) == 150 and train + test == "to be, or not to be\n" * 30
    (tmp_path / "b.txt").write_text("be to")
    train, test = data(n_train=10, test_path=str(tmp_path / "b.txt")).sources()
    assert (train, test) == ("not to be\n", "be to")


def test_the_fingerprint_is_that_of_the_text(data):
    some = [
        data(**settings).get_data()["data_fingerprint"] for settings in (
            {}, {"name": "b.txt", "seed": 3}, {"content": "to be or not" * 50})
    ]
    assert some[0] == some[1] != some[2]


def test_settings_take_the_place_of_the_configurations(data):
    problem = data(rate=0.5, epochs=7, pre_norm=True).get_data()["problem"]
    assert problem.config.pre_norm and problem.config.width == 8
    recipe = problem.recipe
    assert (recipe.rate, recipe.epochs, recipe.clip) == (0.5, 7, 1.0)


@pytest.mark.parametrize("settings, words", [
    ({"path": "no/such.txt"}, "path: there is no file no/such.txt"),
    ({"path": None, "source": "poem"}, "source: 'poem' is not one of topics"),
    ({"tokens": "bytes"}, "tokens: 'bytes'"), ({"n_test": 3}, "segment: "),
    ({"n_test": 0}, "n_train, n_test: "), ({"network": "tiny"}, "network: "),
    ({"test_share": 2}, "test_share: "), ({"n_words": "all"}, "n_words: "),
    ({"width": 9}, "width: "), ({"dropout": 1}, "dropout: "),
    ({"pre_norm": "yes"}, "pre_norm: "), ({"device": "tpu:9"}, "device: "),
    ({"rate": -1}, "rate: "), ({"seed": -1}, "seed: "),
    ({"batch_size": 10 ** 6}, "batch_size: "),
])
def test_bad_settings_skip_the_data_set_with_a_line(settings, words, data):
    found = data(**settings).get_data()
    assert found["problem"] is None
    assert words in found["reason"] and "\n" not in found["reason"]
