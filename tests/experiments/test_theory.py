"""Theorems 1 to 3, measured on small problems; the figure of them."""
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread

from benchmark_shine.implicit import hypergradient
from experiments import theory
from figures.__main__ import main as draw
from figures.theory import (
    EXACT, JF, PUBLISHED, alone, gains, halves, in_words, summary,
)

from helpers.figure_rows import table as table_of
from helpers.problems import jacobian_at, relative

SIZES = {"span": (6, 6), "subspace": (24, 4)}
WITH_OPA = [
    ("ridge", "BFGS, OPA"), ("logistic", "BFGS, OPA"),
    ("affine", "adjoint Broyden, OPA"), ("network", "adjoint Broyden, OPA"),
]


@pytest.fixture(scope="module")
def frame():
    return theory.measure(2, sizes=SIZES)


@pytest.fixture(scope="module")
def summed(frame):
    return summary(frame)


def place(summed, problem, steps):
    """Select a problem and its steps from a `summary`."""
    own = summed.query("problem == @problem and steps == @steps")
    return own.droplevel(["problem", "steps"])


@pytest.mark.parametrize("problem, method", WITH_OPA)
def test_only_opa_converges_where_the_steps_lie_in_a_subspace(
    problem, method, summed
):
    own = place(summed, problem, "subspace")
    assert own.loc[[alone(method), EXACT], "span"].eq(4).all()
    assert own.loc[alone(method), "last"].min() > 1e-2
    assert gains(own, method).median() > 1000


@pytest.mark.parametrize("problem", ["affine", "network"])
def test_the_published_side_does_not_teach_what_is_used(problem, summed):
    own = place(summed, problem, "subspace")
    theirs = gains(own, PUBLISHED).median()
    assert gains(own, "adjoint Broyden, OPA").median() > 100 * theirs


@pytest.mark.parametrize("problem, method, most", [
    ("ridge", "BFGS", 1e-3), ("logistic", "BFGS", 0.1),
    ("affine", "adjoint Broyden", 1e-10), ("network", "adjoint Broyden", 1e-3),
])
def test_shine_converges_where_the_steps_span_the_space(
    problem, method, most, summed
):
    own = place(summed, problem, "span")
    assert own.loc[method, "span"] == 6
    assert own.loc[method, "last"].median() < most
    assert own.loc[EXACT, "last"].max() < 1e-9
    assert own.loc[JF, "last"].median() > 0.03


@pytest.mark.parametrize("steps", SIZES)
@pytest.mark.parametrize("activation", [torch.tanh, lambda u: u])
def test_the_exact_hypergradient_is_that_of_finite_differences(
    activation, steps
):
    equation, theta = theory.network(activation, *SIZES[steps], seed=1)
    find = partial(theory.exact_root, theory.ADJOINT, equation)
    root, step = find(), 1e-5
    J = jacobian_at(equation, root.z).squeeze()
    assert relative(J.T, J) > 0.1
    found = hypergradient(equation, theta, root, theory.exact).grads[0]
    for i in range(2):
        values = []
        for move in step, -2 * step:
            with torch.no_grad():
                theta[0][i] += move
            values.append(float(equation.loss(find().z)))
        with torch.no_grad():
            theta[0][i] += step
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(float(found[i]), rel=1e-6)


def test_span_counts_dimensions():
    places = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1e-9, 0]])
    assert theory.span(list(places.double())) == 2


def test_halves_tell_superlinear_from_linear():
    assert halves(0.1 ** np.arange(9)) == pytest.approx((0.1, 0.1))
    early, late = halves(0.1 ** (np.arange(4.0) ** 2))
    assert late < early / 10
    assert np.isnan(halves([1.0, 2.0])).all()


def test_a_file_is_written_and_drawn(frame, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(theory, "measure", lambda draws: frame)
    path = tmp_path / "new" / "theory.csv"
    theory.main(["--output", str(path)])
    words = [str(path), "--output-dir", str(tmp_path), "--name", "drawn"]
    assert draw(["theory", *words]) == 0
    for name in "drawn.png", "drawn_q.png":
        assert imread(tmp_path / name).shape[1] == round(200 * 6.8)
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert (tmp_path / "drawn.md").read_text(encoding="utf-8") == text
    rows = table_of(text, "error of dF/dθ")
    assert len(rows) == 2 * 2 * (6 + 6)
    last = frame.query("problem == 'ridge' and steps == 'span' and "
                       "method == 'BFGS'").groupby("draw").last()
    middle = last["hypergradient_error"].median()
    assert rows[1]["error of dF/dθ"].startswith(f"{in_words(middle)} (")
    assert f"to {in_words(middle)} in" in text


def test_no_digit_of_rounding_is_written():
    assert [in_words(x) for x in (0.0, 3e-12, 2e-10, 4e-7, 2e-3, 0.37)] == [
        "< 1e-10", "< 1e-10", "1e-10", "1e-06", "2e-03", "4e-01"]
    early, late = halves([1.0, 1e-5, 3e-11, 7e-15])
    assert (early, late) == pytest.approx((1e-5, 1e-5))


def test_bad_input_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        theory.main(["--draws", "0", "--output", str(tmp_path / "x.csv")])
    assert "draws: must be" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    columns = {"direction": ["random"], "ratio": [1], "cosine": [1]}
    pd.DataFrame(columns).to_csv(other)
    assert draw(["theory", str(other), "--output-dir", str(tmp_path)]) == 2
    assert "0 CSV files" in capsys.readouterr().err
