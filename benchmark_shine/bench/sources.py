"""The sources behind one solver, and their fingerprint."""
import ast
import hashlib
import importlib.util
import sys
import sysconfig
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


@lru_cache(maxsize=None)
def solver_fingerprint(path):
    """Return a short hash of a solver's file and of what it imports.

    Covered are the modules that the file imports, directly or through other
    such modules, from outside the standard library, of site-packages and of
    this package: those that may be edited from run to run, such as an
    editable install or a folder of PYTHONPATH.

    Returns
    -------
    str
        First 12 hexadecimal digits of a SHA-256 over names and contents.
        It is taken once in a process, of the sources as first seen.
    """
    digest = hashlib.sha256()
    for name, file in sorted(sources(Path(path)).items()):
        content = file.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def sources(path):
    """Return the files behind a solver, as `solver_fingerprint` covers them.

    Imports are read from the sources, so that those inside of functions are
    seen before they are made.

    Returns
    -------
    dict of str to Path
        By the name of the module; the solver's own file is "".
    """
    found, waiting = {}, [("", path.resolve())]
    while waiting:
        name, file = waiting.pop()
        if name in found:
            continue
        found[name] = file
        if file.suffix == ".py":
            waiting += _imported(name, file)
    return found


def _imported(name, file):
    """Yield name and file of the modules that a file imports."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for level, names in _statements(file):
        for imported in names:
            if not level:
                yield from _modules(imported)
            elif not name:  # a solver's neighbour, see benchmark_utils
                near = file.parent / f"{imported.partition('.')[0]}.py"
                if near.exists():
                    yield f".{near.stem}", near
            else:
                parts = package.split(".")[:package.count(".") + 2 - level]
                yield from _modules(".".join([*parts, imported]))


def _statements(file):
    """Yield level and dotted names of each import of a file.

    ``from a import b`` may import the module a.b, which is named as well.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield 0, [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            yield node.level, [
                ".".join([*base, alias.name]) for alias in node.names
            ]


def _modules(name):
    """Yield the modules on the way to a dotted name that may be edited."""
    top, *rest = name.split(".")
    if top in sys.stdlib_module_names:
        return
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return
    while spec is not None:
        places = spec.submodule_search_locations
        file = spec.origin and Path(spec.origin).resolve()
        if file and file.is_file():
            if not _may_be_edited(file):
                return
            yield spec.name, file
        if not rest or places is None:
            return
        spec = PathFinder.find_spec(f"{spec.name}.{rest.pop(0)}", places)


def _may_be_edited(file):
    fixed = [PACKAGE, *map(Path, map(sysconfig.get_path, (
        "stdlib", "platstdlib", "purelib", "platlib",
    )))]
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return not installed and not any(
        file.is_relative_to(folder.resolve()) for folder in fixed
    )
