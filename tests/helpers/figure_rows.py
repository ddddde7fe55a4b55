"""Rows of result files whose every median is known beforehand."""
import re

import numpy as np
import pandas as pd

from figures import __main__ as command
from figures.results import named, present_names, rows_of

NAN = np.nan


def rows(solver, seed, n, dataset="toy", **columns):
    """Rows of one run in the present format, ``n`` outer steps.

    Names with a prefix ``p_`` are parameters, others the objective's.  A
    run with an accuracy and no F is a network's, whose theta has no number.
    """
    steps = np.arange(n)
    network = "test_accuracy" in columns and "value_function" not in columns
    columns = {
        name if name.startswith(("p_", "file_", "time", "stop_", "solver_"))
        else f"objective_{name}": column for name, column in columns.items()
    }
    return pd.DataFrame({
        "dataset_name": f"{dataset}[seed={seed}]", "solver_name": solver,
        "objective_dataset": dataset, "objective_solver": solver,
        "objective_data_fingerprint": "", "p_dataset_seed": seed,
        "p_solver_protocol": "fair", "p_obj_fingerprint": "abc",
        "p_obj_reference": 1, "stop_val": steps, "time": 1.0 * steps,
        "objective_value": 1.0, "objective_test_loss": 1.0,
        "objective_value_function": NAN, "objective_optimum": NAN,
        "objective_value_error": 1e-6,
        "objective_theta": NAN if network else -0.1 * steps,
        "objective_n_g": 10.0 * steps, "objective_n_vjp": 1.0 * steps,
        "objective_diverged": 0.0,
    } | columns)


def older(frame, moves=1, settings=""):
    """The same rows as files had them before there were protocols."""
    frame = frame.drop(columns=[
        "objective_dataset", "objective_solver", "p_solver_protocol",
        "objective_data_fingerprint", "objective_optimum",
        "objective_value_error",
    ]).rename(columns={"objective_n_vjp": "objective_n_jvp"})
    return frame.assign(
        p_solver_moves=moves, solver_name=frame["solver_name"] + settings
    )


def bilevel(solver, seed, gaps, unit=1.0, **columns):
    """A run that takes ``unit`` s, 10 g and a product per step.

    F is 50 + seed at the optimum, 100 (seed + 1) above it at the start, and
    known to 1e-6.
    """
    losses = 50 + seed + 100 * (seed + 1) * np.array(gaps, dtype=float)
    n = len(gaps)
    return rows(solver, seed, n, time=unit * np.arange(n),
                **{"value_function": losses, "optimum": 50.0 + seed} | columns)


def losses(solver, seed, gaps, products=0, **columns):
    """A run whose step takes 0.1 (seed + 1) s and 10 evaluations of g.

    The test loss is ``gaps`` above 100 + seed, and F above 200 + seed, which
    is its optimum.
    """
    steps, gaps = np.arange(len(gaps)), np.array(gaps, dtype=float)
    return rows(solver, seed, len(gaps), **{
        "time": 0.1 * (seed + 1) * steps, "value": 200.0 + seed + gaps,
        "test_loss": 100.0 + seed + gaps, "n_vjp": products * steps,
        "value_function": 200.0 + seed + gaps, "optimum": 200.0 + seed,
    } | columns)


def _named(frames):
    """Each frame as a file of its own, in whatever format."""
    return named(pd.concat([
        rows_of(present_names(frame.reset_index(drop=True)), f"file {i}")
        for i, frame in enumerate(frames)
    ], ignore_index=True))


def runs_of(*frames):
    return _named(frames)[0]


def warnings_of(*frames):
    return _named(frames)[1]


def save(path, *frames):
    pd.concat(frames, ignore_index=True).to_parquet(path)
    return path


def run(capsys, *words):
    """A command's exit status, and what it printed on both streams."""
    status = command.main(words)
    return status, *capsys.readouterr()


def table(text, first):
    """The cells of the first table with such a heading, a dict per row."""
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text)
    lines = next(t for t in tables if first in t.splitlines()[0]).splitlines()
    head, _, *body = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines
    )
    return [dict(zip(head, row, strict=True)) for row in body]


def assert_nothing_overlaps(figure):
    """Panels and legends are whole, and apart from one another."""
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes.append(figure._suptitle.get_window_extent())
    for i, box in enumerate(boxes):
        assert box.width > 0 and box.height > 0
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1
        assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[:i])


def pass_times(factor):
    """Times of passes: Jacobian-Free takes a part of the full solve."""
    return pd.DataFrame([
        {"network": "tiny", "method": method, "dataset": "toy",
         "device": "cpu", "fingerprint": "abc", "batch": batch,
         "steps": steps, "forward_seconds": 0.1,
         "backward_seconds": batch * times, "evaluations": 20,
         "products": 0, "backward_products": 0, "peak_memory": 2 ** 20,
         "batch_size": 4}
        for batch in (1, 2, 7)
        for method, steps, times in (
            ("HOAG", np.inf, 1.0), ("Jacobian-Free", 0, factor))
    ])
