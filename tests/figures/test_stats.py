"""Statistics against SciPy, theorems, brute force and simulation."""
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from figures import stats

INF, NAN = np.inf, np.nan
SUPERIOR = partial(
    stats.evidence, low=0.0, high=INF, interval=stats.median_interval,
    test=stats.sign_test)
BY_MEAN = partial(
    stats.evidence, interval=stats.mean_interval, test=stats.t_test)


def exp(estimate):
    return [float(f"{np.exp(x):.3g}") for x in estimate]


# Effects, paired by seed

def test_a_run_that_never_arrives_loses_to_one_that_does():
    one = [10, 10, INF, INF, NAN, 0, 0, 5]
    other = [20, INF, 10, INF, 10, 0, 3, 5]
    logs = stats.log_ratios(one, other)
    assert logs == pytest.approx([np.log(2), INF, -INF, 0, 0, INF, 0])
    assert stats.wins_losses_ties(logs) == (3, 1, 3)
    assert stats.differences([-INF, -INF, 3], [-INF, 1, 1]).tolist() == [
        0, -INF, 2]


def test_the_sign_test_drops_ties_and_what_rounding_makes_of_them():
    logs = np.log([2, 3, 4, 5, 1 + 1e-15, 1, 0.5])
    expected = scipy_stats.binomtest(4, 5).pvalue
    assert stats.sign_test(logs) == expected == 0.375
    assert stats.sign_test([0, 0]) == stats.sign_test([]) == 1
    assert stats.sign_test(logs, at=np.log(2.5), alternative="less") == (
        scipy_stats.binomtest(3, 7, alternative="less").pvalue)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 22])
def test_fewest_pairs_that_decide(size):
    n = stats.fewest_pairs(size)
    p = [stats.holm([stats.sign_test(np.ones(k))] * size)[0]
         for k in (n - 1, n)]
    assert p[0] > 0.05 >= p[1]


# Intervals

