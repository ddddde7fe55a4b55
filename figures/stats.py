"""Statistics of runs: functions of plain tables, no files and no drawing.

Tables have a row per run and measured outer step, with the columns of
`figures.results.named`.  A run that diverged counts as infinitely bad and
infinitely late from then on; NaN is what was not measured.
"""
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, bootstrap, sem, t, trim_mean, ttest_1samp

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


def equal_within(one, other, error):
    """Make pairs equal whose numbers differ by no more than an error.

    Parameters
    ----------
    one, other : array_like, shape (n_seeds,)
        Numbers at least 0, of the same seeds; infinite where a run diverged.
    error : array_like, shape (n_seeds,)
        At least 0; NaN counts as 0.

    Returns
    -------
    numpy.ndarray, shape (2, n_seeds)
        The pairs.  Numbers below the error are raised to it, so that no
        ratio of two of them is larger than what was measured.
    """
    error = np.nan_to_num(np.asarray(error, dtype=float))
    pairs = np.maximum([one, other], error)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        same = np.abs(np.subtract(one, other)) <= error
    return np.where(same, pairs.max(axis=0), pairs)


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
    diverged), or fewer than two pairs, the interval is infinite.  Numbers
    within TIE of 0 are 0.
    """
    effects = np.asarray(effects, dtype=float)
    middle = float(np.mean(effects)) if len(effects) else np.nan
    if len(effects) < 2 or not np.isfinite(effects).all():
        return Estimate(middle, -np.inf, np.inf)
    half = sem(effects) * t.ppf((1 + level) / 2, len(effects) - 1)
    return Estimate(*(
        float(x) if abs(x) > TIE else 0.0
        for x in (middle, middle - half, middle + half)
    ))


def t_test(effects, at=0.0, alternative="two-sided"):
    """Test whether the mean of paired differences is ``at``; return p.

    With infinite differences, fewer than two pairs, or no spread to compare
    with, p is 1.
    """
    effects = np.asarray(effects, dtype=float) - at
    if len(effects) < 2 or not np.isfinite(effects).all() or (
            np.ptp(effects) <= TIE):
        return 1.0
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


def winner(numbers, better, errors=None):
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
    errors : pandas.DataFrame, (seeds, methods), or None
        Of low numbers: those of a pair that differ by no more than the
        larger of their errors are a tie.

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
    gain, p_values = differences if better > 0 else log_ratios, []
    for other in numbers.columns.drop(best):
        pair = numbers[best], numbers[other]
        if errors is not None:
            pair = equal_within(*pair, errors[[best, other]].max(axis=1))
        p_values.append(2 * sign_test(gain(*pair), 0, "greater"))
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
    ratios = np.divide(
        costs, best, out=np.full_like(costs, np.inf),
        where=np.isfinite(costs) & np.isfinite(best) & (best > 0))
    return np.where((costs == best) & np.isfinite(best), 1.0, ratios)


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
