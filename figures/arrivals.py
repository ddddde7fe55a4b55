"""Numbers of each run: distances to the best, arrivals, costs.

Tables have a row per run and measured outer step, with the columns of
`figures.results.named`.  A run that diverged counts as infinitely bad and
infinitely late from then on; NaN is what was not measured.
"""
import numpy as np

from .results import RUN
from .stats import quantile

ERROR = 1e-6  # of value_function, relative: differences below are none


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
