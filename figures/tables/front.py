"""The README's small table: six methods, what they reach, what it costs."""
import numpy as np
import pandas as pd

from ..arrivals import (
    add_suboptimality, first, is_network, last, per_pass,
)
from ..results import ResultError, in_protocol_order
from ..stats import quantile
from .league import number
from .markdown import markdown

METHODS = (
    "HOAG", "HOAG-limited", "SHINE", "SHINE-OPA", "SHINE-refine",
    "Jacobian-Free",
)
GAP = 1e-2


def table(runs):
    """Write a row per method of METHODS, in Markdown.

    Bi-level problems have two columns per protocol: the median over seeds of
    the evaluations at which a run first comes down to a relative
    suboptimality of 1e-2, and how many runs are there at their end.
    Networks have the median accuracy at the end and the median time of a
    backward pass.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of `results.read_runs`.

    Raises
    ------
    ResultError
        Where the runs have none of these methods.
    """
    columns = {}
    for dataset, own in runs.groupby("dataset"):
        make = _network if is_network(own) else _bilevel
        columns |= make(dataset, own[own["method"].isin(METHODS)])
    if not columns:
        raise ResultError(
            f"none of the methods {', '.join(METHODS)} in these files"
        )
    frame = pd.DataFrame(columns).reindex(METHODS).dropna(how="all")
    frame = frame.fillna("–")
    frame.insert(0, "method", [f"`{name}`" for name in frame.index])
    return markdown(frame)


def _bilevel(dataset, runs):
    runs, columns = add_suboptimality(runs), {}
    arrival = first(runs, GAP, "evaluations")
    end = last(runs, "gap", np.inf)
    for protocol in in_protocol_order(runs["protocol"].unique()):
        name = f"{dataset}, {protocol}"
        columns[f"{name}: evaluations to 1e-2"] = _by_method(
            arrival, protocol, lambda x: _count(quantile(x, 0.5)))
        columns["there at the end, " + protocol] = _by_method(
            end, protocol, lambda x: f"{(x <= GAP).sum()} of {len(x)}")
    return columns


def _network(dataset, runs):
    accuracy = last(runs.assign(percent=100 * runs["test_accuracy"]),
                    "percent", -np.inf)
    backward = per_pass(runs, "backward_time")
    return {
        f"{dataset}: accuracy": _by_method(
            accuracy, "fair", lambda x: f"{quantile(x, 0.5):.1f} %"),
        f"{dataset}: backward": _by_method(
            backward, "fair", lambda x: f"{number(quantile(x, 0.5), '')} ms"),
    }


def _count(x):
    return "never" if np.isinf(x) else f"{x:.0f}"


def _by_method(numbers, protocol, write):
    own = numbers[numbers.index.get_level_values("protocol") == protocol]
    return own.groupby("method").agg(lambda x: write(x.to_numpy()))
