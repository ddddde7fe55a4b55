"""The door for data sets and their problems: claims, lines, the page."""
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from benchopt.benchmark import Benchmark

from benchmark_shine.bench.door import problems
from benchmark_shine.bench.door.files import load
from benchmark_shine.bench.door.invalid import Invalid, Source
from benchmark_shine.bench.door.solvers import PROBLEMS
from benchmark_shine.bench.validate import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "add_a_problem.md").read_text(encoding="utf-8")
FINE, = re.findall(
    r"<!-- file: perceptron.py -->\n```python\n(.*?)```", PAGE, re.DOTALL
)
NOWHERE = Source(Path("/nowhere.py"))


@pytest.fixture(scope="module")
def suite():
    return Benchmark(ROOT)


def told(source, suite):
    """The report of a data set that passes."""
    lines = []
    exact, = (cls for cls in suite.get_solvers() if cls.name == "HOAG")
    problems.check_data(
        load(source, suite), source, exact.get_instance(), lines.append
    )
    return lines


def test_the_page_shows_what_is_printed(tmp_path, suite):
    path = tmp_path / "perceptron.py"
    path.write_text(FINE)
    number = r"\d+e[-+]\d+|\d+\.\d+"  # others on another processor
    found = re.sub(number, "#", "\n    ".join(told(Source(path), suite)))
    assert found in re.sub(number, "#", PAGE)


@pytest.mark.parametrize("name", [
    "template_dataset", "simulated", "breast_cancer", "digits_multinomial",
    "digits", "hyper_cleaning", "quadratic", "text",
])
def test_bundled_data_sets_pass(name, suite):
    lines = told(Source(ROOT / "datasets" / f"{name}.py"), suite)
    assert lines[-2] == "  seeds: one problem a seed"
    assert lines[-1].startswith("  three outer steps of HOAG: F from ")


# Name -> what is exchanged in the page's file, the line that is named by what
# it says (of the changed file), what is said.
MISTAKES = {
    "energy": ("square() / 2", "square()", "def energy(z)",
               "energy: g is not its gradient; look for a sign"),
    "its gradient": ("slope + fixed * z", "slope", "def energy(z)",
                     r"gradient that it returns is not g; return \(energy"),
    "g": ("(z, self.train) + g_", "(z.detach(), self.train) + g_",
          "def g(z)", "g: its derivative in z is not that of its values"),
    "loss": ("fit(z, self.val", "fit(z.detach(), self.val", "def loss",
             "loss: cannot be differentiated again and again; leave"),
    "no number": ("self.validation)\n", "self.validation).expand(2)\n",
                  "def loss", r"loss: is .* \(2,\), not .* \(\); sum a"),
    "forgotten": ("return self.fit(z, self.v", "self.fit(z, self.v",
                  "def loss", "loss: returns NoneType, not a tensor; end"),
    "g_theta": ("energy, g_theta, k", "energy, lambda z: 2 * g_theta(z), k",
                "energy, lambda", "g_theta: its derivative in theta is not"),
    "energy_theta": ("@ z / 2\n\n", "@ z\n\n", "def energy_theta",
                     "energy_theta: its derivative in theta is not that of"),
    "constant": ("return decay() * z", "return fixed * z", "def draw",
                 r"theta\[0\]: neither g nor the loss depends on it; close"),
    "once": ("return decay() * z", "return once * z", "def g(z)",
             "g: cannot be differentiated again .* compute what depends"),
    "diagonal": ("diagonal=fixed", "diagonal=2 * fixed", "def draw",
                 "diagonal: another theta changes J by something else; leave"),
    "in place": ("def g(z):", "def g(z):\n            z.add_(1)",
                 "def g(z)", "g: changes z in place; work on a copy"),
    "nan": ("X / X.std(axis=0)", "X * float('nan')", "def g(z)",
            "g: is not finite near the start; look for NaN in the data"),
    "random": ("generator=generator, ", "", "def build",
               "start.. and draw.. other values each time; draw every"),
    "no effect": ("self.seed, 0.5)\n        return Perceptron(*parts, "
                  "self.n_hidden, self.seed)", "0, 0.5)\n        return "
                  "Perceptron(*parts, self.n_hidden, 0)", "def build",
                  "seed: has no effect; give it to the split"),
    "no tuple": ("return (theta,), 0.1", "return theta, 0.1", "def start",
                 r"theta is a Tensor, not a tuple of tensors; write \(theta,"),
    "no problem": ("return Perceptron", "Perceptron", "def build",
                   r"build.* returns NoneType, not a problem"),
    "no energy": ("z, energy, g", "z, None, g", "def draw",
                  "the Equation lacks energy, which L-BFGS minimises"),
    "no equation": ("return Equation", "Equation", "def draw",
                    "draw: returns NoneType, not an Equation; end it with"),
    "abstract": ("def draw(", "def drow(", "return Perceptron",
                 "abstract class Perceptron .* draw.*; write "),
    "base": ("(ProblemDataset)", "", "class Dataset",
             "inherits from benchmark_shine.bench.dataset.ProblemDataset"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line(name, tmp_path, capsys):
    before, after, named, message = MISTAKES[name]
    assert FINE.count(before) == 1
    text = FINE.replace(before, after)
    if "once" in after:
        text = text.replace(
            "        fixed =", "        once = decay() + 0\n        fixed ="
        )
    path = tmp_path / "perceptron.py"
    path.write_text(text)
    assert main([str(path)]) == 1
    said = capsys.readouterr().err
    line, = (n for n, words in enumerate(text.splitlines(), start=1)
             if named in words)
    assert re.fullmatch(
        rf"invalid: {re.escape(str(path))}, line {line}: .*\n", said
    ), said
    assert re.search(message, said), said


def changed(**change):
    """The network of the door with an equation that claims something else."""
    problem = PROBLEMS["network"]()
    draw = problem.draw

    def other(theta, z, k):
        equation = draw(theta, z, k)
        return replace(equation, **{
            name: make(equation) for name, make in change.items()
        })

    problem.draw = other
    return problem


@pytest.mark.parametrize("change, message", [
    ({}, None),
    ({"theta_parts": lambda e: e.theta_parts[:1]},
     "theta_parts: g depends on theta in other ways too"),
    ({"restrict": lambda e: lambda i: e.restrict(i.flip(0))},
     "restrict: is not g of those samples alone"),
    ({"energy": lambda e: lambda z: (float(z.sum()), e.g(z))},
     "energy: g is not its gradient"),
    ({"start": lambda e: e.start[:, :3]}, r"start is .*\(8, 3\), z of"),
])
def test_claims_of_a_batch(change, message):
    with nullcontext() if message is None else pytest.raises(
            Invalid, match=message):
        problems.check_claims(changed(**change), NOWHERE, lambda line: None)
