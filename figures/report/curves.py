"""Draw the curves of the report by plotly, one figure per data set."""
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..arrivals import (
    add_gap, add_suboptimality, alive, is_network, seeds_of,
)
from ..methods import in_order, looks
from ..plotting import ROUNDING, X_LABELS
from ..results import in_protocol_order
from ..stats import complete, quantiles

BAND = (0.1, 0.9)  # quantiles over seeds
# The first is shown first.
X_AXES = {name: X_LABELS[name] for name in ("evaluations", "time")} | {
    "outer": "outer steps"}
SHOWN = next(iter(X_AXES))
# Quantity -> its name, the least value that its axis shows; None: linear.
QUANTITIES = {
    "best_gap": ("suboptimality of F, best so far", 1e-12),
    "gap_F": ("suboptimality of F, current θ", 1e-12),
    "gap_test": ("test loss − lowest (floor 0.001)", 1e-3),
    "test_loss": ("test loss", 1e-6),
    "percent": ("test accuracy (%)", None),
    "cosine": ("cosine of q with the exact q", None),
    "hypergrad_rel_error": ("relative error of dF/dθ", 1e-6),
    "wrong_signs": ("wrong signs of dF/dθ (%)", None),
}
LAYOUT = {
    "margin": {"l": 70, "r": 10, "t": 46, "b": 50}, "height": 520,
    "plot_bgcolor": "#fff", "paper_bgcolor": "#fff", "hovermode": "closest",
    "legend": {"font": {"size": 11}},
    "font": {"family": "system-ui, Liberation Sans, Arial, sans-serif",
             "size": 13, "color": "#1f2328"},
}


def quantities_of(runs):
    """Add the columns of QUANTITIES that the runs of one data set have."""
    if is_network(runs):
        dead = runs["diverged"] > 0
        return runs.assign(
            test_loss=alive(runs, "test_loss"),
            percent=(100 * runs["test_accuracy"]).mask(dead, -np.inf),
        )
    relative = add_suboptimality(runs)
    # a logarithmic axis has no place for 0
    floor = max(relative["floor"].median(), ROUNDING)
    return runs.assign(
        best_gap=relative["best_gap"].clip(lower=floor),
        gap_F=relative["gap"].clip(lower=floor),
        gap_test=add_gap(runs, "test_loss")["gap"],
        wrong_signs=100 * (1 - runs["hypergrad_sign"]),
    ).drop(columns="test_loss")


@dataclass(frozen=True)
class Curve:
    """The curve of one quantity and method, a point per measured step.

    ``x`` has medians over seeds, a column per axis of X_AXES; ``y``,
    ``low`` and ``high`` are the median and the band over seeds.
    """

    x: pd.DataFrame
    y: pd.Series
    low: pd.Series
    high: pd.Series


def curves_of(runs):
    """Compute the curves of one data set and protocol that have numbers.

    The result is by quantity and method.
    """
    found, curves = quantities_of(runs), {}
    axes = _median_x(found)
    for quantity in QUANTITIES:
        if quantity not in found or found[quantity].isna().all():
            continue
        measured = found.dropna(subset=[quantity])
        for method, ys in _by_method(measured, quantity).items():
            curve = _curve(ys, axes[method])
            if len(curve.y):
                curves[quantity, method] = curve
    return curves


def _by_method(runs, y):
    """Tabulate a column: for each method a row per step, a column per seed."""
    table = runs.pivot(index="step", columns=["method", "seed"], values=y)
    return {
        method: table[method].dropna(how="all") for method in in_order(runs)
    }


def _median_x(runs):
    """Compute where the steps of each method lie on the axes of X_AXES."""
    tables = {x: _by_method(runs, x) for x in X_AXES}
    return {
        method: pd.DataFrame({  # a run that ended stays where it was
            x: tables[x][method].ffill().median(axis=1) for x in X_AXES
        }) for method in in_order(runs)
    }


def _curve(ys, x):
    ys = complete(ys)
    low, y, high = (
        pd.Series(quantiles(ys.to_numpy(), q), ys.index)
        for q in (BAND[0], 0.5, BAND[1])
    )
    return Curve(x.loc[ys.index], y, low, high)


