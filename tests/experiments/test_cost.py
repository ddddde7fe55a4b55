"""What equilibrium networks cost: memory against depth, and training."""
import pandas as pd
import pytest
import torch

from benchmark_shine.engine import leaves
from experiments import cost
from experiments.tasks import network_of
from figures import cost as figure
from figures.__main__ import main as draw
from figures.plotting import paper_style

from helpers.figure_rows import assert_nothing_overlaps, pass_times
from helpers.problems import network, relative


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    memory, training, passes = (
        folder / f"{name}.csv" for name in ("memory", "training", "times"))
    cost.measure_memory(memory, (4, 8, 16), batch_size=2)
    cost.measure_training(training, seeds=1, n_epochs=1, width=16)
    pass_times(0.2).to_csv(passes, index=False)
    return memory, training, passes


def test_only_what_stores_something_grows(files):
    frame = pd.read_csv(files[0])
    z = frame["bytes_of_z"].iloc[0]
    peaks = frame.pivot(
        index="depth", columns="method", values="peak_memory")
    more = (peaks.loc[16] - peaks.loc[8]) / (8 * z)
    assert more["Reversible"] == more["SHINE[forward=anderson]"] == 0
    # Broyden keeps a step each, the explicit network the graph of a layer
    assert 1 <= more["SHINE"] < 1.2
    assert 1 <= more["Jacobian-Free"] < 1.2
    assert more["SHINE-OPA"] >= 2
    assert more["Unrolled-network"] > 10


def test_a_second_measurement_adds_nothing(files):
    before = [path.read_text() for path in files[:2]]
    cost.measure_memory(files[0], (4, 8), batch_size=2)
    cost.measure_training(files[1], seeds=1, n_epochs=1, width=16)
    assert [path.read_text() for path in files[:2]] == before


def test_an_untied_network_has_layers_of_its_own():
    like = network(d=12)
    problem = cost.Untied(like, 3)
    assert [t.shape[0] for name, t in zip(problem.names, problem.start()[0])
            if name == "cell.weight"] == [3]
    theta = leaves(problem.start()[0])
    equation = problem.draw(theta, problem.start()[1], 1)
    z = cost.layers(1)(equation).z
    named = dict(zip(problem.names, theta))
    W = problem.effective({"weight": named["cell.weight"]})["weight"]
    x, _ = problem.batch(1)
    inside = x.to(theta[0]).flatten(1) @ named["stem.1.weight"].T
    inside = inside + named["stem.1.bias"]
    expected = torch.zeros_like(z)
    for matrix in W:
        u = expected @ matrix.T + inside
        expected = (u + torch.tanh(u)) / 2
    assert relative(z.detach(), expected.detach()) < 1e-5
    norms = torch.linalg.matrix_norm(W, 2)
    torch.testing.assert_close(norms, torch.full_like(norms, 0.8))


@pytest.mark.parametrize("n_layers", [1, 3, 10])
def test_an_untied_network_has_as_many_parameters(n_layers):
    like = network_of("digits", width=24)
    most = sum(like.parameter_counts().values())
    problem = cost.Untied(like, n_layers)
    assert sum(problem.parameter_counts().values()) <= most
    d, beside = problem.d + 1, 64 + 1 + 10
    assert n_layers * d ** 2 + beside * d + 10 > most


def test_training_ends_above_chance(files):
    frame = pd.read_csv(files[1])
    last = frame[frame["epoch"] == 1].set_index(["network", "method"])
    assert len(last) == len(cost.TRAINED)
    assert (last["test_accuracy"] > 0.3).all()
    assert frame.loc[frame["epoch"] == 0, "seconds"].eq(0).all()
    assert (last["seconds"] > last["forward_seconds"]).all()


def test_explicit_networks_are_scored_at_their_last_layer():
    problem = network(d=6)
    theta, z = problem.start()
    equation = problem.draw(theta, z, 1)
    by_hand = z
    for _ in range(4):
        by_hand = by_hand - equation.g(by_hand)
    assert torch.equal(cost.layers(4)(equation, 1e-3, 0.0, None).z, by_hand)


def test_the_figure_is_drawn(files, tmp_path):
    assert draw(["cost", *map(str, files), "--output-dir", str(tmp_path),
                 "--name", "x"]) == 0
    text = (tmp_path / "x.md").read_text(encoding="utf-8")
    assert "| explicit, untied" in text and "| Reversible" in text
    memory = figure.read(files[0], figure.MEMORY, "cost memory")
    training = figure.read(files[1], figure.TRAINING, "cost training")
    found = figure.summary(figure.read_times(files[2]))
    with paper_style():
        assert_nothing_overlaps(
            figure.plot(memory, found, training, "caption"))
