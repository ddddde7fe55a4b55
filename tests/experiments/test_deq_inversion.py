"""Inversion quality in equilibrium networks: figure E.2 in small."""
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from benchopt.benchmark import Benchmark

from benchmark_shine.adjoint import JacobianFree
from benchmark_shine.engine import RootAndAdjoint
from benchmark_shine.evaluate import networks
from benchmark_shine.evaluate.networks import probe, scores
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.root import AdjointBroyden, Broyden, loss_gradient
from experiments import deq_inversion
from experiments.deq_inversion import (
    SETTINGS, SOLVERS, Setting, by_finder, instance, load, main, measure,
    one_batch, quality, reference, trained,
)

from helpers.batched_problems import Tanh, normal, relative

OPA, PUBLISHED = "SHINE-OPA", "SHINE-OPA[side=untransposed]"
ADJOINT = "SHINE[forward=adjoint_broyden]"
ANDERSON = "SHINE[forward=anderson]"


@pytest.fixture(scope="module")
def suite(root_dir):
    return Benchmark(root_dir)


@pytest.fixture(scope="module")
def solvers(suite):
    """The seven of figure E.2."""
    return [instance(suite.get_solvers(), *solver) for solver in SOLVERS]


def digits(suite, **parameters):
    """A network on the digits."""
    return load(instance(suite.get_datasets(), "digits", parameters))


def jacobian_free(suite):
    return instance(suite.get_solvers(), "Jacobian-Free", {})


@pytest.fixture(scope="module")
def network(suite):
    """One epoch of a network of width 12."""
    return digits(suite, width=12, batch_size=64, epochs=1)


@pytest.fixture(scope="module")
def measured(network):
    return network.under(replace(
        network.recipe, batch_size=16, forward_steps=9, backward_steps=24
    ))


@pytest.fixture(scope="module")
def rows(measured, solvers):
    """Two batches at the first theta, by (solver, batch)."""
    frame = measure(measured, measured.start()[0], solvers, 2, 200)
    return frame.set_index(["solver", "batch"]).sort_index()


# ---------------------------------------------------------------- claim 4

def test_the_order_of_methods_on_a_trained_network(suite, solvers):
    """Must hold: transposed OPA > published OPA > Jacobian-free, SHINE."""
    problem = digits(suite)
    trainer = instance(suite.get_solvers(), *Setting().trainer)
    assert problem.contraction == 0.95
    theta = trained(problem, trainer)
    found = scores(problem, theta, Broyden(50, 50))
    assert found["test_accuracy"] > 0.9
    problem = problem.under(replace(
        problem.recipe, batch_size=16, forward_steps=22
    ))
    frame = measure(problem, theta, solvers, 6, 200)
    assert len(frame) == 6 * len(SOLVERS)
    assert frame["reference_converged"].all()
    median = frame.groupby("solver")["sample_cosine_median"].median()
    assert median[OPA] > 0.99
    assert median[OPA] > median[PUBLISHED] > median[ADJOINT]
    assert median[ADJOINT] > median["SHINE"] > median["Jacobian-Free"]
    # and with the batch as one vector, as published
    flat = frame.groupby("solver")["cosine"].median()
    assert flat[OPA] > flat[PUBLISHED] > max(
        flat["SHINE"], flat["Jacobian-Free"]
    )


# ------------------------------------------------------------ measurement

def test_quality_of_known_vectors():
    exact = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    q = torch.tensor([[6.0, 8.0], [2.0, 2.0], [0.0, 1.0]])  # 0°, 45°, 90°
    got = quality(q.double(), exact.double())
    cosines = [0.0, 0.5 ** 0.5, 1.0]
    assert got == pytest.approx({
        "cosine": 54 / (109 * 30) ** 0.5,
        "ratio": (30 / 109) ** 0.5,
        "rel_error": (31 / 30) ** 0.5,
        "sample_cosine_q1": np.quantile(cosines, 0.25),
        "sample_cosine_median": cosines[1],
        "sample_cosine_q3": np.quantile(cosines, 0.75),
    })


def test_the_reference_is_the_dense_solution():
    problem = Tanh([0.5, 0.9, 0.99])
    z = normal(7, 3, 12)
    J, rhs = problem.jacobian(z), problem.rhs(z)
    dense = torch.linalg.solve(J.mT, rhs)
    q, gaps = reference(problem.equation(), z, 50)
    assert relative(q, dense) < 1e-5
    assert gaps.shape == (3,) and float(gaps.max()) < 1e-6
    # too few steps: the residual tells
    q, gaps = reference(problem.equation(), z, 2)
    residual = torch.bmm(J.mT, q[:, :, None])[:, :, 0] - rhs
    torch.testing.assert_close(gaps, residual.norm(dim=1) / rhs.norm(dim=1))
    assert float(gaps.min()) > 1e-3


