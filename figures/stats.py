"""Statistics of runs: functions of plain tables, no files and no drawing.

Tables have a row per run and measured outer step, with the columns of
`figures.results.named`.  A run that diverged counts as infinitely bad and
infinitely late from then on; NaN is what was not measured.
"""
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, bootstrap, sem, t, trim_mean, ttest_1samp

from .results import RUN

ERROR = 1e-6  # of value_function, relative: differences below are none
LEVEL = 0.05  # of tests
TIE = 1e-9  # effects nearer to 0 are none: only rounding tells them from it
FAR = 1e9  # stands for the logarithm of infinity,
BEYOND = 1e3  # as all numbers do that no finite logarithm reaches
N_RESAMPLES = 9999


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


# Comparisons of two methods, paired by seed

class Estimate(NamedTuple):
    """A location with its confidence interval."""

    middle: float
    low: float
    high: float


class Evidence(NamedTuple):
    """What paired numbers say about a region of their location.

    ``estimate`` is the location with its interval; ``p_inside`` and
    ``p_outside`` are two-sided p-values of the tests whose small values
    speak for a location inside, and outside, of the region.
    """

    estimate: Estimate
    p_inside: float
    p_outside: float


def log_ratios(one, other):
    """Return log(other / one) of costs that may be infinite.

    Parameters
    ----------
    one, other : array_like, shape (n_seeds,)
        Costs at least 0, of the same seeds; infinite where a run never
        arrives, NaN where nothing was measured.

    Returns
    -------
    numpy.ndarray, shape (n_pairs,)
        Positive where the first is cheaper: +∞ where the other never
        arrives, −∞ where the first never does, 0 where neither does and
        where both cost nothing.  Pairs with a NaN are left out.
    """
    one, other = _pairs(one, other)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(one == other, 0.0, np.log(other) - np.log(one))


def differences(one, other):
    """Return one − other of paired scores, 0 where both are the same.

    Two runs that diverged, both at −∞, are the same.  Pairs with a NaN are
    left out.
    """
    one, other = _pairs(one, other)
    with np.errstate(invalid="ignore"):
        return np.where(one == other, 0.0, one - other)


def _pairs(one, other):
    pairs = np.array([one, other], dtype=float)
    return pairs[:, ~np.isnan(pairs).any(axis=0)]


def wins_losses_ties(effects):
    """Count positive, negative and zero numbers; TIE says what is zero."""
    effects = np.asarray(effects)
    wins, losses = (effects > TIE).sum(), (effects < -TIE).sum()
    return int(wins), int(losses), len(effects) - int(wins + losses)


def sign_test(effects, at=0.0, alternative="two-sided"):
    """Test whether the median of paired effects is ``at``; return p.

    Ties are dropped.  ``alternative`` ("two-sided", "greater", "less") is
    that of `scipy.stats.binomtest`.  Without an untied pair, p is 1.
    """
    wins, losses, _ = wins_losses_ties(np.asarray(effects) - at)
    if wins + losses == 0:
        return 1.0
    return float(binomtest(
        wins, wins + losses, alternative=alternative).pvalue)


def fewest_pairs(size=1):
    """Return how many pairs a sign test needs to decide anything.

    ``size`` is that of its family for Holm's correction, in which all tests
    have as many pairs: 6 pairs for one test, 7 for two, 8 for four.
    """
    return int(np.ceil(1 + np.log2(size / LEVEL)))


def median_interval(logs, level=0.95):
    """Estimate the median of log-ratios by a percentile bootstrap over seeds.

    Parameters
    ----------
    logs : array_like, shape (n_pairs,)
        Of `log_ratios`.
    level : float, default 0.95

    Returns
    -------
    Estimate
        One infinite log-ratio among the middle ones makes the median, and
        an end of the interval, infinite.

    Notes
    -----
    The median is chosen over the geometric mean because a single run that
    never arrives makes the latter 0 or infinite.  It is the location that
    `sign_test` tests.  The percentile interval is used because the median's
    jackknife, which BCa needs, is inconsistent (Efron 1982).  Of six
    to twenty pairs it covers the median in 91 to 94 % of cases: it never
    decides anything without `sign_test`, whose level is exact.
    """
    logs = np.clip(np.asarray(logs, dtype=float), -FAR, FAR)
    if len(logs) == 0:
        return Estimate(np.nan, -np.inf, np.inf)
    found = [np.median(logs)]
    if len(logs) == 1:
        found += [-FAR, FAR]
    else:
        found += bootstrap(
            (logs,), np.median, confidence_level=level, method="percentile",
            n_resamples=N_RESAMPLES, rng=np.random.default_rng(0),
        ).confidence_interval
    # halfway between a number and infinity is infinity
    return Estimate(*(
        float(x) if abs(x) < BEYOND else float(np.copysign(np.inf, x))
        for x in found))


