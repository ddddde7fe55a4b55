"""Runs as curves of benchopt's own page: what `plots/` shows.

Medians over seeds and the middle 80 %, as in the figures, which benchopt's
own charts, a data set per seed, do not have.
"""
import numpy as np

from common import (
    PROTOCOLS, X_LABELS, add_gap, of_neither, over_seeds, rank, renamed,
    runs_of, short_names,
)
from drawing import style_of
from league import per_pass

BAND = (0.1, 0.9)
FLOOR = 1e-3  # suboptimalities below are drawn here, as in the figures
LOSSES = {"validation loss": "value", "test loss": "test_loss"}
AXES = {"time": "time", "evaluations": "evaluations", "outer steps": "outer"}
LABELS = X_LABELS | {"outer": "outer steps"}


def panels_of(df):
    """Runs by what a panel is called, "data set, protocol".

    Parameters
    ----------
    df : pandas.DataFrame
        As benchopt hands it to a plot: the rows of a result file.
    """
    frame = renamed("results", df.reset_index(drop=True))
    runs = runs_of(frame[~of_neither(frame)])
    titles = short_names(sorted(runs["dataset"].unique()))
    return {
        f"{titles[dataset]}, {protocol}": own
        for (dataset, protocol), own in sorted(
            runs.groupby(["dataset", "protocol"]),
            key=lambda item: (item[0][0], PROTOCOLS.index(item[0][1])),
        )
    }


def names_of(df):
    """The panels that there are, a list for the option of a plot."""
    return list(panels_of(df))


def _looks(methods):
    """Of a chart: benchopt has colours and markers, and no dashes."""
    return {
        method: {
            "label": method, "color": style_of(method)["color"],
            "marker": place,
        } for place, method in enumerate(sorted(methods, key=rank))
    }


def _trace(own, x, y, floor=-np.inf):
    curve = over_seeds(own, AXES[x], BAND, y)
    curve = curve.replace([np.inf, -np.inf], np.nan).dropna()
    ys = curve[[y, "low", "high"]].clip(lower=floor)
    return {
        "x": curve["x"].tolist(), "y": ys[y].tolist(),
        "y_low": ys["low"].tolist(), "y_high": ys["high"].tolist(),
    }


def _traces(runs, x, y, floor=-np.inf):
    groups = dict(iter(runs.dropna(subset=y).groupby("method")))
    found = [
        _trace(groups[method], x, y, floor) | look
        for method, look in _looks(groups).items()
    ]
    return [trace for trace in found if trace["x"]]


def suboptimality(df, panel, loss, x):
    """A loss above the best that any method reached with the same seed.

    Parameters
    ----------
    df, panel
        Of `panels_of`.
    loss : {"validation loss", "test loss"}
    x : {"time", "evaluations", "outer steps"}
    """
    runs = add_gap(panels_of(df)[panel], LOSSES[loss])
    return _traces(runs, x, "gap", FLOOR)


def cosine(df, panel, x):
    """Cosine of q with the exact one, along the run."""
    return _traces(panels_of(df)[panel], x, "cosine")


def passes(df, panel):
    """A point per method: milliseconds of a backward and of a forward pass.

    Means of a run, medians over seeds.
    """
    runs = panels_of(df)[panel].copy()
    times = {
        name: per_pass(runs, f"{name}_time").groupby("method").median()
        for name in ("forward", "backward")
    }
    return [
        {"x": [times["forward"][method]], "y": [times["backward"][method]]}
        | look
        for method, look in _looks(times["forward"].dropna().index).items()
    ]
