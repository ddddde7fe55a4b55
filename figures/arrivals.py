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

def first(runs, gap, x):
    """Find where each run first comes within a gap.

    Parameters
    ----------
    runs : pandas.DataFrame
        With a column ``gap``, of `add_suboptimality` or `add_shortfall`.
    gap : float
    x : {"time", "evaluations"}

    Returns
    -------
    pandas.Series
        The column ``x`` at that step.  It is infinite where a run never
        comes so close, and NaN where its gap, or ``x``, was never measured.
    """
    there = runs[x].where(runs["gap"] <= gap, np.inf)
    of_run = [runs[key] for key in RUN]
    return there.groupby(of_run).min().where(_measured(runs, x))


def stay(runs, gap, x):
    """Find from where on each run is within a gap, up to its end.

    Parameters and result are those of `first`.  Steps at which the gap was
    not measured do not count, and a run that diverged never stays.
    """
    far = runs["gap"].where(runs["gap"].notna(), -np.inf) > gap
    of_run = [runs[key] for key in RUN]
    departure = runs["step"].where(far).groupby(of_run).transform("max")
    after = ~(runs["step"] <= departure) & runs["gap"].notna()
    there = runs[x].where(after, np.inf).groupby(of_run).min()
    return there.where(_measured(runs, x))


def _measured(runs, x):
    """Say of each run whether its gap and ``x`` were measured at all."""
    return runs.groupby(RUN)[["gap", x]].count().min(axis=1) > 0


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


def per_step(runs, names):
    """Compute what an outer step of each run takes, from totals.

    From one point of a run to the next the totals, columns ``names``, grow by
    an amount per outer step; the result, a row per run, has the medians over
    the points, so that neither a cold start nor a phase of unrolled training
    counts.
    """
    growth = runs.sort_values("step").groupby(RUN)[
        ["n_outer", *names]].diff()
    return growth[[*names]].div(growth["n_outer"], axis=0).groupby(
        [runs[key] for key in RUN]).median()


def per_pass(runs, name):
    """Compute milliseconds per pass from seconds since the start."""
    return 1e3 * per_step(runs, [name])[name]


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
    """Add ``gap``, the relative suboptimality of F, and what belongs to it.

    F(θ), the column ``value_function``, is the validation loss at the exact
    root; F*, the column ``optimum``, is its minimum.  Added are

    ``F`` : F(θ), NaN where it is infinite or the run had diverged
    ``gap`` : max(0, F(θ) − F*) / (F(θ₀) − F*), of the θ₀ of the run itself;
        0 where F(θ) − F* is no more than its error, infinite where the run
        had diverged, NaN where F was not measured or θ₀ is an optimum
    ``best_gap`` : the lowest gap so far
    ``floor`` : the error of F(θ) in units of the gap

    The error is the column ``value_error``, or ERROR of F* without one.
    """
    dead = (runs["diverged"] > 0) | np.isinf(runs["value_function"])
    losses = runs["value_function"].mask(dead)
    error = runs["value_error"].fillna(ERROR * runs["optimum"].abs())
    above, way = losses - runs["optimum"], start_of(runs) - runs["optimum"]
    gap = (above / way).mask(above <= error, 0.0).where(way > error)
    runs = runs.assign(
        F=losses, gap=gap.mask(dead, np.inf),
        floor=(error / way).where(way > error),
    )
    return runs.assign(best_gap=_best_so_far(runs))


def start_of(runs):
    """Return F(θ₀) of the run of each row; NaN where it was not measured."""
    first = runs["value_function"].where(runs["step"] == 0)
    return first.groupby([runs[key] for key in RUN]).transform("min")


def _best_so_far(runs):
    """Return the lowest gap so far, infinite once the run has diverged."""
    ordered = runs.sort_values("step")
    best = ordered["gap"].groupby([ordered[key] for key in RUN]).cummin()
    return best.mask(runs["diverged"] > 0, np.inf)


def ways(runs):
    """Return F(θ₀), F* and the error of F, of each seed of one data set.

    The columns are ``start``, ``optimum`` and ``error``, medians over the
    runs; NaN is what is unknown.
    """
    error = runs["value_error"].fillna(ERROR * runs["optimum"].abs())
    return runs.assign(start=start_of(runs), error=error).groupby("seed")[
        ["start", "optimum", "error"]].median()


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
    """Find the highest of the methods' median accuracies at the end (%).

    It is NaN where most runs of every method have diverged.
    """
    methods = last(runs, "percent", -np.inf).groupby(["protocol", "method"])
    best = methods.agg(quantile, q=0.5).max()
    return best if np.isfinite(best) else np.nan


def stride(runs, name):
    """Find after how many outer steps a number was measured.

    It is NaN where no run has two of them.
    """
    steps = runs.dropna(subset=name).sort_values("step")
    return steps.groupby(RUN)["step"].diff().median()


def is_network(runs):
    """Say whether the runs of one data set train a network.

    A network's theta has no number that is shown, and its F is not known.
    """
    return bool(
        runs["test_accuracy"].notna().any()
        and runs[["value_function", "theta"]].isna().all(axis=None)
    )


def occasions(runs):
    """Return on which occasions runs were timed: files and machines, a set.

    A file of benchopt may have runs of several days; methods of one file
    were run beside each other, as far as one can see.
    """
    return set(zip(runs["path"], runs["machine"]))


def seeds_of(runs):
    """Return the least and the greatest number of seeds of any method."""
    counts = runs.groupby(["dataset", "protocol", "method"])["seed"].nunique()
    return int(counts.min()), int(counts.max())