def mean_interval(effects, level=0.95):
    """Estimate the mean of paired differences by Student's t.

    It is exact for normal differences, and keeps its level at three seeds,
    where a bootstrap does not.  With an infinite difference (a run that
    diverged), or fewer than two pairs, the interval is infinite.
    """
    effects = np.asarray(effects, dtype=float)
    middle = float(np.mean(effects)) if len(effects) else np.nan
    if len(effects) < 2 or not np.isfinite(effects).all():
        return Estimate(middle, -np.inf, np.inf)
    half = sem(effects) * t.ppf((1 + level) / 2, len(effects) - 1)
    return Estimate(middle, middle - float(half), middle + float(half))


def t_test(effects, at=0.0, alternative="two-sided"):
    """Test whether the mean of paired differences is ``at``; return p.

    Where there is no spread to compare with, p is 0 for a mean beyond
    ``at`` and 1 otherwise.  With infinite differences or fewer than two
    pairs, p is 1.
    """
    effects = np.asarray(effects, dtype=float) - at
    if len(effects) < 2 or not np.isfinite(effects).all():
        return 1.0
    if np.ptp(effects) <= TIE:
        beyond = {"greater": 1, "less": -1}.get(
            alternative, np.sign(effects[0])) * effects[0] > TIE
        return 0.0 if beyond else 1.0
    return float(ttest_1samp(
        effects, 0, alternative=alternative).pvalue)


def evidence(effects, low, high, interval, test):
    """Weigh whether the location of paired effects lies in (low, high).

    Superiority is the region (0, ∞), superiority by a factor (log factor,
    ∞), non-inferiority (−margin, ∞), equivalence (−margin, margin).

    Parameters
    ----------
    effects : numpy.ndarray, shape (n_pairs,)
        Positive where the first method is better.
    low, high : float
        The region; −∞ and ∞ are no ends.
    interval, test : callable
        `median_interval` and `sign_test` of log-ratios, `mean_interval` and
        `t_test` of differences.

    Returns
    -------
    Evidence
        Equivalence is two one-sided tests (Schuirmann 1987): the larger of
        the two p-values counts.  All p-values are doubled for both
        directions, as those of two-sided tests are: non-inferiority is
        tested at a one-sided 2.5 % where the level is 5 %.
    """
    ends = [(end, *sides) for end, *sides in (
        (low, "greater", "less"), (high, "less", "greater")
    ) if np.isfinite(end)]
    inside = max(test(effects, end, side) for end, side, _ in ends)
    outside = min(test(effects, end, side) for end, _, side in ends)
    return Evidence(
        interval(effects), min(1.0, 2 * inside),
        min(1.0, 2 * len(ends) * outside))


