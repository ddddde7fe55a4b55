"""The pages: what they link to, what they name, what they say is printed."""
import io
import re
import subprocess
import sys
import tarfile
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from benchopt.benchmark import Benchmark
from matplotlib.mathtext import MathTextParser

from benchmark_shine import fingerprints
from benchmark_shine import root as finders
from benchmark_shine.adjoint import AdjointSystem
from benchmark_shine.bench.protocols import LABELS
from benchmark_shine.bench.solver import ImplicitSolver
from benchmark_shine.operators import Identity
from experiments.entries import read_record
from experiments.ledger import Ledger, digest, git, of_files, page

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def markdown_files():
    """List every Markdown file of the repository, new ones included."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT,
        capture_output=True, text=True, check=True,
    )
    return listed.stdout.split()


def prose(text):
    """Take the code blocks out of a page."""
    return FENCE.sub("", text)


def anchors(text):
    """List the fragments that GitHub gives to a page's headings."""
    found = []
    for title in re.findall(r"(?m)^#+ +(.*?) *$", prose(text)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        before = found.count(slug)
        found.append(f"{slug}-{before}" if before else slug)
    return found


# Links

def test_anchors_are_those_of_github():
    text = "# A `code`, and 2!\n```sh\n# no\n```\n## A\n## A\n### [x](y) é_z\n"
    assert anchors(text) == ["a-code-and-2", "a", "a-1", "x-é_z"]


@pytest.mark.parametrize("name", markdown_files())
def test_links_lead_somewhere(name):
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    for link in LINK.findall(prose(text)):
        # of the web, or pages of the repository there
        if re.match(r"[a-z]+:|\.\./\.\./actions/", link):
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target) if target else path
        assert there.exists(), f"{name}: {link}"
        if anchor and there.suffix == ".md":
            found = anchors(there.read_text(encoding="utf-8"))
            assert anchor in found, f"{name}: {link}"


# Mathematics

@pytest.mark.parametrize("name", markdown_files())
def test_formulas_can_be_read(name):
    text = re.sub(r"`[^`]*`", "", prose((ROOT / name).read_text("utf-8")))
    parse = MathTextParser("path").parse
    for formula in re.findall(r"\$\$?([^$]+)\$\$?", text):
        # what Markdown takes for something of its own, on GitHub
        bad = re.search(r"[|<>*\n]|\\[^a-zA-Z]|^\s|\s$", formula)
        assert not bad, formula
        parse(f"${formula}$")


# Methods

METHODS = ROOT / "docs" / "methods.md"


def section(text, title):
    """What a page says under a heading, to the next of any level."""
    part = re.split(rf"(?m)^#+ +.*{re.escape(title)}.*$", text)
    assert len(part) == 2, title
    return re.split(r"(?m)^#+ ", part[1])[0]


@lru_cache
def solver_classes():
    """Every solver of the suite, whether or not its library is here."""
    found = Benchmark(ROOT).get_solvers()
    return {cls.name: cls for cls in found if cls.name != "Template"}


def test_every_solver_has_its_section():
    text = METHODS.read_text(encoding="utf-8")
    files = {p.stem for p in (ROOT / "solvers").glob("*.py")}
    classes = solver_classes()
    assert len(classes) == len(files - {"template_solver"})
    usual = ImplicitSolver.parameters
    for name, cls in classes.items():
        stem = Path(sys.modules[cls.__module__].__file__).name
        own = section(text, f"`{name}`")
        table, = (row for row in text.splitlines()
                  if row.startswith("|") and f"`{name}`" in row.split("|")[1])
        assert f"(../solvers/{stem})" in table, name
        changed = LABELS.get(name) or {
            parameter for parameter, values in cls.parameters.items()
            if usual.get(parameter) != values
        }
        for parameter in changed:
            assert f"`{parameter}`" in own, (name, parameter)


def rows():
    """The overview: cells of a method's row, by its name."""
    for line in section(METHODS.read_text("utf-8"), "Overview").splitlines():
        name, *cells = (cell.strip() for cell in line.split("|")[1:-1] or "?")
        if name.startswith("`"):
            yield name.strip("`"), cells