@dataclass(frozen=True)
class Known:
    """The Jacobian-free q, so many times."""

    factor: float

    def __call__(self, system):
        return self.factor * system.rhs


def test_q_is_compared_at_the_roots_of_its_own_finder(measured):
    theta, _ = measured.start()
    methods = {
        Broyden(3, 3): {"few": Known(1.0), "twice": Known(2.0)},
        Broyden(30, 30): {"many": Known(1.0)},
    }
    got = {
        row["solver"]: row
        for row in one_batch(measured, theta, 1, methods, 100)
    }
    single, double = (
        probe(measured, theta, dtype, 1) for dtype in (None, torch.float64)
    )
    for name, steps, factor in (
            ("few", 3, 1), ("twice", 3, 2), ("many", 30, 1)):
        root = Broyden(steps, steps)(single, measured.atol)
        exact, _ = reference(double, root.z.double(), 100)
        expected = quality(
            factor * loss_gradient(single, root.z).double(), exact
        )
        assert expected.items() <= got[name].items()
        residual = (root.residuals / root.z.norm(dim=1)).median()
        assert got[name]["forward_residual"] == float(residual)
    assert got["few"]["cosine"] != got["many"]["cosine"]


@pytest.mark.parametrize("lost, steps", [(-1, 100), (3, 100), (-1, 1)])
def test_a_sample_without_an_exact_q_flags_its_batch(
    lost, steps, measured, monkeypatch
):
    def spoilt(equation, z, max_iter):
        q, gaps = reference(equation, z, max_iter)
        return q, torch.where(torch.arange(len(gaps)) == lost, 1e-3, gaps)

    monkeypatch.setattr(deq_inversion, "reference", spoilt)
    row, = one_batch(
        measured, measured.start()[0], 0, {Broyden(3): {"any": Known(1.0)}},
        steps,
    )
    converged = (lost, steps) == (-1, 100)
    assert row["reference_converged"] == converged
    assert (row["reference_residual"] <= 1e-6) == converged


def test_the_same_forward_pass_is_made_once(measured, solvers):
    methods = by_finder(measured, solvers)
    together = {tuple(sorted(names)) for names in methods.values()}
    assert together == {
        ("HOAG", "Jacobian-Free", "SHINE"), (ANDERSON,), (ADJOINT,),
        (PUBLISHED,), (OPA,),
    }
    assert {finder.max_iter for finder in methods} == {9}
    assert methods[Broyden(9, 9)]["Jacobian-Free"] == JacobianFree()
    assert list(methods[AdjointBroyden(9, 9)]) == [ADJOINT]


def test_evaluations_and_products_are_those_of_both_passes(rows):
    n_g, n_vjp = (
        rows.xs(0, level="batch")[name] for name in ("n_g", "n_vjp")
    )
    # the start and nine steps: they are too few for any sample
    assert n_g["Jacobian-Free"] == n_g["SHINE"] == n_g[OPA] == 10
    assert n_g["HOAG"] == 11  # the graph of g, for the products
    assert n_vjp["Jacobian-Free"] == n_vjp["SHINE"] == n_vjp[ANDERSON] == 0
    assert 9 < n_vjp["HOAG"] <= 24
    assert n_vjp[ADJOINT] == 9
    assert n_vjp[OPA] == n_vjp[PUBLISHED] == 9 + 9 // 5


def test_columns_of_a_measurement(rows):
    assert len(rows) == 2 * len(SOLVERS)
    for name in "spectral_radius_median", "spectral_radius":
        # every eigenvalue of df/dz has a modulus in [c / 2, c]
        assert rows[name].between(0.95 / 2, 0.951).all()
    assert (rows.loc["HOAG", "rel_error"] < 1e-2).all()
    # another batch is another point
    assert (rows["cosine"].groupby("solver").nunique() == 2)[:-1].all()


# ---------------------------------------------------------------- network

def test_under_another_recipe_only_the_recipe_changes(network):
    other = network.under(replace(network.recipe, batch_size=5, tol=1e-3))
    assert network.recipe.batch_size == 64
    theta, z = other.start()
    assert z.shape == (5, 12) and other.atol == 1e-3 * 12 ** 0.5
    for mine, theirs in zip(theta, network.start()[0], strict=True):
        assert torch.equal(mine, theirs)
    # fixed batches come from one shuffle
    x, _ = other.fixed_batch(5, 0)
    assert torch.equal(x, network.fixed_batch(5, 0)[0][:5])


def test_training_is_the_whole_recipe(suite, network):
    trainer = jacobian_free(suite)
    before = scores(network, network.start()[0], Broyden(50, 50))
    theta = trained(network, trainer)
    after = scores(network, theta, Broyden(50, 50))
    assert after["test_loss"] < 0.9 * before["test_loss"]
    again = trained(network, trainer)
    assert all(map(torch.equal, theta, again))
    assert not any(t.requires_grad for t in theta)


