"""The floor of a hypergradient's error, in small."""
import pandas as pd
import pytest

from experiments import noise_floor
from experiments.rows import Rows

from helpers.problems import model, relative, ridge_solution


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("floor")
    noise_floor.main([
        "--tasks", "ridge", "--seeds", "1", "--methods", "HOAG", "SHINE",
        "Jacobian-Free", "--output", str(folder / "floor.csv"),
    ])
    assert (folder / "floor.png").stat().st_size > 10_000
    return pd.read_csv(folder / "floor.csv")


def test_the_exact_hypergradient_is_the_closed_form():
    problem = model("ridge", groups=2)
    theta, _, exact = noise_floor.at_theta(problem, -1.0)
    expected = ridge_solution(problem, theta[0])
    assert relative(exact.q, expected.q) < 1e-10
    assert relative(exact.grads[0], expected.grad) < 1e-10


def test_errors_fall_to_the_floor_of_the_method(frame):
    errors = frame.set_index(["theta", "tolerance"]).pivot(
        columns="method", values="hypergrad_rel_error"
    )
    tight, loose = (
        errors.xs(tolerance, level="tolerance") for tolerance in (1e-9, 1e-1)
    )
    assert (tight["HOAG"] < 1e-4 * loose["HOAG"]).all()
    assert (tight["SHINE"] > 1e2 * tight["HOAG"]).all()
    # no solve makes q = dl/dz a solution
    assert (tight["Jacobian-Free"] > 0.1).all()
    exact = frame[(frame["method"] == "HOAG") & (frame["tolerance"] < 1e-8)]
    assert (exact["wrong_signs"] == 0).all()
    assert (exact["q_cosine"] > 1 - 1e-6).all()


def test_what_is_there_is_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(noise_floor, "TOLERANCES", (1e-1,))
    monkeypatch.setattr(noise_floor, "THETAS", (0.0,))
    path = tmp_path / "floor.csv"
    for _ in range(2):
        rows = Rows(path, noise_floor.KEY)
        noise_floor.measure(rows, ["ridge"], 1, ["SHINE"])
        monkeypatch.setattr(noise_floor, "one", None)
    assert len(pd.read_csv(path)) == 1
