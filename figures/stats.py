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
    """Compute a quantile, linear between numbers, some of them infinite.

    Between a finite number and an infinite one lies infinity, where pandas
    says NaN.  NaN is left out; of nothing, the quantile is NaN.

    Parameters
    ----------
    numbers : array_like of float
    q : float
        Between 0 and 1.
    """
    numbers = np.sort(np.asarray(numbers, dtype=float))
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return np.nan
    place = q * (len(numbers) - 1)
    below, above = (numbers[int(f(place))] for f in (np.floor, np.ceil))
    if np.isinf(below) or np.isinf(above):
        return below if np.isinf(below) else above
    return below + (place - np.floor(place)) * (above - below)


def by_step(runs, y):
    """Tabulate a quantity of one method: a row per step, a column per seed.

    A run that diverged, whose y is infinite, stays so.  The rows end with
    the shortest of the other runs: the seeds that are left would be another
    population.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of one protocol, data set and method.
    y : str
        Column.
    """
    return complete(runs.pivot(index="step", columns="seed", values=y))


def complete(ys):
    """Keep the steps that every seed has; see `by_step`."""
    last = ys.ffill()
    return ys.mask(ys.isna() & np.isinf(last), last).dropna()


def median_curve(runs, x, y, quantiles=(0.1, 0.9)):
    """Compute the curve of one method over seeds.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of one protocol, data set and method.
    x, y : str
        Columns.
    quantiles : (float, float)
        Of the band.

    Returns
    -------
    pandas.DataFrame, indexed by step
        Columns ``x`` (median), ``y`` (median), ``low``, ``high``.
    """
    ys = by_step(runs, y)
    xs = runs.pivot(index="step", columns="seed", values=x).ffill()
    rows = ys.to_numpy()
    return pd.DataFrame({
        "x": xs.loc[ys.index].median(axis=1),
        "y": [quantile(row, 0.5) for row in rows],
        "low": [quantile(row, quantiles[0]) for row in rows],
        "high": [quantile(row, quantiles[1]) for row in rows],
    }, index=ys.index)


# A number per run, indexed by RUN

def arrivals(runs, gap, x):
    """Find where each run first comes within a gap.

    Parameters
    ----------
    runs : pandas.DataFrame
        With a column ``gap``.
    gap : float
    x : {"time", "evaluations"}

    Returns
    -------
    pandas.Series
        Infinite where a run never comes so close, NaN where its gap was
        never measured.
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


def profile(arrived, factors):
    """Compute performance profiles over problems.

    Parameters
    ----------
    arrived : pandas.Series
        Of `arrivals`, of one protocol.
    factors : array_like of float
        At least 1.

    Returns
    -------
    pandas.DataFrame, indexed by factor
        A column per method: the share of its data sets and seeds in which
        it arrived within so many times the earliest arrival of any method.

    Notes
    -----
    Dolan and Moré, Mathematical Programming 91 (2002).
    """
    table = arrived.unstack("method")
    table = table[np.isfinite(table).any(axis=1)]
    ratio = table.div(table.min(axis=1), axis=0).fillna(np.inf)
    return pd.DataFrame(
        [(ratio <= factor).mean() for factor in factors],
        index=pd.Index(factors, name="factor"),
    )


# Distances to the best

def alive(runs, loss):
    """Return a loss, infinite where it is not finite or the run diverged."""
    dead = ~np.isfinite(runs[loss]) | (runs["diverged"] > 0)
    return runs[loss].mask(dead, np.inf)


def add_gap(runs, loss):
    """Add ``best`` and ``gap``, the absolute suboptimality of a loss.

    ``best`` is the lowest loss that any method of that protocol and data
    set reached with that seed, at any step; ``gap`` is infinite where a run
    has diverged.

    Parameters
    ----------
    runs : pandas.DataFrame
    loss : {"test_loss", "value"}
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
    of a seed whose F(θ₀) is unknown or is the best itself.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of one data set.
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
    """Return F(θ₀) and the lowest F of each seed of one data set.

    Returns
    -------
    start, best : pandas.Series, indexed by seed
        NaN where nothing was measured.
    """
    losses = alive(runs, "value_function").replace(np.inf, np.nan)
    best = losses.groupby(runs["seed"]).min()
    first = losses.where(runs["step"] == 0)
    return first.groupby(runs["seed"]).median(), best


def unmeasured(runs):
    """Count the rows in which F should have been measured.

    Rows of a run that has diverged have no F.

    Returns
    -------
    lacking, due : int
        Rows without F, of the rows at which it was due.
    """
    due = (runs["outer"] % runs["reference"] == 0) & ~(runs["diverged"] > 0)
    return int((due & runs["value_function"].isna()).sum()), int(due.sum())


def add_shortfall(runs):
    """Add ``percent``, the accuracy, and ``gap``, the points below the best.

    The best is `best_accuracy`; the gap is infinite where a run diverged.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of one network.
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

    Returns
    -------
    float
        NaN where no run has two of them.
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