def test_the_interval_of_the_median_is_the_bootstrap_s_own():
    """Of an odd sample, the bootstrapped median has a known distribution.

    It is at most the k-th number of n where more than half of the draws
    are: a binomial probability, with success rate k / n.
    """
    n, numbers = 11, np.log(np.arange(2, 13))
    at_most = scipy_stats.binom.sf(n // 2, n, np.arange(1, n + 1) / n)
    low = numbers[np.searchsorted(at_most, 0.025)]
    high = numbers[np.searchsorted(at_most, 0.975)]
    assert stats.median_interval(numbers) == pytest.approx(
        (numbers[5], low, high))


@pytest.mark.parametrize("ratios, expected", [
    ([2, 2, 2, 2, 2, 2, 2, INF, INF], [2, 2, INF]),  # one end is infinite
    ([INF] * 5 + [2] * 4, [INF, 2, INF]),
    ([INF] * 5 + [2] * 5, [INF, 2, INF]),  # half of them never
    ([0] * 9, [0, 0, 0]), ([1] * 9, [1, 1, 1]), ([3], [3, 0, INF]),
])
def test_intervals_with_runs_that_never_arrive(ratios, expected):
    with np.errstate(divide="ignore"):
        assert exp(stats.median_interval(np.log(ratios))) == expected


def test_the_interval_of_the_mean_and_its_test_are_scipy_s():
    d = np.array([0.3, -0.1, 0.5, 0.2])
    t = scipy_stats.ttest_1samp(d, -0.5, alternative="greater")
    both = scipy_stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert stats.mean_interval(d) == pytest.approx((d.mean(), *both))
    found = BY_MEAN(d, low=-0.5, high=INF)
    assert found.p_inside == pytest.approx(2 * t.pvalue)
    assert found.p_outside == 1
    diverged = BY_MEAN(np.array([-INF, 0.1, 0.2]), low=-0.5, high=INF)
    assert diverged == ((-INF, -INF, INF), 1, 1)
    same = BY_MEAN(np.zeros(4), low=-0.5, high=0.5)
    assert same == ((0, 0, 0), 1, 1)


def test_a_mean_that_only_rounding_tells_from_zero_is_zero():
    effects = np.array([0.1, 0.2, -0.3 + 1e-12])
    middle, low, high = stats.mean_interval(effects)
    assert middle == 0
    assert low == pytest.approx(-high)
    assert high > 0.1
    assert stats.mean_interval(effects + 1e-8).middle == pytest.approx(
        1e-8, rel=1e-3)


def test_equivalence_is_two_one_sided_tests():
    d = np.array([0.3, -0.1, 0.5, 0.2])
    sides = [scipy_stats.ttest_1samp(d, at, alternative=side).pvalue
             for at, side in ((-0.6, "greater"), (0.6, "less"))]
    found = BY_MEAN(d, low=-0.6, high=0.6)
    assert found.p_inside == pytest.approx(2 * max(sides))
    assert BY_MEAN(d + 2, low=-0.6, high=0.6).p_outside < 0.01


def test_shares_have_the_exact_interval():
    # of 10 of 10, the lower end is the n-th root of α / 2
    assert stats.share(10, 10) == pytest.approx((1, 0.025 ** 0.1, 1))


# Size and power, by simulation

def simulated(ratio, n, spread=0.4, times=2000):
    """Costs of two methods, ``ratio`` apart, that share a seed's effect."""
    rng = np.random.default_rng(0)
    seed = rng.normal(size=(times, n))
    one, other = np.exp(seed + spread * rng.normal(size=(2, times, n)))
    return one, ratio * other


@pytest.mark.parametrize("ratio, n", [(1, 10), (1, 20), (1.5, 10), (2, 6)])
def test_size_and_power_of_the_sign_test(ratio, n):
    """Wins are binomial: the rate of rejections is known."""
    rate = scipy_stats.norm.cdf(np.log(ratio) / 0.4 / np.sqrt(2))
    rejects = [scipy_stats.binomtest(k, n).pvalue <= 0.05
               for k in range(n + 1)]
    exact = scipy_stats.binom.pmf(np.arange(n + 1), n, rate) @ rejects
    found = np.mean([
        stats.sign_test(stats.log_ratios(a, b)) <= 0.05
        for a, b in zip(*simulated(ratio, n))])
    assert found == pytest.approx(exact, abs=0.02)
    assert ratio > 1 or found <= 0.05


def test_coverage_of_the_median_s_interval(monkeypatch):
    """Between the k-th lowest and highest of n: what is known, 93 %."""
    monkeypatch.setattr(stats, "N_RESAMPLES", 999)
    logs = np.log(1.5 * np.divide(*simulated(1, 11, times=1000)))
    found = np.array([stats.median_interval(own) for own in logs])
    exact = 1 - 2 * scipy_stats.binom.cdf(2, 11, 0.5)
    covers = (found[:, 1] <= np.log(1.5)) & (np.log(1.5) <= found[:, 2])
    assert covers.mean() == pytest.approx(exact, abs=0.02)


def test_size_of_non_inferiority_at_its_margin():
    d = np.random.default_rng(0).normal(-0.5, 0.23, (1500, 3))
    p = np.array([stats.t_test(own, -0.5, "greater") for own in d])
    assert np.mean(p <= 0.025) == pytest.approx(0.025, abs=0.01)


# Many comparisons

def test_holm_is_the_closed_test_of_bonferroni():
    """A hypothesis falls where all intersections with it do: a theorem."""
    for p in np.random.default_rng(0).uniform(size=(20, 5)) ** 3:
        closed = [max(
            min(1, len(some) * p[list(some)].min())
            for size in range(1, 6) for some in combinations(range(5), size)
            if i in some) for i in range(5)]
        np.testing.assert_allclose(stats.holm(p), closed)
        # those without a number count as 1
        np.testing.assert_allclose(
            stats.holm(p, 8), stats.holm([*p, 1, 1, 1])[:5])


def test_a_winner_beats_every_other_one():
    ones = pd.DataFrame({"a": np.arange(1.0, 9), "b": 2.0, "c": INF})
    assert stats.winner(ones, -1) is None  # not below b
    ones["b"] = ones["a"] + 0.5
    assert stats.winner(ones, -1) == "a" and stats.winner(-ones, 1) == "a"
    assert stats.winner(ones, 0) is None
    assert stats.winner(ones.assign(b=NAN), -1) is None
    assert stats.winner(ones[["a", "b"]].head(6), -1) == "a"
    assert stats.winner(ones[["a", "b"]].head(5), -1) is None  # too few
    assert stats.winner(ones.head(6), -1) is None  # for two comparisons
    assert stats.winner(ones.assign(a=ones["a"].where(ones["a"] > 1)),
                        -1) is None
    assert stats.winner(ones[["a"]], -1) is None


def test_equal_methods_have_hardly_ever_a_winner():
    draws = np.random.default_rng(0).lognormal(size=(300, 10, 5))
    won = [stats.winner(pd.DataFrame(own), -1) is not None for own in draws]
    assert np.mean(won) <= 0.05


# Accuracies

def test_the_interquartile_mean_is_that_of_the_middle_half():
    tasks = [[0.0, 1, 2, 100], [3.0, 4, 5, 6]]
    middle, low, high = stats.interquartile_mean(tasks)
    assert middle == np.mean([2, 3, 4, 5]) and low < middle < high
    # seeds are drawn within a task: equal ones leave nothing to chance
    assert stats.interquartile_mean([[1, 1], [3, 3]]) == (2, 2, 2)
    assert np.isnan(stats.interquartile_mean([[1.0]]).low)


def test_the_interval_of_the_interquartile_mean_covers():
    rng = np.random.default_rng(0)
    covers = []
    for own in rng.normal(size=(100, 2, 15)):
        _, low, high = stats.interquartile_mean(list(own))
        covers.append(low <= 0 <= high)
    assert np.mean(covers) == pytest.approx(0.95, abs=0.04)


# Profiles

COSTS = np.array([[1, 2, INF], [4, 2, 8], [INF, INF, INF], [3, 3, 9]])


def test_numbers_within_an_error_are_the_same():
    pairs = stats.equal_within(
        [0, 0, 1, INF, 1], [0.5, 2, 1.5, INF, INF], [1, 1, NAN, 1, 1])
    assert pairs.T.tolist() == [
        [1, 1], [1, 2], [1, 1.5], [INF, INF], [1, INF]]


def test_nothing_costs_nothing():
    assert stats.times_the_best([[0, 0], [0, 1], [INF, INF]]).tolist() == [
        [1, 1], [1, INF], [INF, INF]]


def test_profiles_count_problems():
    weights = stats.equal_weights(["x", "x", "x", "y"])
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    factors = [1, 2, 4, 1e9]
    brute = [[sum(
        w for w, row in zip(weights, COSTS)
        if np.isfinite(row[s]) and row[s] <= f * row.min()
    ) for s in range(3)] for f in factors]
    np.testing.assert_allclose(
        stats.performance_profile(COSTS, weights, factors), brute)
    even = np.full(4, 0.25)
    for method, column in enumerate(COSTS.T):
        ecdf = scipy_stats.ecdf(
            np.minimum(column, 1e9)).cdf.evaluate([2, 3, 8])
        np.testing.assert_allclose(
            stats.data_profile(COSTS, even, [2, 3, 8])[:, method], ecdf)
