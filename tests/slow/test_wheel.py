"""The wheel, alone in an environment that has torch and nothing else."""
import json
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

# Each module of the installed package: empty, or why it cannot be imported.
IMPORT_ALL = """
import importlib, json, pkgutil
import benchmark_shine
found = {}
for module in pkgutil.walk_packages(
        benchmark_shine.__path__, "benchmark_shine.", lambda name: None):
    try:
        importlib.import_module(module.name)
        found[module.name] = ""
    except ImportError as error:
        found[module.name] = str(error)
print(json.dumps(found))
"""
USE = """
import torch
from benchmark_shine import Broyden, Equation, Shine, attach
x = torch.tensor([[0.1, 0.2]], dtype=torch.float64, requires_grad=True)
g = lambda z: z - x
equation = Equation(g, torch.sum, torch.zeros(1, 2, dtype=torch.float64))
root = Broyden(5)(equation, atol=1e-9)
attach(g, root, Shine()).sum().backward()
assert torch.allclose(x.grad, torch.ones_like(x)), x.grad
"""


def needed(name):
    """Name a library and all that it needs here."""
    names = {name}
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(
                {"extra": ""}):
            names |= needed(requirement.name)
    return names


def link(name, folder):
    """Show an installed library in another folder of libraries."""
    library = distribution(name)
    for top in {file.parts[0] for file in library.files} - {".."}:
        if not (folder / top).exists():
            (folder / top).symlink_to(library.locate_file(top))


@pytest.fixture(scope="module")
def python(root_dir, tmp_path_factory):
    """The interpreter of an environment with the wheel, torch and numpy."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building leaves a folder behind
    shutil.copytree(root_dir / "benchmark_shine", source / "benchmark_shine")
    for name in "pyproject.toml", "README.md", "LICENSE":
        shutil.copy(root_dir / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "wheel", source,
         "--no-deps", "--wheel-dir", folder], check=True,
    )
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    wheel, = folder.glob("*.whl")
    subprocess.run(
        [python, "-m", "pip", "--quiet", "install", "--no-deps", wheel],
        check=True,
    )
    site, = (folder / "env").glob("lib/python3*/site-packages")
    for name in needed("torch") | {"numpy"}:
        link(name, site)
    return python


def run(python, *words):
    """Run Python far from the checkout."""
    return subprocess.run(
        [python, "-I", *words], capture_output=True, text=True,
        cwd=Path(python).parent,
    )


def test_the_library_works_with_torch_alone(python):
    done = run(python, "-W", "error", "-c", USE)
    assert done.returncode == 0, done.stderr


def test_every_module_works_or_names_its_extra(python):
    found = json.loads(run(python, "-c", IMPORT_ALL).stdout)
    failed = {name: why for name, why in found.items() if why}
    wings = {name.split(".")[1] for name in failed}
    assert wings == {"bench", "data", "rivals", "solver"}
    for name, why in failed.items():
        extra = name.split(".")[1].replace("solver", "bench")
        assert f"pip install 'benchmark_shine[{extra}]'" in why


def test_the_door_names_its_extra(python):
    done = run(python, "-m", "benchmark_shine.bench.validate", "any.py")
    assert done.returncode
    *_, last = done.stderr.splitlines()
    assert "pip install 'benchmark_shine[bench]'" in last
