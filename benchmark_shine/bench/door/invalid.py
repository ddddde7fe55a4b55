"""Say what is wrong with a file: the line, the fault, the remedy."""
import difflib
import pkgutil
import re
import sys
import sysconfig
import traceback
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
STDLIB = Path(sysconfig.get_paths()["stdlib"])


class Invalid(Exception):
    """A fault of a file and its remedy, in one line.

    ``place`` is where in the file, "line 14", or None; ``detail`` is what
    ``--traceback`` shows beside the line.
    """

    def __init__(self, message, place=None, detail=""):
        super().__init__(" ".join(str(message).split()))
        self.place, self.detail = place, detail


@cache
def _is_of_a_user(filename):
    """Return whether code is neither Python's, nor installed, nor ours."""
    path = Path(filename)
    return path.is_file() and not (
        {"site-packages", "dist-packages"} & set(path.parts)
        or path.is_relative_to(PACKAGE) or path.is_relative_to(STDLIB)
    )


class Source:
    """A candidate's file, by its absolute path, and the package behind it."""

    def __init__(self, path):
        self.path = path

    def owns(self, filename):
        """Return whether a file's code is the candidate's."""
        return filename == str(self.path) or _is_of_a_user(filename)

    def place(self, filename, line):
        """Name a line: "line 3", or "core.py line 3" of another file."""
        if not line:
            return None
        path = Path(filename)
        return f"line {line}" if path == self.path else (
            f"{path.name} line {line}"
        )

    def place_of_error(self, error):
        """Name the candidate's last line that an exception came through."""
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
        """Name the line that defines the first of some names of a class.

        The line of the class itself where there is none of them.
        """
        own = [rf"(    |\t)(def )?{name} *[=:(]" for name in names]
        lines = self.path.read_text("utf-8", errors="replace").split("\n")
        for pattern in *own, rf"(class|def) {cls}\b":
            for number, line in enumerate(lines, start=1):
                if re.match(pattern, line):
                    return self.place(self.path, number)
        return None

    def invalid(self, error, where="", place=None):
        """Make the `Invalid` of an exception.

        ``where`` is what was being done, such as "on ridge", and ``place``
        the line to name if the exception came through none.
        """
        if isinstance(error, Invalid):
            told, detail = str(error), error.detail
            place = error.place or place
        else:
            told = explain(error)
            detail = "".join(traceback.format_exception(error))
            place = self.place_of_error(error) or place
        return Invalid(f"{where}: {told}" if where else told, place, detail)


# Remedies

REST = "--traceback shows the rest"
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
# Words of a message -> what to do.
WORDS = {
    "NoneType": "a value there is None, as system.q0 is before there is a "
                "last q",
    "abstract method": "write them",
    "require grad": GRAPH, "second time": GRAPH,
    "inplace operation": COPY, "in-place operation": COPY,
    "same dtype": LIKE, "scalar type": LIKE,
    "must match the size": ROWS, "cannot be multiplied": ROWS,
    "tensors expected": ROWS, "size mismatch": ROWS,
}


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
    return f"{told}; {_remedy(error, text) or REST}"


def _remedy(error, text):
    for words, remedy in WORDS.items():
        if words in text:
            return remedy
    if isinstance(error, ModuleNotFoundError):
        return _remedy_of_module(error.name)
    if isinstance(error, ImportError) and error.name in sys.modules:
        wanted = text.partition("name '")[2].partition("'")[0]
        return _near(wanted, dir(sys.modules[error.name]))
    if isinstance(error, NameError):
        return "define it, import it or correct it"
    if isinstance(error, AttributeError):
        return _remedy_of_attribute(error)
    return ""


def _near(name, names):
    """Suggest the nearest of some names, or nothing."""
    near = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _remedy_of_module(name):
    if name.partition(".")[0] != "benchmark_shine":
        return f"pip install {name.partition('.')[0]}, or correct the name"
    return _near(name, [found.name for found in pkgutil.walk_packages(
        [str(PACKAGE)], "benchmark_shine.", onerror=lambda name: None
    )])


def _remedy_of_attribute(error):
    for base in type(error.obj).__mro__[1:]:
        if error.name in getattr(base, "parameters", {}):
            return f"let parameters begin with **{base.__name__}.parameters"
    return _near(error.name, dir(error.obj))
