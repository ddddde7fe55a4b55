"""Who may import whom, read off the source."""
import ast
import sys

import pytest

# A module or wing of the package, from the ground up, and what it may import
# beside the standard library; a leading dot: of the package.
PACKAGE = {
    "checks": "",
    "precision": "torch",
    "extras": "",
    "fingerprints": "",
    "operators": "torch .precision",
    "equation": "torch",
    "root": "torch .checks .operators .equation .precision .root",
    "adjoint": "torch .checks .equation .operators .precision .root .adjoint",
    "implicit": "torch .adjoint .precision .root",
    "nn": "torch .adjoint .checks .equation .implicit .precision .root",
    "outer": "torch .checks .outer",
    "engine": "torch .equation .implicit .root",
    "loops": "torch .adjoint .checks .engine .equation .implicit .loops "
             ".precision .root",
    "data": "numpy scipy sklearn torch PIL pooch libsvmdata .checks .data "
            ".extras .fingerprints",
    "problems": "torch numpy scipy .checks .equation .problems .root",
    "evaluate": "torch numpy scipy .adjoint .evaluate .fingerprints "
                ".implicit .problems .root",
    "rivals": "torch numpy scipy sklearn threadpoolctl optuna jax jaxopt "
              "equinox lineax optimistix torchdeq .adjoint .checks .engine "
              ".extras .implicit .operators .outer .problems .rivals .root",
    "bench": "torch numpy sklearn tqdm click joblib benchopt yaml "
             ".adjoint .bench .checks .data .engine .equation .evaluate "
             ".extras .fingerprints .implicit .loops .operators .outer "
             ".precision .problems .root",
    "solver": ".bench",
    "__init__": ".adjoint .equation .implicit .root",
}
FOLDERS = {
    "solvers": "numpy .adjoint .bench .checks .engine .loops .operators "
               ".outer .rivals .root .solver",
    "datasets": "numpy scipy sklearn torch pooch benchopt libsvmdata "
                ".bench .checks .data .problems",
    "plots": "benchopt numpy",
    "experiments": "numpy pandas pyarrow yaml torch scipy sklearn benchopt "
                   "click matplotlib figures .adjoint .bench .checks .data "
                   ".engine .equation .evaluate .fingerprints .implicit "
                   ".operators .outer .precision .problems .root",
    "benchmark_utils": "benchopt joblib",
}
OBJECTIVE = (
    "torch benchopt .bench .checks .engine .evaluate .fingerprints .outer "
    ".root"
)


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
            if node.level and package is None:  # its neighbours
                continue
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
        if parts[0] != "bench":
            assert "benchopt" not in imports(path, parts[:-1]), path
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


def test_the_objective(root_dir):
    found = set(imports(root_dir / "objective.py", None))
    assert found <= set(OBJECTIVE.split())


def test_autograd_is_bent_in_one_place_only(root_dir):
    # beside the product with a design matrix, which only needs Xᵀ, and the
    # parts of a network that are derived in theta only if someone asks
    bending = {
        path.name for path, _ in modules(root_dir)
        if "autograd.Function" in path.read_text()
    }
    assert bending == {"implicit.py", "design.py", "functional.py"}


def test_nothing_swallows_keywords(root_dir):
    for path, _ in modules(root_dir):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg:
                if path.stem in ("precision", "plan", "sklearn"):
                    continue  # a wrapper hands on what it is given
                # a subclass hands on what its base checks
                assert path.parent.name == "problems", path
                assert node.args.kwarg.arg == "settings"
