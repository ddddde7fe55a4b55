"""Inversion quality of OPA: figure 2, right, in small."""
import numpy as np
import pandas as pd
import pytest
import torch

from benchmark_shine.fingerprints import fingerprint
from experiments.opa_inversion import main, measure, one_try, problem

from helpers.problems import jacobian_at


@pytest.fixture(scope="module")
def frame():
    return measure(12)


def test_one_row_per_try_and_direction(frame):
    assert list(frame["direction"]) == [
        "prescribed", "krylov", "random"
    ] * 12
    assert list(frame["try"]) == sorted(list(range(12)) * 3)
    assert set(frame["fingerprint"]) == {fingerprint()}
    assert set(frame["torch"]) == {torch.__version__}
    # a pair per iteration, and an OPA pair every fifth
    pairs = frame["n_iter"] + frame["n_iter"] // 5
    assert (frame["n_pairs"] == pairs).all()
    assert (frame["n_g"] > pairs).all()


def errors(frame, direction):
    rows = frame[frame["direction"] == direction]
    return np.hypot(rows["ratio"] - 1, np.arccos(rows["cosine"].clip(-1, 1)))


def test_directions_are_inverted_in_their_order(frame):
    assert errors(frame, "krylov").max() < 1e-6
    prescribed = errors(frame, "prescribed").median()
    assert prescribed < 0.5 * errors(frame, "random").median()
    # and without OPA the direction is nothing special
    rare = errors(measure(12, every=1000), "prescribed").median()
    assert prescribed < 0.5 * rare


def test_the_problem_is_the_authors():
    model = problem()
    assert model.train.X.shape == (113, 30)
    (theta,), z = model.start()
    J = jacobian_at(model.draw((theta,), z, 1), z)
    # ridge weight 1
    assert torch.linalg.eigvalsh(J).min() >= 1 - 1e-12


def test_an_unfinished_solve_is_an_error():
    model = problem()
    model.slope = lambda outputs, y: outputs * torch.nan
    with pytest.raises(RuntimeError, match="L-BFGS stopped at .* nan"):
        one_try(model, np.random.RandomState(0), 5, 9e-4)


def test_command_line_writes_the_table(tmp_path, capsys):
    output = tmp_path / "new" / "inversion.csv"
    main(["--tries", "2", "--every", "3", "--seed", "1", "--output",
          str(output)])
    assert str(output) in capsys.readouterr().out
    pd.testing.assert_frame_equal(
        pd.read_csv(output), measure(2, every=3, seed=1)
    )


@pytest.mark.parametrize("wrong", [["--tries", "0"], ["--c2", "2"]])
def test_command_line_says_what_is_wrong(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--output", str(tmp_path / "x.csv"), *wrong])
    assert ended.value.code == 2
    assert f"{wrong[0][2:]}: must be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
