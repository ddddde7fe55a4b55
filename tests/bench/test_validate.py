"""The door for new solvers: the checks, the lines, the page, the race."""
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
from benchmark_shine.bench.door import race, solvers
from benchmark_shine.bench.door.files import load
from benchmark_shine.bench.door.invalid import Invalid, Source
from benchmark_shine.bench.door.solvers import PROBLEMS, Meter, check_truth
from benchmark_shine.bench.validate import main
from benchmark_shine.evaluate.dense import solve_densely

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "add_a_solver.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(
    r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL
))


@pytest.fixture(scope="module")
def suite():
    return Benchmark(ROOT)


@pytest.fixture
def written(tmp_path):
    """A function that writes a solver file and returns its Source."""
    def write(text, name="my_solver.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return Source(path.resolve())

    return write


def silent(line):
    """Take a line of the report."""


# The truth

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
EXACT = {"HOAG": ("ridge", "logistic", "network"), "torchdeq": ("network",)}


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_solver_of_the_suite_passes(path, suite, monkeypatch):
    try:
        cls = load(Source(path), suite)
    except Invalid as error:
        if "not installed: pip install" in str(error):
            pytest.skip(str(error))
        raise
    found, check_one = {}, solvers._check_one

    def kept(solver, problem, name, source):
        found[name] = check_one(solver, problem, name, source)
        return found[name]

    monkeypatch.setattr(solvers, "_check_one", kept)
    assert check_truth(cls, Source(path), silent)
    for name in EXACT.get(cls.name, ()):
        assert found[name].q_error < 1e-6
        assert found[name].grad_error < 1e-6
        assert found[name].cosine > 1 - 1e-9
    if cls.name == "Jacobian-Free":
        assert found["ridge"].q_error > 1


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


# Mistakes, and their lines

FINE = """
from dataclasses import replace

import numpy as np
import torch
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    name = "Short"

    def make_adjoint(self):
        def adjoint(system):
            q = system.inverse.T @ system.rhs
            return q

        return adjoint
"""


def ends(end):
    """A solver whose adjoint ends with other lines, from line 15 on."""
    return FINE.replace("return q", end.replace("\n", "\n" + " " * 12))


def said(**names):
    """A solver whose class says something else of itself, from line 10."""
    own = "\n    ".join(f"{name} = {value}" for name, value in names.items())
    return FINE.replace('name = "Short"', own)


def told(change):
    """A solver that reports its steps otherwise, from line 19 on."""
    return FINE + f"""
    def bilevel(self, problem, n_outer):
        method = super().bilevel(problem, n_outer)

        def outer_step(*given):
            step = method.outer_step(*given)
            return replace(step, {change})
        return replace(method, outer_step=outer_step)
"""


# Name -> file, the line of it that is named, what is said.
MISTAKES = {
    "empty": ("", None, "one class, called Solver or Dataset; see docs"),
    "syntax": ("\nclass Solver(\n", 2, r"SyntaxError: '\(' was never"),
    "raises": ("\nraise OSError('a\\nb')\n", 2, "OSError: a b; --traceback"),
    "library": ("import no_such\n", 1, "no_such'; pip install no_such,"),
    "module": (FINE.replace("shine.solver", "shine.solvers"), 6,
               "did you mean 'benchmark_shine.solver'?"),
    "import": (FINE.replace("import Implicit", "import Implict"), 6,
               "did you mean 'ImplicitSolver'?"),
    "exit": ("import sys\nsys.exit()\n", 2, "ends Python .*; raise"),
    "base": (FINE.replace("(ImplicitSolver)", ""), 9,
             "inherits from benchmark_shine.solver.ImplicitSolver"),
    "both": (FINE + "\n\nclass Dataset:\n    pass\n", None, "one class, c"),
    "nameless": (said(other=1), 9, "class Solver lacks name"),
    "taken": (said(name="'hoag'"), 10, "that of .*solvers/hoag.py; choose"),
    "brackets": (said(name="'Mine [a]'"), 10, r"'Mine \[a\]' has one"),
    "value": (said(name="'A'", parameters="{'k': 3}"), 11,
              "'k' has 3, not a list of values; write"),
    "lost": (said(name="'A'", parameters="{'k': [1]}"), 11,
             r"begin with \*\*\w+Solver.parameters"),
    "optional": (said(name="'A'", library="'no_such'"), None,
                 "A: not installed: pip install no_such"),
    "argument": (FINE.replace("(self)", "(self, system)"), 12,
                 r"write def make_adjoint\(self\)"),
    "no adjoint": (FINE.replace("        return adjoint\n", ""), 12,
                   "returns NoneType, .*; end it with `return adj"),
    "no return": (ends("q = q"), 13, "returns None; .*`return q`"),
    "array": (ends("return q.numpy()"), 13, "a ndarray, not a tensor"),
    "single": (ends("return q.float()"), 13, r"; return q.to\(system.rhs\)"),
    "column": (ends("return q[:, None]"), 13,
               r"shape \(24, 1\), not \(24,\) .*; return q.reshape"),
    "turned": (ends("return q.T if q.ndim > 1 else q"), 13,
               r"on network: q has shape \(12, 8\), .*; return q.T"),
    "short": (ends("return q[:3]"), 13, "one entry for each"),
    "nan": (ends("return q * torch.nan"), 13, "q is not finite though"),
    "rhs": (ends("system.rhs.mul_(2)\nreturn q"), 13, "changes system.rhs in"),
    "memory": (ends("system.z.numpy()[:] = 0\nreturn q"), 13,
               "changes system.z in place"),
    "misspelt": (ends("return system.inverze.T @ q"), 15, "mean 'inverse'?"),
    "first q": (ends("return q + system.q0"), 15, "as system.q0 is before"),
    "graph": (ends("q.sum().backward()\nreturn q"), 15, "use system.vjp"),
    "batch": (ends("return q @ system.rhs * q"), 15, "on network: .*B, d"),
    "quits": (ends("exit()"), 15, "on ridge: ends Python"),
    "gradients": (told("grads=step.grads * 2"), 19,
                  "2 gradients for 1 tensors in theta"),
    "z": (told("z=step.z.float()"), 19, "z is torch.float32 of .*, not"),
    "n_g": (told("n_g=1"), 19, r"reports 1 evaluations of g and 0 products "
            r"with Jᵀ at outer step 1; they are \d+ and 0: count with"),
    "nowhere": (FINE.replace("def adjoint(system)", "raise ValueError('no')"
                             "\n        def adjoint(system)"), 12,
                "is for no problem; no"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line(name, written, capsys):
    text, line, message = MISTAKES[name]
    path = written(text).path
    assert main([str(path)]) == 1
    told = capsys.readouterr().err
    place = f", line {line}" if line else ""
    assert re.fullmatch(
        f"invalid: {re.escape(str(path))}{place}: .*\n", told
    ), told
    assert re.search(message, told), told


def test_the_traceback_is_shown_on_demand(written, capsys):
    path = written(ends("raise KeyError('k')")).path
    assert main([str(path), "--traceback"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback") and "in adjoint\n" in told
    assert told.splitlines()[-1].startswith(f"invalid: {path}, line 15: ")


def test_a_line_of_a_package_behind_the_file(tmp_path, written, monkeypatch):
    package = tmp_path / "my package" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .core import Solver\n")
    (package / "core.py").write_text(ends("return system.rsh"))
    monkeypatch.syspath_prepend(package.parent)
    source = written("from my_package import Solver\n")
    cls = load(source, Benchmark(ROOT))
    assert cls.name == "Short"
    with pytest.raises(Invalid, match="did you mean 'rhs'") as caught:
        check_truth(cls, source, silent)
    assert caught.value.place == "core.py line 15"


@pytest.mark.parametrize("name", ["gone.py", ".", "notes.txt"])
def test_a_path_that_is_no_such_file(name, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("class Solver")
    assert main([str(tmp_path / name)]) == 1
    assert "there is no such file, or" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seeds", "--n-outer"])
def test_options_are_checked_first(option, capsys):
    assert main(["gone.py", option, "0"]) == 1
    assert f"{option}: must be" in capsys.readouterr().err


def test_without_a_clone_or_benchopt_it_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(door, "ROOT", tmp_path)
    assert main(["my_solver.py"]) == 2
    assert re.fullmatch(".*: needs a clone .*\n", capsys.readouterr().err)
    monkeypatch.setitem(sys.modules, "benchopt", None)
    assert main(["my_solver.py"]) == 2
    assert r"pip install 'benchmark_shine[bench]'" in capsys.readouterr().err


# What is no mistake

def test_a_method_with_nothing_to_compare(written, suite, monkeypatch):
    # nobody sees what it evaluates, and it has no q
    source, lines = written(told("q=None, grads=None, n_g=0, n_vjp=0")), []
    monkeypatch.setattr(Meter, "n_g", 0)
    monkeypatch.setattr(Meter, "n_vjp", 0)
    monkeypatch.setattr(solvers, "N_CHECKED", 1)
    assert check_truth(load(source, suite), source, lines.append) == set(
        PROBLEMS)
    row, = (line for line in lines if line.startswith("  ridge"))
    assert row.split() == ["ridge", "–", "–", "–", "0", "0", "not", "seen"]


def test_each_setting_is_compared(written, suite):
    source, lines = written(said(
        name="'$ x, y'",
        parameters="{**ImplicitSolver.parameters, 'k': [1, 2]}",
    )), []
    check_truth(load(source, suite), source, lines.append)
    assert [line for line in lines if "$" in line] == [
        "  $ x, y", "  $ x, y[k=2]"
    ]
    assert sum(line.startswith("  network") for line in lines) == 2


# benchopt's checks, the race and the page

def test_a_fault_that_only_benchopt_finds(written):
    source = written(said(name="'a/b'"))
    with pytest.raises(Invalid, match="checks fail: FAILED .*'/'") as caught:
        race.check_by_benchopt(source.path, "solver", ROOT)
    assert len(caught.value.detail.splitlines()) > 3


def test_a_solver_that_leaves_no_row(written, suite, monkeypatch, tmp_path):
    # it gets through on the small problems, and fails in the race
    source = written(ends("[][len(system.rhs) - 24]\nreturn q"))
    monkeypatch.setattr(race, "OPPONENTS", ("Jacobian-Free",))
    with pytest.raises(Invalid, match="no row of it: IndexError") as caught:
        race.run_race(
            ("breast_cancer[seed={seeds}]", 1, 0), source,
            load(source, suite), 1, None, tmp_path, ROOT,
        )
    assert caught.value.place == "line 15"


def test_templates_are_not_run_by_themselves(suite):
    for cls in *suite.get_solvers(), *suite.get_datasets():
        assert cls.name.lower() != "template"


ROW = r"(?m)^ +(\w+)((?: +[\d.e+-]+){3}) +(\d+) +(\d+)  true$"


def test_the_page_has_a_competitor_of_twenty_lines(written, suite):
    source, lines = written(EXAMPLES["my_solver.py"]), []
    assert EXAMPLES["my_solver.py"].count("\n") <= 20
    found = check_truth(load(source, suite), source, lines.append)
    assert found == set(PROBLEMS)
    said, found = (re.findall(ROW, text) for text in (PAGE, "\n".join(lines)))
    assert len(said) == len(PROBLEMS)
    for (name, errors, n_g, n_vjp), row in zip(said, found, strict=True):
        assert row[:2] == (name, errors) and row[3] == n_vjp
        assert 0.5 < int(row[2]) / int(n_g) < 2  # rounding decides


def test_the_page_has_a_penalty_method(written, suite):
    source, lines = written(EXAMPLES["two_roots.py"]), []
    cls = load(source, suite)
    assert check_truth(cls, source, lines.append) == {"ridge", "logistic"}
    for _, errors, n_g, n_vjp in re.findall(ROW, "\n".join(lines)):
        assert float(errors.split()[1]) < 1e-2
        assert int(n_vjp) == 0 < int(n_g)


SHORT = ["--seeds", "1", "--n-outer", "2", "--results", "rows"]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_command_whatever_the_terminal(encoding, tmp_path):
    """In a folder with a space and an accent, under -OO."""
    folder = tmp_path / "mon été"
    folder.mkdir()
    (folder / "my solver.py").write_text(EXAMPLES["my_solver.py"])
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "benchmark_shine.bench.validate",
         "my solver.py", *SHORT], cwd=folder, capture_output=True,
        encoding=encoding, env=os.environ | {
            "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding,
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "Checks of benchopt: passed" in done.stdout
    assert re.search(r"^valid: my solver.py \(\d+ s\)$", done.stdout, re.M)
    for name in "Five-steps", *race.OPPONENTS:
        rows = re.findall(rf"^\| {name} +\|", done.stdout, re.M)
        assert len(rows) == len(race.RACES)
    assert {path.name for path in folder.iterdir()} == {"my solver.py", "rows"}
    assert {path.name for path in (folder / "rows").iterdir()} == {
        "digits_multinomial.parquet", "digits.parquet"
    }