def figure_of(runs, protocol):
    """Draw the curves of one data set and protocol: plotly's data, layout.

    A click on a name in the legend hides a method, a double click shows it
    alone; two menus choose the quantity and the x axis.  None is returned
    where nothing was measured.
    """
    runs = runs[runs["protocol"] == protocol]
    curves = curves_of(runs)
    if not curves:
        return None
    styles = looks(runs["method"].unique())
    several = seeds_of(runs)[1] > 1
    quantities = list(dict.fromkeys(quantity for quantity, _ in curves))
    traces, owners, xs = [], [], {x: [] for x in X_AXES}
    for (quantity, method), curve in curves.items():
        floor = QUANTITIES[quantity][1]
        for make in (_band, _line) if several else (_line,):
            trace, where = make(curve, method, styles[method], floor)
            traces.append(trace | {"visible": quantity == quantities[0]})
            owners.append(quantity)
            for x in X_AXES:
                xs[x].append(where[x])
    return {"data": traces, "layout": LAYOUT | {
        "updatemenus": [_x_menu(xs), _quantity_menu(quantities, owners)],
        "xaxis": _axis(X_AXES[SHOWN]) | {"type": "log"},
        "yaxis": _y_axis(quantities[0]),
    }}


def _line(curve, method, look, floor):
    """Return the median line, and its x by the axis."""
    where = {x: _plain(curve.x[x]) for x in X_AXES}
    style = {"color": look["color"], "dash": _dash(look["linestyle"]),
             "width": 2}
    return {
        "type": "scatter", "mode": "lines+markers", "name": _text(method),
        "x": where[SHOWN], "y": _level(curve.y, floor), "line": style,
        "marker": {"size": 4}, "legendgroup": method,
        "hovertemplate": "%{y:.4g} at %{x:.4g}",
    }, where


def _band(curve, method, look, floor):
    """Return the band over seeds as a polygon, and its x by the axis."""
    ends = np.isfinite(curve.low) & np.isfinite(curve.high)
    low, high = (_level(ys[ends], floor) for ys in (curve.low, curve.high))
    forth = {x: _plain(curve.x[x][ends]) for x in X_AXES}
    where = {x: there + there[::-1] for x, there in forth.items()}
    return {
        "type": "scatter", "mode": "lines", "fill": "toself",
        "x": where[SHOWN], "y": high + low[::-1], "line": {"width": 0},
        "fillcolor": look["color"] + "22", "hoverinfo": "skip",
        "showlegend": False, "legendgroup": method,
    }, where


def _level(ys, floor):
    """Return numbers for plotly: none below the floor, gaps for infinity."""
    floor = -math.inf if floor is None else floor
    return [
        float(f"{max(y, floor):.5g}") if math.isfinite(y) else None
        for y in ys
    ]


def _plain(xs):
    return [float(f"{x:.5g}") for x in xs]


def _text(name):
    """Return a name that plotly shows as it is."""
    return name.replace("&", "&amp;").replace("<", "&lt;")


def _dash(style):
    if style == "-":
        return "solid"
    return ",".join(f"{2 * length:g}px" for length in style[1])


def _axis(title):
    return {
        "title": {"text": title}, "automargin": True, "gridcolor": "#e3e6ea",
        "linecolor": "#1f2328", "mirror": True, "showline": True,
        "zeroline": False, "exponentformat": "power",
    }


def _y_axis(quantity):
    label, floor = QUANTITIES[quantity]
    if floor is None:
        return _axis(label) | {"type": "linear"}
    return _axis(label) | {"type": "log"}


def _menu(buttons, x):
    return {
        "buttons": buttons, "x": x, "xanchor": "left", "y": 1.02,
        "yanchor": "bottom", "pad": {"b": 4}, "font": {"size": 12},
    }


def _x_menu(xs):
    return _menu([
        {"label": f"against {label}", "method": "update",
         "args": [{"x": xs[x]}, {"xaxis.title.text": label}]}
        for x, label in X_AXES.items()
    ], 0.42)


def _quantity_menu(quantities, owners):
    return _menu([
        {"label": QUANTITIES[quantity][0], "method": "update",
         "args": [
             {"visible": [owner == quantity for owner in owners]},
             {"yaxis": _y_axis(quantity)},
         ]}
        for quantity in quantities
    ], 0.0)


def figures_of(runs):
    """Draw every data set and protocol: yield title and figure."""
    for dataset, own in runs.groupby("dataset"):
        for protocol in in_protocol_order(own["protocol"].unique()):
            figure = figure_of(own, protocol)
            if figure is not None:
                yield f"{dataset}, {protocol} protocol", figure
