"""Who may import whom, read off the source."""
import ast
import sys

import pytest

# A module or folder of the package, and what it may import beside the
# standard library; a leading dot: of the package.
PACKAGE = {
    "__init__": "",
    "checks": "",
    "checkpoint": "torch .engine",
    "operators": "torch",
    "equation": "torch",
    "root": "torch torchdeq .checks .operators .equation .root",
    "adjoint": "torch .checks .operators",
    "implicit": "torch .adjoint .root",
    "single_loop": "torch .checks .engine .implicit",
    "libraries": "torch numpy sklearn threadpoolctl optuna jax jaxopt "
                 ".checks .engine .operators .problems .root",
    "outer": "torch .checks",
    "engine": "torch .equation .implicit .root",
    "unrolled": "torch .checks .engine .implicit",
    "memory": "torch",
    "problems": "torch numpy scipy .checks .equation .implicit .memory "
                ".problems .reference .root",
    "networks": "torch benchopt .checks .problems",
    "images": "torch numpy PIL pooch .checks",
    "limits": "",
    "workers": "torch click joblib .",
    "reference": "torch .adjoint .implicit .root",
    "simulate": "numpy scipy sklearn .checks",
    "data": "numpy sklearn .checks .problems",
    "inversion":
        "numpy pandas torch sklearn . .checks .data .implicit .problems "
        ".root",
    "progress": "tqdm",
    "deq_inversion":
        "pandas torch benchopt click . .adjoint .checks .engine .implicit "
        ".operators .problems .reference .root",
    "solver":
        "torch benchopt .adjoint .checkpoint .checks .engine .limits "
        ".operators .outer .progress .root .workers",
    "validate":
        "torch sklearn benchopt league .checks .data .images .implicit "
        ".networks .problems .reference .simulate .solver",
}
FOLDERS = {
    "solvers": "numpy .adjoint .checks .engine .libraries .operators .root "
               ".single_loop .solver .unrolled",
    "datasets": "numpy scipy sklearn torch pooch benchopt libsvmdata "
                ".checks .data .images .networks .problems .simulate",
    "plots": "benchopt traces",
}
OBJECTIVE = "torch benchopt joblib . .checks .engine .outer .root .workers"


def imports(path, package):
    """Names that a file imports, shortened as in the tables above.

    ``package`` is where the file lives within benchmark_shine, as a list of
    folders, None where it lives elsewhere.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.level:
                up = package[:len(package) - node.level + 1]
                names = [".".join(["benchmark_shine", *up, *names]).strip(".")]
        else:
            continue
        for name in names:
            top, *rest = name.split(".")
            if top == "benchmark_shine":
                yield "." + (rest[0] if rest else "")
            elif top not in sys.stdlib_module_names:
                yield top


def modules(root_dir):
    package = root_dir / "benchmark_shine"
    for path in sorted(package.rglob("*.py")):
        yield path, list(path.relative_to(package).with_suffix("").parts)


def test_the_package(root_dir):
    seen = set()
    for path, parts in modules(root_dir):
        seen.add(parts[0])
        allowed = PACKAGE[parts[0]].split()
        extra = set(imports(path, parts[:-1])) - set(allowed)
        assert not extra, f"{path} imports {sorted(extra)}"
    assert seen == set(PACKAGE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders(folder, root_dir):
    paths = list((root_dir / folder).glob("*.py"))
    assert paths
    for path in paths:
        extra = set(imports(path, None)) - set(FOLDERS[folder].split())
        assert not extra, f"{path} imports {sorted(extra)}"


def test_the_figures_need_result_files_only(root_dir):
    for path in (root_dir / "figures").glob("*.py"):
        for name in imports(path, None):
            assert name not in ("torch", "benchopt"), path
            assert not name.startswith("."), path


def test_the_objective(root_dir):
    found = set(imports(root_dir / "objective.py", None))
    assert found <= set(OBJECTIVE.split())


def test_imports_are_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import os, numpy.linalg\nfrom ..root.lbfgs import LBFGS\n"
        "from . import fingerprint\nfrom .design import Design\n"
        "def f():\n    from benchmark_shine.bench.solver import choose\n"
        "    import benchmark_shine\n"
    )
    assert set(imports(path, ["problems"])) == {
        "numpy", ".root", ".problems", ".solver", "."
    }


def test_autograd_is_bent_in_one_place_only(root_dir):
    # beside the product with a design matrix, which only needs Xᵀ, and the
    # parts of a network that are derived in theta only if someone asks
    bending = {
        path.name for path, _ in modules(root_dir)
        if "autograd.Function" in path.read_text()
    }
    assert bending == {"implicit.py", "design.py", "classifier.py"}


def test_nothing_swallows_keywords(root_dir):
    for path, _ in modules(root_dir):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg:
                # a subclass hands on what its base checks
                assert path.stem in ("linear", "deq", "mdeq")
                assert node.args.kwarg.arg == "settings"
