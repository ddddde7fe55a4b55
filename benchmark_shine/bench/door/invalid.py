"""Say what is wrong with a file: the line, the fault, the remedy."""
import ast
import difflib
import importlib
import pkgutil
import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
STDLIB = Path(sysconfig.get_paths()["stdlib"])


class Invalid(Exception):
    """A fault of a file, in one line.

    Parameters
    ----------
    message : str
        The fault and its remedy.
    place : str or None
        Where in the file: "line 14".
    detail : str
        What ``--traceback`` shows beside the line.
    """

    def __init__(self, message, place=None, detail=""):
        super().__init__(" ".join(str(message).split()))
        self.place, self.detail = place, detail


class Source:
    """A candidate's file, and the package of its own that may be behind it.

    Parameters
    ----------
    path : Path
        Absolute.
    """

    def __init__(self, path):
        self.path = path
        self._owns = lru_cache(maxsize=None)(self._is_ours)

    def owns(self, filename):
        """Return whether a file's code is the candidate's.

        Files of Python, of installed packages and of this package are not.
        """
        return self._owns(filename)

    def _is_ours(self, filename):
        path = Path(filename)
        if path == self.path:
            return True
        others = PACKAGE, STDLIB
        return path.is_file() and not (
            {"site-packages", "dist-packages"} & set(path.parts)
            or any(path.is_relative_to(other) for other in others)
        )

    def place(self, filename, line):
        """Name a line: "line 3", or "core.py line 3" of another file."""
        if not line:
            return None
        path = Path(filename)
        return f"line {line}" if path == self.path else (
            f"{path.name} line {line}"
        )

    def place_of_error(self, error):
        """Name the last line of the candidate that an exception came through.

        None where it came through none.
        """
        if isinstance(error, SyntaxError):
            return self.place(error.filename or self.path, error.lineno)
        places = [
            self.place(frame.filename, frame.lineno)
            for frame in traceback.extract_tb(error.__traceback__)
            if self.owns(frame.filename)
        ]
        return places[-1] if places else None

    def place_of_function(self, function):
        """Name the line where a function of the candidate begins, or None."""
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None) or getattr(
            getattr(type(function), "__call__", None), "__code__", None
        )
        if code is None or not self.owns(code.co_filename):
            return None
        return self.place(code.co_filename, code.co_firstlineno)

    def place_of_name(self, cls, *names):
        """Name the line of the first of these names in the body of a class.

        The line of the class itself where its body has none of them.
        """
        try:
            tree = ast.parse(self.path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return None
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == cls:
                found = [
                    part.lineno for name in names for part in node.body
                    if name in _names(part)
                ]
                return self.place(self.path, [*found, node.lineno][0])
        return None

    def invalid(self, error, where="", place=None):
        """Make the one line of an exception.

        Parameters
        ----------
        error : BaseException
        where : str
            What was being done, such as "on ridge".
        place : str or None
            The line to name where the exception came through none.

        Returns
        -------
        Invalid
        """
        if isinstance(error, Invalid):
            told, detail = str(error), error.detail
            place = error.place or place
        else:
            told = explain(error)
            detail = "".join(traceback.format_exception(error))
            place = self.place_of_error(error) or place
        return Invalid(f"{where}: {told}" if where else told, place, detail)


def _names(node):
    """Return the names that a statement of a class body binds."""
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return [getattr(node, "name", "")]


# Remedies

REST = "--traceback shows the rest"
NONE = "a value there is None, as system.q0 is before there is a last q"


def explain(error):
    """Describe an exception and its remedy in one line."""
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{name}: {error.msg}; {REST}"
    if isinstance(error, SystemExit):
        return (
            "ends Python (sys.exit or exit); raise a ValueError instead, or "
            'put it below `if __name__ == "__main__":`'
        )
    text = " ".join(str(error).split())
    told = f"{name}: {text}" if text else name
    advice = (
        advise(error, text) for kind, advise in REMEDIES
        if isinstance(error, kind)
    )
    return f"{told}; {next(advice, '') or REST}"


def _near(name, names):
    """Suggest the nearest of some names, or nothing."""
    names = [n for n in names if not n.startswith("_")]
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _of_module(error, text):
    name = error.name or ""
    if not name.startswith("benchmark_shine"):
        return f"pip install {name.partition('.')[0]}, or correct the name"
    last = name.rpartition(".")[2]
    suite = importlib.import_module("benchmark_shine")
    modules = [
        module.name for module in pkgutil.walk_packages(
            suite.__path__, "benchmark_shine.", onerror=lambda name: None
        )
    ]
    same = [m for m in modules if m.rpartition(".")[2] == last]
    return f"did you mean {same[0]!r}?" if same else _near(name, modules)


def _of_import(error, text):
    try:
        module = importlib.import_module(error.name)
    except (ImportError, TypeError, AttributeError, ValueError):
        return ""
    wanted = text.partition("name '")[2].partition("'")[0]
    return _near(wanted, dir(module)) or "correct the name"


def _of_name(error, text):
    imports = {"np": "import numpy as np", "torch": "import torch",
               "replace": "from dataclasses import replace"}
    if error.name in imports:
        return f"write `{imports[error.name]}` at the top"
    return "define it, import it or correct it"


def _of_attribute(error, text):
    if error.obj is None:
        return NONE
    bases = type(error.obj).__mro__[1:]
    for base in bases:
        if error.name in getattr(base, "parameters", {}):
            return f"let parameters begin with **{base.__name__}.parameters"
    names = [name for name in dir(error.obj) if not name.startswith("_")]
    near = _near(error.name, names)
    if near or len(names) > 12:
        return near
    return f"it has {', '.join(names)}"


GRAPH = (
    "a backward pass has no graph: use system.vjp(v) for Jᵀ v, or "
    "torch.enable_grad() and retain_graph=True around your own"
)
COPY = "write a = a + b in place of a += b"
LIKE = "make all tensors of one dtype, as torch.zeros_like does"
ROWS = (
    "rhs has shape (d,), in networks (B, d), a system per row: write a "
    "product as (a * b).sum(-1, True)"
)
# Words of torch's messages -> what to do.
TORCH = {
    "require grad": GRAPH, "second time": GRAPH,
    "inplace operation": COPY, "in-place operation": COPY,
    "same dtype": LIKE, "scalar type": LIKE,
    "must match the size": ROWS, "cannot be multiplied": ROWS,
    "tensors expected": ROWS, "size mismatch": ROWS,
}


def _of_type(error, text):
    if "abstract method" in text:
        return "write them"
    return NONE if "NoneType" in text else ""


def _of_torch(error, text):
    return next((TORCH[words] for words in TORCH if words in text), "")


REMEDIES = (
    (ModuleNotFoundError, _of_module), (ImportError, _of_import),
    (NameError, _of_name), (AttributeError, _of_attribute),
    (TypeError, _of_type), (RuntimeError, _of_torch),
)
