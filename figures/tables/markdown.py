"""Write tables in Markdown, and put them into pages."""
import re

import numpy as np

from ..results import ResultError


def cell(value, form):
    """Format a number; NaN is "-", infinity a run that diverged."""
    if np.isnan(value):
        return "-"
    return "diverged" if np.isinf(value) else format(value, form)


def markdown(frame):
    """Format a table of text, legible as it is; "" without columns."""
    if not len(frame.columns):
        return ""
    rows = [list(frame.columns), *frame.to_numpy().tolist()]
    rows = [[" ".join(text.replace("|", "\\|").split("\n")) for text in row]
            for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows)]
    rows.insert(1, ["-" * width for width in widths])
    return "".join(
        f"| {' | '.join(map(str.ljust, row, widths))} |\n" for row in rows
    )


def put(path, name, text, command):
    """Replace what stands between the two marks of a Markdown file.

    The first, <!-- NAME:begin ... -->, is given the command; the other is
    <!-- NAME:end -->.  There must be exactly one such pair.
    """
    marks = re.compile(
        rf"(<!-- {name}:begin).*?-->\n.*?(<!-- {name}:end -->)", re.DOTALL
    )
    old = path.read_text(encoding="utf-8")
    if len(marks.findall(old)) != 1:
        raise ResultError(
            f"{path}: needs one line <!-- {name}:begin --> and below it one "
            f"line <!-- {name}:end -->, to put the table between"
        )
    new = marks.sub(
        lambda found: f"{found[1]} {command} -->\n{text}{found[2]}", old
    )
    path.write_text(new, encoding="utf-8")


def marks_in(path):
    """List the names of the places that a Markdown file has for `put`."""
    return re.findall(
        r"<!-- ([\w-]+):begin", path.read_text(encoding="utf-8"))
