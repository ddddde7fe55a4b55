"""Compute what outer steps of equilibrium networks cost, and tabulate it."""
import numpy as np
import pandas as pd

from .methods import rank
from .results import ResultError
from .arrivals import is_network, per_step
from .tables.markdown import cell

# Methods whose number of backward steps is known: 0 where none is solved.
STEPPED = {
    "SHINE", "SHINE-OPA", "SHINE-fallback", "SHINE-refine", "Jacobian-Free",
    "HOAG", "HOAG-limited", "Neumann",
}
# What an outer step costs: seconds made ms, and numbers.
COSTS = {
    "forward_time": 1e3, "backward_time": 1e3, "n_g": 1.0, "n_vjp": 1.0,
}
RUN = ["dataset", "method", "seed"]


def network_runs(runs):
    """Select the runs on equilibrium networks, if there are any.

    Time counts from a run's first point: before it are the first weights,
    and in the first run of a process the start of torch.  Columns are as of
    `results.named`, but ``backward_steps`` is 0, a number, infinity for the
    full solve, and NaN where a method has none.  Accuracies are in per cent;
    where a run has diverged ``test_loss`` and ``test_accuracy`` are as bad
    as can be, inf and -inf.  Where a data set has runs of several protocols,
    each is a ``dataset`` of its own, with the protocol in its name.
    """
    parts = [own for _, own in runs.groupby("dataset") if is_network(own)]
    if not parts:
        raise ResultError(
            "no equilibrium network in these files; run benchopt with "
            "--config configs/deq_quick.yml"
        )
    frame = pd.concat(map(_by_protocol, parts))
    dead = frame["diverged"] > 0
    steps = frame["backward_steps"].where(frame["base"].isin(STEPPED))
    first = frame.groupby(RUN)["time"].transform("min")
    return frame.assign(
        time=frame["time"] - first,
        test_accuracy=(100 * frame["test_accuracy"]).mask(dead, -np.inf),
        test_loss=frame["test_loss"].mask(dead, np.inf),
        backward_steps=steps.mask(frame["base"] == "HOAG", np.inf),
    )


def _by_protocol(runs):
    """Name the protocol with the data set, where there are several."""
    if runs["protocol"].nunique() == 1:
        return runs
    return runs.assign(
        dataset=runs["dataset"] + ", " + runs["protocol"] + " protocol")


def costs_of(frame):
    """Compute what an outer step of each run costs: COSTS, times in ms."""
    costs = per_step(frame, list(COSTS)) * pd.Series(COSTS)
    return costs.droplevel("protocol")


def summarise(frame):
    """Make a row per run: its last values, and what an outer step costs."""
    last = frame.sort_values("step").groupby(RUN).last()
    costs = costs_of(frame)
    return last.drop(columns=costs.columns).join(costs).reset_index()


def by_method(frame):
    """Split a frame by data set and method, in the order of tables."""
    def order(item):
        (dataset, method), own = item
        first = own.iloc[0]
        return (dataset, rank(first["base"], method)[0],
                first["backward_steps"], method)

    groups = frame.groupby(["dataset", "method"])
    return [own for _, own in sorted(groups, key=order)]


def mean_and_std(numbers, form):
    """Return text; infinite numbers, of runs that diverged, are left out."""
    numbers = numbers[np.isfinite(numbers)]
    if numbers.empty:
        return "-"
    mean = format(numbers.mean(), form)
    if len(numbers) == 1:
        return mean
    return f"{mean} ± {numbers.std():{form}}"


def steps_in_words(steps):
    """Return a number of backward steps, or "full" or "-" in its place."""
    if np.isfinite(steps):
        return f"{steps:.0f}"
    return "-" if np.isnan(steps) else "full"


def cost_table(frame):
    """Tabulate accuracy against cost, a row per data set and method."""
    runs, rows = summarise(frame), []
    full = runs[runs["method"] == "HOAG"].groupby("dataset")["backward_time"]
    full = full.median()
    for own in by_method(runs):
        first, times = own.iloc[0], own["backward_time"]
        ratio = full.get(first["dataset"], np.nan) / times.median()
        low, high = times.quantile([0.25, 0.75])
        rows.append({
            "data set": first["dataset"],
            "method": first["base"] + first["variant"],
            "backward steps": steps_in_words(first["backward_steps"]),
            "seeds": str(len(own)),
            "diverged": f"{own['diverged'].sum():.0f}",
            "test accuracy (%)": mean_and_std(own["test_accuracy"], ".2f"),
            "backward (ms)":
                f"{times.median():.3g} ({low:.3g} to {high:.3g})",
            "full / this": cell(ratio, ".1f"),
            "products": cell(own["n_vjp"].median(), ".1f"),
            "evaluations": cell(own["n_g"].median(), ".1f"),
            "forward (ms)": cell(own["forward_time"].median(), ".3g"),
            "cosine of q": cell(own["q_cosine_median"].median(), ".4f"),
            "spectral radius": cell(own["spectral_radius"].median(), ".2f"),
            "residual": cell(own["test_residual"].median(), ".1g"),
        })
    return pd.DataFrame(rows)
