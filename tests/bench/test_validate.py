"""The door for new solvers: the page, the templates, the one command."""
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from benchopt.benchmark import Benchmark

from benchmark_shine.bench import validate as door
from benchmark_shine.bench.validate import (
    PROBLEMS, RACES, Invalid, Meter, benchopt_checks, check_truth, load, main,
)
from benchmark_shine.evaluate.dense import solve_densely

ROOT = Path(__file__).resolve().parents[2]

SHORT = '''
from dataclasses import replace

import torch
from benchmark_shine.bench.solver import ImplicitSolver


class Solver(ImplicitSolver):
    name = "Short"
'''
FINE = SHORT + '''
    def make_adjoint(self):
        return lambda system: system.rhs
'''


@pytest.fixture
def written(tmp_path):
    """A function that writes a solver file and returns its path."""
    def write(text, name="my_solver.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def page_example():
    page = (ROOT / "docs" / "add_a_solver.md").read_text()
    example, = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return example


# ------------------------------------------------------------ the truth


def leaves(problem):
    theta, z = problem.start()
    return tuple(t.requires_grad_() for t in theta), z


def test_dense_solution_of_ridge_is_the_closed_form():
    problem = PROBLEMS["ridge"]()
    theta, z = leaves(problem)
    found = solve_densely(problem.draw(theta, z, 1), theta, z)
    X, X_val = (
        part.X @ torch.eye(24, dtype=torch.float64)
        for part in (problem.train, problem.validation)
    )
    weights = theta[0].exp()[problem.groups]
    H = X.T @ X + torch.diag(weights)
    z = torch.linalg.solve(H, X.T @ problem.train.y)
    rhs = X_val.T @ (X_val @ z - problem.validation.y)
    q = torch.linalg.solve(H, rhs)
    each = -weights * z * q
    grads = torch.stack([each[problem.groups == i].sum() for i in range(4)])
    torch.testing.assert_close(found.z, z, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.q, q, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.grads[0], grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["logistic", "network"])
def test_dense_hypergradient_against_finite_differences(name):
    problem = PROBLEMS[name]()
    theta, z = leaves(problem)
    rng = np.random.default_rng(0)
    move = [torch.as_tensor(rng.standard_normal(t.shape)) for t in theta]

    def at(h):
        moved = tuple(
            (t.detach() + h * m).requires_grad_()
            for t, m in zip(theta, move)
        )
        equation = problem.draw(moved, z, 1)
        found = solve_densely(equation, moved, z)
        return float(equation.loss(found.z).detach()), found.grads

    _, grads = at(0)
    slope = sum(float((g * m).sum()) for g, m in zip(grads, move))
    h = 1e-5
    assert slope == pytest.approx(
        (at(h)[0] - at(-h)[0]) / (2 * h), rel=1e-6
    )


FILES = sorted((ROOT / "solvers").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_solver_of_the_suite_passes(path, monkeypatch):
    try:
        cls = load(path)
    except Invalid as error:
        if "not installed: pip install" in str(error):
            pytest.skip(str(error))
        raise
    found, compare = {}, door.compare

    def kept(solver, problem):
        found[type(problem).__name__] = compare(solver, problem)
        return found[type(problem).__name__]

    monkeypatch.setattr(door, "compare", kept)
    assert check_truth(cls, path, lambda line: None)
    exact = {"HOAG": {"Ridge", "Logistic", "SmallDEQ"},
             "torchdeq": {"SmallDEQ"}}
    for name in exact.get(cls.name, ()):
        assert found[name].q_error < 1e-6
        assert found[name].grad_error < 1e-6
        assert found[name].cosine > 1 - 1e-9
    if cls.name == "Jacobian-Free":
        assert found["Ridge"].q_error > 1


def test_the_meter_counts_what_is_done():
    problem = PROBLEMS["network"]()
    meter = Meter(problem)
    theta, z = leaves(problem)
    equation = problem.draw(theta, z, 1)
    with torch.no_grad():
        equation.g(z), equation.restrict(torch.tensor([2]))(z[2:3])
    assert (meter.n_g, meter.n_vjp) == (2, 0)
    z = z.requires_grad_()
    g = equation.g(z)
    for _ in range(3):
        torch.autograd.grad(g, z, torch.ones_like(g), retain_graph=True)
    assert (meter.n_g, meter.n_vjp) == (3, 3)
    problem = PROBLEMS["ridge"]()
    meter = Meter(problem)
    theta, z = leaves(problem)
    equation = problem.draw(theta, z, 1)
    equation.energy(z), equation.loss(z), equation.g_theta(z)
    assert (meter.n_g, meter.n_vjp) == (1, 0)


# ----------------------------------------------------- what is invalid


def body(adjoint, more=""):
    return SHORT + f'''
    def make_adjoint(self):
        def adjoint(system):
            {adjoint}
        return adjoint
{more}'''


def changed(change):
    return body("return system.rhs", f'''
    def steps(self):
        for step in super().steps():
            yield replace(step, {change})
''')


BAD = {
    "empty": ("", "has no class Solver"),
    "dataset": ("class Dataset:\n    pass\n", "has no class Solver"),
    "syntax": ("\nclass Solver(\n", r"line 2: SyntaxError: '\(' was never"),
    "raises": ("\nraise OSError('a\\nb')\n", "line 2: OSError: a b"),
    "library": ("import no_such_library\n",
                "line 1: ModuleNotFoundError: .*no_such_library"),
    "function": ("def Solver():\n    pass\n", "Solver must be a class"),
    "base": ("from benchopt import BaseSolver\n\n\n"
             "class Solver(BaseSolver):\n    name = 'Other'\n",
             "inherits from benchmark_shine.bench.solver.ImplicitSolver"),
    "abstract": (SHORT, "class Solver lacks make_adjoint"),
    "nameless": (FINE.replace('name = "Short"', "pass"),
                 "class Solver lacks name"),
    "taken": (FINE.replace("Short", "HOAG"),
              "name: 'HOAG' is that of .*solvers/hoag.py"),
    "optional": (FINE.replace(
        '"Short"', '"Short"\n    library = "no_such_library"'),
        "Short: not installed: pip install no_such_library"),
    "fails": (body("return system.inverse @ nothing"),
              "ridge: line 13: NameError: .*nothing"),
    "nan": (body("return system.rhs * torch.nan"),
            "ridge: q is not finite at outer step 1"),
    "infinite": (changed("value=float('inf')"),
                 "ridge: the loss is inf at outer step 1"),
    "wide": (body("return system.rhs.expand(2, *system.rhs.shape)"),
             r"ridge: .*q has shape \(2, 24\), not \(24,\)"),
    "narrow": (body("return system.rhs[:3]"),
               r"ridge: .*q has shape \(3,\), not \(24,\)"),
    "gradients": (changed("grads=step.grads and step.grads * 2"),
                  "ridge: 2 gradients for 1 tensors"),
    "n_g": (changed("n_g=step.n_g // 2"),
            r"ridge: reports \d+ evaluations of g and 0 products with Jᵀ at "
            r"outer step 1; they are \d+ and 0"),
    "n_vjp": (body("system.vjp(system.rhs)\n            return system.rhs", '''
    def steps(self):
        for step in super().steps():
            yield replace(step, n_vjp=0)
'''), "and 0 products with Jᵀ at outer step 1; they are .* and 1"),
    "still": (body("return system.rhs", '''
    def steps(self):
        yield next(super().steps())
'''), r"ridge: steps\(\) makes no outer step"),
    "parameters": (FINE.replace(
        '"Short"', '"Short"\n    parameters = {"k": [1]}'),
        r"ridge: AttributeError: .*begin with \*\*ImplicitSolver.parameters"),
    "nowhere": (SHORT + '''
    def make_adjoint(self):
        raise ValueError("not today")
''', "is left out of every problem"),
    "networks": (SHORT + '''
    def make_adjoint(self):
        raise ValueError("not today")

    def make_batched_adjoint(self, n_steps):
        return lambda system: system.rhs
''', "inherit NetworkSolver"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_in_one_line(name, written, capsys):
    text, message = BAD[name]
    path = written(text)
    assert main([str(path)]) == 1
    told = capsys.readouterr().err
    assert re.fullmatch(f"invalid: {re.escape(str(path))}: .*\n", told), told
    assert re.search(message, told), told


@pytest.mark.parametrize("name, message", [
    ("gone.py", "there is no such file"), (".", "is a folder"),
    ("notes.txt", "ends in .py"),
])
def test_a_path_that_is_no_solver_file(name, message, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("class Solver")
    assert main([str(tmp_path / name)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seeds", "--n-outer"])
def test_options_are_checked_first(option, capsys):
    assert main(["gone.py", option, "0"]) == 1
    assert f"{option}: must be" in capsys.readouterr().err


def test_a_method_with_nothing_to_compare_is_no_error(written, monkeypatch):
    # nobody sees what it evaluates, and it has no q
    text = changed("q=None, grads=None, n_g=0, n_vjp=0")
    path, lines = written(text), []
    monkeypatch.setattr(Meter, "n_g", 0)
    monkeypatch.setattr(Meter, "n_vjp", 0)
    monkeypatch.setattr(door, "N_CHECKED", 1)
    assert check_truth(load(path), path, lines.append) == set(PROBLEMS)
    rows = [line for line in lines if line.startswith("  ridge")]
    assert [row.split() for row in rows] == [
        ["ridge", "–", "–", "–", "0", "0", "not", "seen"]
    ]


def test_each_setting_is_compared(written):
    path, lines = written(FINE.replace('"Short"', '''"Short"
    parameters = {**ImplicitSolver.parameters, "k": [1, 2]}''')), []
    check_truth(load(path), path, lines.append)
    assert [line for line in lines if "Short" in line] == [
        "  Short", "  Short[k=2]"
    ]
    assert sum(line.startswith("  network") for line in lines) == 2


def test_a_package_is_a_file_of_one_line(tmp_path, written, monkeypatch):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("from .core import Solver\n")
    (package / "core.py").write_text(FINE)
    monkeypatch.syspath_prepend(tmp_path)
    path = written("from my_package import Solver\n")
    assert load(path).name == "Short"
    assert check_truth(load(path), path, lambda line: None)


def test_checks_of_benchopt_are_those_of_the_file(written):
    with pytest.raises(Invalid, match="checks fail\n +FAILED .*'/'"):
        benchopt_checks(written(FINE.replace("Short", "a/b")))


# ------------------------------------------------------------- the race


def test_a_solver_that_leaves_no_row_is_invalid(written, monkeypatch):
    # it gets through on the small problems, and fails in the race
    path = written(body(
        "assert len(system.rhs) == 24\n            return system.rhs"
    ))
    race = "breast_cancer", 1, 0
    monkeypatch.setattr(door, "OPPONENTS", ("Jacobian-Free",))
    with pytest.raises(Invalid, match="(?s)no row of it.*AssertionError"):
        door.run_race(race, path, load(path), 1, None, path.parent)


# ---------------------------------------------------- page and templates


def test_templates_are_not_run_by_themselves():
    suite = Benchmark(ROOT)
    for cls in *suite.get_solvers(), *suite.get_datasets():
        assert cls.name.lower() != "template"


def test_the_template_of_data_sets_makes_a_problem():
    cls, = Benchmark(ROOT).check_dataset_patterns(
        [str(ROOT / "datasets" / "template_dataset.py")], class_only=True
    )
    problem = cls.get_instance(n_groups=2).get_data()["problem"]
    theta, z = leaves(problem)
    assert theta[0].shape == (2,) and z.shape == (39,)
    g = problem.draw(theta, z, 1).g(z)
    assert g.shape == z.shape and bool(g.isfinite().all())


def test_the_page_has_a_competitor_of_twenty_lines(written):
    path = written(page_example())
    assert page_example().count("\n") <= 20
    lines = []
    assert check_truth(load(path), path, lines.append) == set(PROBLEMS)
    page = (ROOT / "docs" / "add_a_solver.md").read_text()
    row = r"(?m)^ +(\w+)((?: +[\d.e+-]+){5}) +true$"
    said, found = (
        {name: [float(word) for word in numbers.split()]
         for name, numbers in re.findall(row, text)}
        for text in (page, "\n".join(lines))
    )
    assert set(said) == set(found) == set(PROBLEMS)
    for name in PROBLEMS:
        np.testing.assert_allclose(found[name], said[name], rtol=0.1)


@pytest.mark.slow
def test_the_page_by_itself(tmp_path):
    """Its example, in an empty folder, by its command."""
    (tmp_path / "my_solver.py").write_text(page_example())
    done = subprocess.run(
        [sys.executable, "-m", "benchmark_shine.bench.validate",
         "my_solver.py", "--seeds", "2", "--n-outer", "3",
         "--results", "rows"],
        cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "Checks of benchopt: passed" in done.stdout
    assert re.search(r"^valid: my_solver.py \(\d+ s\)$", done.stdout, re.M)
    for name in "SHINE-scaled", *door.OPPONENTS:
        rows = re.findall(rf"^\| {name} +\|", done.stdout, re.M)
        assert len(rows) == len(RACES)
    names = {path.name for path in (tmp_path / "rows").iterdir()}
    assert names == {"digits_multinomial.parquet", "digits.parquet"}
    # nothing else was left behind, here or in the suite
    assert {path.name for path in tmp_path.iterdir()} == {
        "my_solver.py", "rows"
    }
