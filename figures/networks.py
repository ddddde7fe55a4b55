"""Runs of equilibrium networks: backward steps, costs of a step, tables."""
import re

import numpy as np
import pandas as pd

import common
from common import ResultError, base_of, cell, rank, short_names

# Where a method has its number of backward steps.
STEPS = {
    "HOAG-limited": "n_cg", "Jacobian-Free": "n_refine",
    "SHINE-refine": "n_refine", "Neumann": "n_steps",
}
# They solve nothing.
FREE = {"SHINE", "SHINE-OPA", "SHINE-fallback"}
# What an outer step costs: seconds made ms, and numbers.
COSTS = {
    "forward_time": 1e3, "backward_time": 1e3, "n_g": 1.0, "n_jvp": 1.0,
}
RUN = ["dataset", "method", "seed"]


def without_steps(method):
    """A label less the number of backward steps in it."""
    settings = re.findall(r"\w+=(?:\([^)]*\)|[^,)]*)", method)
    kept = ", ".join(
        setting for setting in settings
        if setting.partition("=")[0] not in STEPS.values()
    )
    return f"{base_of(method)} ({kept})" if kept else base_of(method)


def _backward_steps(frame):
    base = frame["method"].map(base_of)
    steps = pd.Series(np.where(base.isin(FREE), 0.0, np.nan), frame.index)
    for name, column in STEPS.items():
        steps = steps.mask(base == name, frame[column])
    return steps.mask(base == "HOAG", np.inf)


def load(options):
    """The runs on equilibrium networks.

    Time counts from a run's first point: before it are the first weights,
    and in the first run of a process the start of torch.

    Parameters
    ----------
    options : argparse.Namespace
        Of `common.arguments`.

    Returns
    -------
    pandas.DataFrame
        As of `common.load`, and ``backward_steps``: 0, a number, infinity for
        the full solve, NaN for methods not known here.  Accuracies are in
        per cent; where a run has diverged ``test_loss`` and ``test_accuracy``
        are as bad as can be, inf and -inf.

    Raises
    ------
    ResultError
        Where there are none.
    """
    frame = common.load(options)
    scores = frame.groupby("dataset")["test_accuracy"]
    frame = frame[scores.transform("count") > 0].copy()
    if frame.empty:
        raise ResultError(
            f"{', '.join(map(str, options.results))}: no equilibrium network; "
            "run benchopt with --config configs/deq_quick.yml"
        )
    frame["time"] -= frame.groupby(RUN)["time"].transform("min")
    dead = frame["diverged"] > 0
    frame["test_accuracy"] = (100 * frame["test_accuracy"]).mask(dead, -np.inf)
    frame["test_loss"] = frame["test_loss"].mask(dead, np.inf)
    return frame.assign(backward_steps=_backward_steps(frame))


def costs_of(frame):
    """What an outer step of a run costs.

    Result files have totals.  From one point to the next they grow by a cost
    per outer step; taken is the median over the points of a run, so that
    neither a cold start nor a phase of unrolled training counts.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of `load`.

    Returns
    -------
    pandas.DataFrame, a row per data set, method and seed
        Columns of COSTS, times in ms.
    """
    growth = frame.sort_values("step").groupby(RUN)[["n_outer", *COSTS]].diff()
    per_step = growth[list(COSTS)].div(growth["n_outer"], axis=0)
    of_run = [frame[key] for key in RUN]
    return per_step.groupby(of_run).median() * pd.Series(COSTS)


def runs_of(frame):
    """A row per run: its last values, and what an outer step of it costs."""
    last = frame.sort_values("step").groupby(RUN).last()
    costs = costs_of(frame)
    return last.drop(columns=costs.columns).join(costs).reset_index()


def by_method(frame):
    """Pieces of a frame with a data set and a method each.

    Returns
    -------
    list of (data set, method, pandas.DataFrame)
        Short names, in the order of tables.
    """
    titles = short_names(frame["dataset"].unique())
    groups = frame.groupby(["dataset", "method"])

    def order(item):
        (dataset, method), own = item
        return dataset, rank(method)[0], *own["backward_steps"][:1], method

    return [
        (titles[dataset], method, own)
        for (dataset, method), own in sorted(groups, key=order)
    ]


def mean_and_std(numbers, form):
    """Text; infinite ones, of runs that diverged, are left out."""
    numbers = numbers[np.isfinite(numbers)]
    if numbers.empty:
        return "-"
    mean = format(numbers.mean(), form)
    if len(numbers) == 1:
        return mean
    return f"{mean} ± {numbers.std():{form}}"


def steps_label(steps):
    """Text: a number, or what there is in place of one."""
    if np.isfinite(steps):
        return f"{steps:.0f}"
    return "-" if np.isnan(steps) else "full"


def cost_table(frame):
    """A row of text per data set and method: accuracy against cost.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of `load`.
    """
    runs, rows = runs_of(frame), []
    full = runs[runs["method"] == "HOAG"].groupby("dataset")["backward_time"]
    full = full.median()
    for title, method, own in by_method(runs):
        dataset, steps = own[["dataset", "backward_steps"]].iloc[0]
        times = own["backward_time"]
        ratio = full.get(dataset, np.nan) / times.median()
        low, high = times.quantile([0.25, 0.75])
        rows.append({
            "data set": title,
            "method": without_steps(method),
            "backward steps": steps_label(steps),
            "seeds": str(len(own)),
            "diverged": f"{own['diverged'].sum():.0f}",
            "test accuracy (%)": mean_and_std(own["test_accuracy"], ".2f"),
            "backward (ms)":
                f"{times.median():.3g} ({low:.3g} to {high:.3g})",
            "full / this": cell(ratio, ".1f"),
            "products": cell(own["n_jvp"].median(), ".1f"),
            "evaluations": cell(own["n_g"].median(), ".1f"),
            "forward (ms)": cell(own["forward_time"].median(), ".3g"),
            "cosine of q": cell(own["q_cosine_median"].median(), ".4f"),
            "spectral radius": cell(own["spectral_radius"].median(), ".2f"),
        })
    return pd.DataFrame(rows)