def holm(p_values, size=None):
    """Adjust p-values of one family by Holm's step-down method (1979).

    Parameters
    ----------
    p_values : array_like, shape (n,)
    size : int, default n
        Comparisons in the family, n at least; those without a p-value count
        as 1.

    Returns
    -------
    numpy.ndarray, shape (n,)
        A comparison is decided at the level α, in a family whose rate of
        false decisions is at most α, where its number is at most α.
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")
    left = (size or len(p_values)) - np.arange(len(p_values))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(left * p_values[order])
    return np.minimum(adjusted, 1.0)


def winner(numbers, better):
    """Find the method that beats every other one, paired by seed.

    Parameters
    ----------
    numbers : pandas.DataFrame, (seeds, methods)
        One quantity of one data set and protocol; NaN where it was not
        measured.  ``frame[title].unstack("method")`` makes it of a table
        indexed by method and seed.
    better : int
        −1: low numbers, 0 at least, are good.  1: high ones are.  0: there
        is no winner.

    Returns
    -------
    str or None
        The method whose sign test against each other method is decided in
        its favour at 5 % after Holm's correction over these tests.  None:
        undecided; so it is with fewer than six seeds, whatever they say,
        with one method alone, or where the best lacks a seed.
    """
    whole = numbers.loc[:, numbers.notna().all()]
    if better == 0 or whole.shape[1] == 0 or numbers.shape[1] < 2:
        return None
    ranks = numbers.rank(axis=1, ascending=better < 0).mean()
    best = ranks[whole.columns].idxmin()
    gain = differences if better > 0 else log_ratios
    p_values = [
        2 * sign_test(gain(numbers[best], numbers[other]), 0, "greater")
        for other in numbers.columns.drop(best)
    ]
    return best if holm(p_values).max() <= LEVEL else None


def share(count, of):
    """Return a share and its exact 95 % interval (Clopper and Pearson)."""
    low, high = binomtest(count, of).proportion_ci()
    return Estimate(count / of, float(low), float(high))


def interquartile_mean(scores, level=0.95):
    """Estimate the interquartile mean of scores of several tasks.

    Agarwal et al. 2021 (arXiv 2108.13264): the mean of the middle half of
    all runs, which an outlier does not move; its interval is a percentile
    bootstrap, stratified: seeds are drawn anew within each task.

    Parameters
    ----------
    scores : list of array_like, each (n_seeds,)
        A task each.  Tasks with fewer than two seeds give no interval.
    """
    scores = [np.asarray(own, dtype=float) for own in scores]
    middle = float(_middle_half(*scores))
    if min(map(len, scores)) < 2 or not np.isfinite(middle):
        return Estimate(middle, np.nan, np.nan)
    low, high = bootstrap(  # of several samples: each by itself
        scores, _middle_half, confidence_level=level, method="percentile",
        n_resamples=N_RESAMPLES, rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(middle, float(low), float(high))


def _middle_half(*scores, axis=-1):
    with np.errstate(invalid="ignore"):
        return trim_mean(np.concatenate(scores, axis), 0.25, axis)


# Profiles over problems

def equal_weights(groups):
    """Return weights that add up to 1, each group weighing the same.

    ``groups``, array_like of shape (n_problems,), has a label per problem:
    the data set of a seed.
    """
    groups = pd.Series(np.asarray(groups))
    counts = groups.map(groups.value_counts()).to_numpy()
    return 1 / counts / groups.nunique()


def performance_profile(costs, weights, factors):
    """Compute performance profiles (Dolan and Moré 2002, eq. 2.1).

    Parameters
    ----------
    costs : array_like, shape (n_problems, n_methods)
        Positive; infinite where a method does not solve a problem.
    weights : array_like, shape (n_problems,)
        They add up to 1; `equal_weights`.
    factors : array_like, shape (n_factors,)
        At least 1.

    Returns
    -------
    numpy.ndarray, shape (n_factors, n_methods)
        The share of problems that each method solves at no more than this
        factor times the cost of the cheapest method, which depends on the
        other methods there are.
    """
    return data_profile(times_the_best(costs), weights, factors)


def times_the_best(costs):
    """Divide costs by the lowest of each problem; ∞ where none is finite."""
    costs = np.asarray(costs, dtype=float)
    best = costs.min(axis=1, keepdims=True)
    return np.divide(
        costs, best, out=np.full_like(costs, np.inf),
        where=np.isfinite(costs) & np.isfinite(best))


def data_profile(costs, weights, budgets):
    """Compute data profiles (Moré and Wild 2009, eq. 2.2).

    ``costs`` and ``weights`` are those of `performance_profile`.  The
    result, (n_budgets, n_methods), is the share of problems that a method
    solves within a budget, whatever other methods do.

    Notes
    -----
    Moré and Wild count budgets in simplex gradients, whose cost grows with
    the number of variables.  That of a hypergradient does not: the budgets
    here are in the unit of the costs.
    """
    within = np.asarray(costs)[None] <= np.reshape(budgets, (-1, 1, 1))
    return np.einsum("kpm,p->km", within, np.asarray(weights))


# Curves over seeds

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