@lru_cache
def problems():
    """A bi-level problem and a network, by the columns of the overview."""
    datasets = {cls.name: cls for cls in Benchmark(ROOT).get_datasets()}
    instances = {
        "bilevel": datasets["simulated"].get_instance(
            n_samples=40, n_features=8
        ),
        "networks": datasets["digits"].get_instance(width=8),
    }
    return {
        where: data.get_data()["problem"] for where, data in instances.items()
    }


COUNTED = {
    (name, where): int(count)
    for name, (*_, bilevel, networks) in rows()
    for where, count in (("bilevel", bilevel), ("networks", networks))
    if count.isdigit() and not name.startswith(
        ("Unrolled", "jaxopt", "Reversible")
    )
}


def instance_of(name):
    """The solver of a row, as ``Phantom[form=unrolled]``."""
    base, _, settings = name.rstrip("]").partition("[")
    return solver_classes()[base].get_instance(**dict(
        pair.split("=") for pair in settings.split(",") if pair
    ))


@pytest.mark.parametrize("name, where", COUNTED)
def test_products_are_those_of_the_overview(name, where):
    d = 20
    M = torch.randn(d, d, dtype=torch.float64)
    M = torch.eye(d, dtype=torch.float64) + 0.1 * M @ M.T / d
    shape = (d,) if where == "bilevel" else (1, d)
    calls = []

    def vjp(v):
        calls.append(v)
        return v @ M

    system = AdjointSystem(
        vjp, torch.randn(shape, dtype=torch.float64), Identity(),
        torch.randn(shape, dtype=torch.float64),
        torch.randn(shape, dtype=torch.float64)
        if where == "bilevel" else None, 0.0, torch.full_like(M[0], 0.5),
    )
    solver = instance_of(name)
    solver.method(problems()[where], 5).adjoint(system)
    assert len(calls) == COUNTED[name, where]


def test_where_a_method_runs():
    for name, (*_, bilevel, networks) in rows():
        solver = instance_of(name)
        for problem, count in zip(problems().values(), (bilevel, networks)):
            skipped, _ = solver.skip(problem, 5, 1)
            assert skipped == (count == "–"), (name, problem)


def test_every_finder_has_its_row():
    text = METHODS.read_text(encoding="utf-8")
    for name in set(finders.__all__) - {
        "LBFGSInverse", "Root", "Opa", "loss_gradient",
    }:
        stem = sys.modules[getattr(finders, name).__module__].__name__
        assert f"`{name}`" in text
        path = stem.rpartition(".")[2]
        assert f"(../benchmark_shine/root/{path}.py)" in text, name


# The results

RESULTS = ROOT / "results"
RECORD, BOOK = read_record(), Ledger.read(RESULTS)
FILES = {
    name: found for name, (found, _) in of_files(RECORD, BOOK).items()
}


def test_the_page_of_the_results_is_that_of_the_files():
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert page(RECORD, BOOK) in text, (
        "stale: run python -m experiments.record --page")


@pytest.mark.parametrize("name", FILES)
def test_a_result_file_is_of_the_package_of_the_record(name):
    known = {BOOK.package, RECORD.older.get(name)}
    assert FILES[name] in known


def test_older_files_are_there():
    assert set(RECORD.older) <= set(FILES)


@pytest.mark.parametrize("said", sorted({BOOK.package, *FILES.values()}))
def test_a_fingerprint_is_that_of_its_commit(said, tmp_path, monkeypatch):
    archive = git("archive", BOOK.commits[said], "benchmark_shine")
    if archive is None:
        pytest.skip(f"{BOOK.commits[said]} is not in this clone")
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        package.extractall(tmp_path, filter="data")
    file = tmp_path / "benchmark_shine" / "fingerprints.py"
    monkeypatch.setattr(fingerprints, "__file__", str(file))
    assert fingerprints.fingerprint() == said


@pytest.mark.parametrize("drawing", RECORD.drawn, ids=lambda d: d.figures)
def test_a_drawing_is_of_the_files_that_are_there(drawing):
    now = digest(drawing)
    if now is None:
        pytest.skip("its files have not been measured")
    assert BOOK.drawn.get(drawing.figures) == now, (
        "stale: run python -m experiments.record --draw")
