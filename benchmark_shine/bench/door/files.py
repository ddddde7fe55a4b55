"""Load the class of a candidate's file, and check what it says of itself."""
from benchopt import BaseDataset, BaseSolver
from benchopt.utils.dynamic_modules import (
    _get_module_from_file, get_file_hash,
)
from benchopt.utils.parametrized_name_mixin import sanitize

from ..lifecycle import Lifecycle
from .invalid import Invalid

# What a class must be called -> what it inherits, and what is told of that.
KINDS = {
    "Solver": (Lifecycle, "benchmark_shine.solver.ImplicitSolver"),
    "Dataset": (BaseDataset, "benchmark_shine.bench.dataset.ProblemDataset"),
}


def load(source, suite):
    """Load the class Solver or Dataset of a file.

    ``suite`` is the clone's `Benchmark`, whose names are taken.

    Raises
    ------
    Invalid
        Where there is no such file or class, its base is another one, its
        name is missing, taken or cannot be used, or a library lacks.
    """
    if not source.path.is_file() or source.path.suffix != ".py":
        raise Invalid("there is no such file, or its name does not end in .py")
    try:
        module = _get_module_from_file(source.path, suite.benchmark_dir)
    except (Exception, SystemExit) as error:  # the file's own, of any kind
        raise source.invalid(error) from error
    cls = _find_class(module, source)
    # what benchopt's own loader notes
    cls._module_filename, cls._benchmark_dir = source.path, suite.benchmark_dir
    cls._file_hash = get_file_hash(source.path)
    _check_name(cls, source, suite)
    check_parameters(
        cls, source.place_of_name(cls.__name__, "parameters"))
    try:
        cls.is_installed(raise_on_not_installed=True)
    except ImportError as error:
        raise Invalid(str(error)) from None
    return cls


def _find_class(module, source):
    found = [name for name in KINDS if hasattr(module, name)]
    if len(found) != 1:
        raise Invalid("must have one class, called Solver or Dataset; see "
                      "docs/add_a_solver.md")
    name, = found
    cls, (base, told) = getattr(module, name), KINDS[name]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise Invalid(f"{name} must be a class that inherits from {told}",
                      source.place_of_name(name))
    return cls


def _check_name(cls, source, suite):
    """Refuse a name that is taken, or that benchopt's command cannot say.

    It reads brackets as parameters and writes names into paths.  All else,
    a $ or a comma, is text.
    """
    name, place = cls.name, source.place_of_name(cls.__name__, "name")
    if not isinstance(name, str) or not name:
        raise Invalid(f"class {cls.__name__} lacks name, a string", place)
    if set(name) & set("[]/\\") or not name.isprintable() or (
            name != name.strip()):
        raise Invalid(
            f"name: {name!r} has one of [ ] / \\, a character that cannot be "
            "printed, or a space at an end; leave that out", place,
        )
    theirs = suite.get_solvers() if issubclass(cls, BaseSolver) else (
        suite.get_datasets()
    )
    for other in theirs:
        if other._module_filename != source.path and (
                sanitize(other.name) == sanitize(name)):
            raise Invalid(f"name: {name!r} is that of "
                          f"{other._module_filename}; choose another", place)


def check_parameters(cls, place):
    """Insist that parameters are a dict of names and lists of values."""
    own = cls.parameters
    if not isinstance(own, dict):
        fault = f"is a {type(own).__name__}, not a dict"
    else:
        wrong = [name for name, values in own.items() if not (
            isinstance(name, str) and values
            and isinstance(values, (list, tuple))
        )]
        if not wrong:
            return
        fault = f"{wrong[0]!r} has {own[wrong[0]]!r}, not a list of values"
    raise Invalid(f"parameters: {fault}; write parameters = "
                  '{"k": [5, 10]}, a list of values per name', place)
