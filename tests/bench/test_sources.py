"""Which sources stand behind a solver, and what changes its fingerprint."""
import importlib
import os
import sys

import pytest

from benchmark_shine.bench.sources import solver_fingerprint, sources

FILES = {
    "solver.py": "import numpy\nfrom benchmark_shine.adjoint import Shine\n"
                 "from mine.part import f\nfrom .neighbour import g\n",
    "neighbour.py": "import alone\n",
    "unused.py": "",
    "alone.py": "import json\n",
    "lazy.py": "",
    "mine/__init__.py": "",
    "mine/part.py": "from . import data\nfrom .deep.er import h\n"
                    "def f():\n    import lazy\n",
    "mine/data.py": "",
    "mine/unused.py": "",
    "mine/deep/__init__.py": "",
    "mine/deep/er.py": "from ..upper import *\n",
    "mine/upper.py": "",
    "site-packages/installed/__init__.py": "",
}
BEHIND = {
    "": "solver.py", ".neighbour": "neighbour.py", "alone": "alone.py",
    "lazy": "lazy.py", "mine": "mine/__init__.py",
    "mine.part": "mine/part.py", "mine.data": "mine/data.py",
    "mine.deep": "mine/deep/__init__.py", "mine.deep.er": "mine/deep/er.py",
    "mine.upper": "mine/upper.py",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def fingerprint(folder):
    solver_fingerprint.cache_clear()
    return solver_fingerprint(str(folder / "solver.py"))


def test_sources_are_what_may_be_edited(folder):
    assert sources(folder / "solver.py") == {
        name: folder / path for name, path in BEHIND.items()
    }
    assert "mine" not in sys.modules  # nothing was imported for it


@pytest.mark.parametrize("path", BEHIND.values())
def test_an_edit_of_any_source_is_another_solver(path, folder):
    before = fingerprint(folder)
    assert fingerprint(folder) == before and len(before) == 12
    with (folder / path).open("a") as file:
        file.write("# edited\n")
    assert fingerprint(folder) != before


def test_what_is_not_imported_does_not_count(folder):
    before = fingerprint(folder)
    for path in "unused.py", "mine/unused.py":
        (folder / path).write_text("edited = True\n")
    assert fingerprint(folder) == before


def test_the_place_does_not_count(folder, tmp_path_factory, monkeypatch):
    before = fingerprint(folder)
    other = tmp_path_factory.mktemp("other") / "place"
    os.rename(folder, other)
    monkeypatch.syspath_prepend(other)
    importlib.invalidate_caches()
    assert fingerprint(other) == before


@pytest.mark.parametrize("line", [
    "import no_such_module", "import installed", "from .nobody import f",
    "import mine.nobody", "this is no Python", "import a..b",
])
def test_imports_that_lead_nowhere_are_left_out(line, folder):
    (folder / "solver.py").write_text(f"{line}\n")
    found = sources(folder / "solver.py")
    assert set(found) <= {"", "mine"}


def test_circles_end(folder):
    (folder / "alone.py").write_text("import lazy\n")
    (folder / "lazy.py").write_text("import alone\n")
    assert set(sources(folder / "lazy.py")) == {"", "alone", "lazy"}


def test_what_is_loaded_counts_not_what_was_edited_since(folder):
    before = fingerprint(folder)
    (folder / "alone.py").write_text("edited = True\n")
    assert solver_fingerprint(str(folder / "solver.py")) == before