def test_a_training_that_diverges_is_an_error(suite, network, monkeypatch):
    trainer = jacobian_free(suite)
    method = trainer.method(network, 1)
    spoilt = replace(method, outer_step=RootAndAdjoint(
        method.find_root, Known(float("nan"))
    ))
    monkeypatch.setattr(trainer, "method", lambda *_: spoilt)
    with pytest.raises(RuntimeError, match="Free: .* diverged at step 1 "):
        trained(network, trainer)


# ------------------------------------------------------------ command line

FAST = Setting(
    networks=({"width": 12, "epochs": 1},), trainer=("Jacobian-Free", {}),
    batches=2, batch_size=4, forward_steps=9,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a short measurement."""
    output = tmp_path_factory.mktemp("command") / "new" / "x.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deq_inversion, "SOLVERS", SOLVERS[1:3])
        patch.setitem(deq_inversion.SETTINGS["dense"], "try", FAST)
        main(["dense", "--scale", "try", "--output", str(output)])
    return pd.read_csv(output)


def test_command_line_writes_the_table(written, network, solvers):
    assert written["state"].tolist() == ["initial"] * 4 + ["trained"] * 4
    assert written["solver"].tolist() == ["SHINE", ANDERSON] * 4
    assert written["batch"].tolist() == [0, 0, 1, 1] * 2
    columns = [
        "batches", "batch_size", "forward_steps", "backward_steps",
        "reference_steps", "trainer", "fingerprint", "torch",
    ]
    assert written[columns].drop_duplicates().values.tolist() == [
        [2, 4, 9, 24, 200, "Jacobian-Free", fingerprint(), torch.__version__]
    ]
    name, = set(written["dataset"])
    assert name.startswith("digits[") and "width=12" in name
    first, last = written.groupby("state")["test_accuracy"].first()
    assert first < last < 1
    expected = measure(
        network.under(replace(
            network.recipe, batch_size=4, forward_steps=9, backward_steps=24
        )),
        network.start()[0], solvers[1:3], 2, 200,
    )
    pd.testing.assert_frame_equal(written.loc[:3, expected.columns], expected)


def test_a_row_has_the_batch_that_was_measured(
    network, solvers, monkeypatch
):
    # more samples than the exact reference can afford
    monkeypatch.setattr(networks, "n_affordable", lambda d: 3)
    frame = measure(network, network.start()[0], solvers[:1], 1, 20)
    assert frame["batch_size"].tolist() == [3]


@pytest.mark.parametrize("words, said", [
    (["mdeq", "--scale", "paper"], "cifar10: "),  # no GPU, or no pictures
    (["dense", "--output", "/dev/null/x.csv"], "/dev/null"),
])
def test_command_line_says_what_is_wrong(words, said, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=f"error: .*{said}"):
        main([words[0], "--output", str(tmp_path / "x.csv"), *words[1:]])
    assert not list(tmp_path.iterdir())


def test_a_device_is_that_of_every_network(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        deq_inversion, "measure_setting", lambda s: seen.append(s) or [])
    for words in ["--device", "cuda"], []:
        main(["dense", *words, "--output", str(tmp_path / "x.csv")])
    devices = [[n.get("device") for n in s.networks] for s in seen]
    assert devices == [["cuda"] * 3, [None] * 3]


def test_tiny_is_that_of_figure_3(root_dir):
    text = (root_dir / "configs" / "fig3_tiny.yml").read_text()
    told, = yaml.safe_load(text)["dataset"]
    told = told["cifar10"]
    groups = ("n_train, n_test", "batch_size, epochs, unrolled_steps")
    for names in groups:
        told |= dict(zip(names.split(", "), *told.pop(names)))
    del told["seed"]
    network, = SETTINGS["tiny_cifar10"]["quick"].networks
    assert network == told | {
        name: network[name] for name in ("n_train", "n_test", "batch_size")}
    per_epoch = network["n_train"] // network["batch_size"]
    assert per_epoch == told["n_train"] // told["batch_size"]
    penalised, = SETTINGS["tiny_cifar10_penalised"]["quick"].networks
    assert penalised == network | {"jacobian_weight": 1.0}


@pytest.mark.parametrize("network", ["dense", "mdeq"])
@pytest.mark.parametrize("scale", ["try", "quick"])
def test_every_setting_names_what_exists(network, scale, suite):
    setting = SETTINGS[network][scale]
    for parameters in setting.networks:
        dataset = instance(suite.get_datasets(), setting.dataset, parameters)
        recipe = load(dataset).recipe
        assert recipe.epochs == parameters.get("epochs", 10)
