"""Time calls in turns, and tell each as a ratio of another: one table."""
import time
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from benchmark_shine.fingerprints import fingerprint


@dataclass(frozen=True)
class Ratio:
    """A line of the table: medians, and the ratio with its quartiles."""

    what: str
    measured: float
    of: float
    unit: str
    ratio: float
    low: float
    high: float
    reference: str


def sample(calls, repeats, clock=time.process_time):
    """Time calls in turns, so that all of them meet the same machine.

    Parameters
    ----------
    calls : dict of name and callable
        Each is called once before, to warm up.
    repeats : int
    clock : callable
        In seconds.

    Returns
    -------
    dict of name and array, shape (repeats,)
        Seconds.
    """
    for call in calls.values():
        call()
    seconds = {name: np.empty(repeats) for name in calls}
    for i in range(repeats):
        for name, call in calls.items():
            began = clock()
            call()
            seconds[name][i] = clock() - began
    return seconds


def ratio(what, measured, of, reference, unit="ms"):
    """Print a line of the table, and return it.

    Parameters
    ----------
    what, reference : str
        Names of the two sides.
    measured, of : array, shape (repeats,), or float
        Seconds where the unit is "ms", else in the unit.
    unit : str
    """
    measured, of = np.atleast_1d(measured), np.atleast_1d(of)
    factor = 1e3 if unit == "ms" else 1
    low, middle, high = np.quantile(measured / of, [0.25, 0.5, 0.75])
    line = Ratio(
        what, factor * np.median(measured), factor * np.median(of), unit,
        middle, low, high, reference,
    )
    print(f"{what:<52} {line.measured:>8.4g} of {line.of:>8.4g} {unit:<2} "
          f"{middle:>6.3f} ({low:.3f} to {high:.3f})  {reference}", flush=True)
    return line


def keep(section, lines, folder):
    """Put a section's lines into benchmarks.csv and benchmarks.md.

    Lines of other sections stay as an earlier call has left them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([{"section": section} | asdict(x) for x in lines])
    table["fingerprint"] = fingerprint()
    path = folder / "benchmarks.csv"
    if path.exists():
        others = pd.read_csv(path)
        others = others[others["section"] != section]
        table = pd.concat([others, table]) if len(others) else table
    table.to_csv(path, index=False, float_format="%.4g")
    (folder / "benchmarks.md").write_text(_page(table), encoding="utf-8")


def _page(table):
    lines = ["| section | what | ratio | quartiles | of |", "|---" * 5 + "|"]
    lines += [
        f"| {x.section} | {x.what} | {x.ratio:.3f} | {x.low:.3f} to "
        f"{x.high:.3f} | {x.reference} |" for x in table.itertuples()
    ]
    return "\n".join(lines) + "\n"
