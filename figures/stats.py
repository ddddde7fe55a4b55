"""Statistics of runs: functions of plain tables, no files and no drawing.

Tables have a row per run and measured outer step, with the columns of
`figures.results.named`.  A run that diverged counts as infinitely bad and
infinitely late from then on; NaN is what was not measured.
"""
import numpy as np
import pandas as pd


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
