"""Statistics of runs: functions of plain tables, no files and no drawing.

Tables have a row per run and measured outer step, with the columns of
`figures.results.named`.  A run that diverged counts as infinitely bad and
infinitely late from then on; NaN is what was not measured.
"""
import numpy as np
import pandas as pd

from .results import RUN

ERROR = 1e-6  # of value_function, relative: differences below are none


# Quantiles over seeds

def quantile(numbers, q):
    """Compute a quantile of what is not NaN; of nothing, NaN."""
    numbers = np.asarray(numbers, dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    return quantiles(numbers[None], q)[0] if len(numbers) else np.nan


def quantiles(table, q):
    """Compute a quantile of each row, linear between its numbers.

    Between a finite number and an infinite one lies infinity, where NumPy
    and pandas say NaN.  The rows have no NaN.
    """
    rows, place = np.sort(table, axis=1), q * (table.shape[1] - 1)
    below, above = (rows[:, int(f(place))] for f in (np.floor, np.ceil))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        between = below + (place - np.floor(place)) * (above - below)
    between = np.where(np.isinf(above), above, between)
    return np.where(np.isinf(below), below, between)


def complete(ys):
    """Keep the steps (rows) that every seed (column) has.

    A run that diverged, whose y is infinite, stays so.  The rows end with
    the shortest of the other runs: the seeds that are left would be another
    population.
    """
    if not np.isnan(ys.to_numpy()).any():
        return ys
    last = ys.ffill()
    return ys.mask(ys.isna() & np.isinf(last), last).dropna()


def median_curve(runs, x, y, band=(0.1, 0.9)):
    """Compute the curve of one method over seeds.

    ``x`` and ``y`` are columns of ``runs``, which are of one protocol and
    data set.  The result, indexed by step, has the medians ``x`` and ``y``,
    and the quantiles ``low`` and ``high`` of the band.
    """
    table = runs.pivot(index="step", columns="seed", values=[x, y])
    ys, xs = complete(table[y]), table[x].ffill()
    rows = ys.to_numpy()
    return pd.DataFrame({
        "x": xs.loc[ys.index].median(axis=1),
        "y": quantiles(rows, 0.5),
        "low": quantiles(rows, band[0]), "high": quantiles(rows, band[1]),
    }, index=ys.index)


# A number per run, indexed by RUN

def arrivals(runs, gap, x):
    """Find where each run first comes within a gap.

    The result, a column ``x`` ("time" or "evaluations") at that step, is
    infinite where a run never comes so close, and NaN where its column
    ``gap`` was never measured.
    """
    there = runs[x].where(runs["gap"] <= gap, np.inf)
    of_run = [runs[key] for key in RUN]
    measured = runs["gap"].notna().groupby(of_run).any()
    return there.groupby(of_run).min().where(measured)


def lowest(runs, name):
    """Find the lowest number along each run."""
    return runs.groupby(RUN)[name].min()


def highest(runs, name):
    """Find the highest number along each run; of counts, the last."""
    return runs.groupby(RUN)[name].max()


def last(runs, name, dead):
    """Find the last number measured in each run; ``dead`` if it diverged."""
    found = runs.sort_values("step").groupby(RUN)[name].last()
    return found.mask(highest(runs, "diverged") > 0, dead)


def along(runs, name):
    """Compute the median of each run."""
    return runs.groupby(RUN)[name].median()


def per_pass(runs, name):
    """Compute milliseconds per pass from seconds since the start."""
    return 1e3 * highest(runs, name) / highest(runs, "n_outer")


# Distances to the best

def alive(runs, loss):
    """Return a loss, infinite where it is not finite or the run diverged."""
    dead = ~np.isfinite(runs[loss]) | (runs["diverged"] > 0)
    return runs[loss].mask(dead, np.inf)


def add_gap(runs, loss):
    """Add ``best`` and ``gap``, the absolute suboptimality of a loss.

    ``best`` is the lowest loss ("test_loss" or "value") that any method of
    that protocol and data set reached with that seed, at any step; ``gap``
    is infinite where a run has diverged.
    """
    losses = alive(runs, loss)
    of_seed = [runs[key] for key in ("protocol", "dataset", "seed")]
    best = losses.groupby(of_seed).transform("min")
    return runs.assign(best=best, gap=(losses - best).fillna(np.inf))


def add_suboptimality(runs):
    """Add ``F`` and ``gap``, its suboptimality relative to the start's.

    F(θ), the column ``value_function``, is the validation loss at the exact
    inner solution.  ``gap`` is (F(θ) − best) / (F(θ₀) − best), where *best*
    is the lowest F of the seed in any protocol.  It is 0 where F is as low
    as the best but for the error of its measurement, and infinite where the
    run has diverged.  It is NaN where F was not measured, and in all runs
    of a seed whose F(θ₀) is unknown or is the best itself.  ``runs`` are of
    one data set.
    """
    measured = runs["value_function"].notna() | (runs["diverged"] > 0)
    losses = alive(runs, "value_function").where(measured)
    start, best = start_and_best(runs)
    best = runs["seed"].map(best)
    way = runs["seed"].map(start) - best
    gap = (losses - best) / way
    gap = gap.mask(losses - best <= ERROR * best.abs(), 0.0)
    able = way > ERROR * best.abs()
    return runs.assign(
        F=losses.replace(np.inf, np.nan),
        gap=gap.where(able).mask(runs["diverged"] > 0, np.inf),
    )


def start_and_best(runs):
    """Return F(θ₀) and the lowest F of one data set, indexed by seed.

    Both are NaN where nothing was measured.
    """
    losses = alive(runs, "value_function").replace(np.inf, np.nan)
    best = losses.groupby(runs["seed"]).min()
    first = losses.where(runs["step"] == 0)
    return first.groupby(runs["seed"]).median(), best


def unmeasured(runs):
    """Find the rows in which F should have been measured and was not.

    Rows of a run that has diverged have no F.  Returned are the column
    ``unmeasured`` of these rows, codes or NaN of older files, and the number
    of rows at which F was due.
    """
    due = (runs["outer"] % runs["reference"] == 0) & ~(runs["diverged"] > 0)
    lacking = due & runs["value_function"].isna()
    return runs.loc[lacking, "unmeasured"], int(due.sum())


def add_shortfall(runs):
    """Add ``percent``, the accuracy, and ``gap``, the points below the best.

    The best is `best_accuracy`; the gap is infinite where a run diverged.
    ``runs`` are of one network.
    """
    runs = runs.assign(percent=100 * runs["test_accuracy"])
    # rounded: 97.5 is within 5 points of 92.5, whatever their last bits
    gap = (best_accuracy(runs) - runs["percent"]).round(6)
    return runs.assign(gap=gap.mask(runs["diverged"] > 0, np.inf))


def best_accuracy(runs):
    """Find the highest of the methods' median accuracies at the end (%)."""
    methods = last(runs, "percent", -np.inf).groupby(["protocol", "method"])
    return methods.agg(quantile, q=0.5).max()


def stride(runs, name):
    """Find after how many outer steps a number was measured.

    It is NaN where no run has two of them.
    """
    steps = runs.dropna(subset=name).sort_values("step")
    return steps.groupby(RUN)["step"].diff().median()


def is_network(runs):
    """Say whether the runs of one data set train a network."""
    return bool(
        runs["test_accuracy"].notna().any()
        and runs["value_function"].isna().all()
    )


def seeds_of(runs):
    """Return the least and the greatest number of seeds of any method."""
    counts = runs.groupby(["dataset", "protocol", "method"])["seed"].nunique()
    return int(counts.min()), int(counts.max())
