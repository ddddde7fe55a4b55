"""Load the class of a candidate's file, and check what it says of itself."""
import inspect

from benchopt import BaseDataset, BaseSolver
from benchopt.utils.dynamic_modules import (
    _get_module_from_file, get_file_hash,
)
from benchopt.utils.parametrized_name_mixin import sanitize

from ..lifecycle import Lifecycle
from .invalid import Invalid

# What a class may be called -> what it is, and what it must inherit.
KINDS = {
    "Solver": (
        BaseSolver, Lifecycle,
        "benchmark_shine.bench.solver.ImplicitSolver",
    ),
    "Dataset": (
        BaseDataset, BaseDataset,
        "benchmark_shine.bench.dataset.ProblemDataset",
    ),
}


def load(source, suite):
    """Load the class Solver or Dataset of a file.

    Parameters
    ----------
    source : Source
    suite : Benchmark
        The clone, whose names are taken.

    Returns
    -------
    type

    Raises
    ------
    Invalid
        Where there is no such file or class, its base is another one, its
        name is missing, taken or cannot be used, or a library lacks.
    """
    _check_path(source.path)
    cls = _find_class(_run(source, suite), source, suite.benchmark_dir)
    kind = cls.__name__ if cls.__name__ in KINDS else "Solver"
    _check_complete(cls, source)
    place = source.place_of_name(kind, "name")
    _check_name(cls.name, place)
    theirs = suite.get_solvers() if issubclass(cls, BaseSolver) else (
        suite.get_datasets()
    )
    for other in theirs:
        if other._module_filename == source.path:
            continue
        if sanitize(other.name) == sanitize(cls.name):
            raise Invalid(
                f"name: {cls.name!r} is that of {other._module_filename}; "
                "choose another", place,
            )
    check_parameters(cls, source.place_of_name(kind, "parameters"))
    try:
        cls.is_installed(raise_on_not_installed=True)
    except ImportError as error:
        raise Invalid(str(error)) from None
    return cls


def _check_path(path):
    if path.is_dir():
        raise Invalid(
            "is a folder; name the file that has the class Solver or Dataset"
        )
    if not path.is_file():
        raise Invalid("there is no such file")
    if path.suffix != ".py":
        raise Invalid("the name of such a file ends in .py")


def _run(source, suite):
    try:
        return _get_module_from_file(source.path, suite.benchmark_dir)
    except (Exception, SystemExit) as error:  # the file's own, of any kind
        raise source.invalid(error) from error


def _find_class(module, source, suite):
    found = [name for name in KINDS if hasattr(module, name)]
    if len(found) == 2:
        raise Invalid("has a Solver and a Dataset; give each its own file")
    if not found:
        raise _no_class(module, source)
    name, = found
    cls, (_, base, told) = getattr(module, name), KINDS[name]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise Invalid(
            f"{name} must be a class that inherits from {told}",
            source.place_of_name(name) or source.place_of_function(cls),
        )
    # what benchopt's own loader notes
    cls._module_filename, cls._benchmark_dir = source.path, suite
    cls._file_hash = get_file_hash(source.path)
    return cls


def _no_class(module, source):
    for name, cls in vars(module).items():
        if not (isinstance(cls, type) and cls.__module__ == module.__name__):
            continue
        for kind, (base, *_) in KINDS.items():
            if issubclass(cls, base) or name.lower() == kind.lower():
                return Invalid(
                    f"class {name} must be called {kind}",
                    source.place_of_name(name),
                )
    return Invalid("has no class Solver or Dataset; see docs/add_a_solver.md")


def _check_complete(cls, source):
    missing = set(cls.__abstractmethods__)
    if not isinstance(cls.name, str):
        missing.add("name")
    if missing:
        kind = "Dataset" if issubclass(cls, BaseDataset) else "Solver"
        raise Invalid(
            f"class {kind} lacks {', '.join(sorted(missing))}",
            source.place_of_name(kind, "name"),
        )


def _check_name(name, place):
    """Refuse a name that benchopt's command line cannot say.

    It reads brackets as parameters and writes names into paths.  All else,
    a $ or a comma, is text.
    """
    bad = sorted({c for c in name if c in "[]/\\" or not c.isprintable()})
    if bad or name != name.strip() or not name:
        what = f"has {' '.join(map(repr, bad))}" if bad else (
            "begins or ends with a space" if name else "is empty"
        )
        raise Invalid(
            f"name: {name!r} {what}; benchopt could not find it by name, "
            "leave that out", place,
        )


def check_parameters(cls, place):
    """Insist that parameters are a dict of names and lists of values.

    Raises
    ------
    Invalid
        Where they are not.
    """
    own = cls.parameters
    remedy = 'write parameters = {"k": [5, 10]}, a list of values per name'
    if not isinstance(own, dict):
        raise Invalid(
            f"parameters: is a {type(own).__name__}, not a dict; {remedy}",
            place,
        )
    for name, values in own.items():
        if not isinstance(name, str):
            raise Invalid(f"parameters: {name!r} is no name; {remedy}", place)
        if not isinstance(values, (list, tuple)) or not values:
            raise Invalid(
                f"parameters: {name!r} has {values!r}, not a list of values; "
                f"{remedy}", place,
            )


def check_signature(function, names, place):
    """Insist that a function can be called with these arguments.

    Raises
    ------
    Invalid
        Where it takes others.
    """
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise Invalid(
            f"{function.__name__}: {error}; write "
            f"def {function.__name__}({', '.join(names)})", place,
        ) from None
