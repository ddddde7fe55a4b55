import numpy as np
from benchopt import BasePlot

LOSSES = {
    "validation loss": "objective_value", "test loss": "objective_test_loss",
}
X_AXES = ["time", "evaluations", "outer steps"]
FLOOR = 1e-3  # suboptimalities below are drawn here


def panels_of(df):
    """Name the data set of each row, without its seed."""
    seeds = df.get("p_dataset_seed", df["dataset_name"])
    return [
        name.replace(f"seed={seed}", "all seeds")
        for name, seed in zip(df["dataset_name"], seeds)
    ]


class Plot(BasePlot):
    """Loss above the best that any solver reached with the same seed.

    Curves are medians over seeds, up to the end of the shortest run.
    """

    name = "Suboptimality"
    type = "scatter"
    options = {
        "panel": lambda df: sorted(set(panels_of(df))),
        "loss": list(LOSSES), "x_axis": X_AXES,
    }

    def plot(self, df, panel, loss, x_axis):
        df = df.assign(
            panel=panels_of(df), loss=df[LOSSES[loss]].where(
                ~(df["objective_diverged"] > 0), np.inf),
            evaluations=df["objective_n_g"] + df.get(
                "objective_n_vjp", df.get("objective_n_jvp")),
        ).rename(columns={"stop_val": "outer steps"})
        df["step"] = df["outer steps"]
        df = df[df["panel"] == panel]
        best = df.groupby("dataset_name")["loss"].transform("min")
        df = df.assign(gap=(df["loss"] - best).clip(lower=FLOOR))
        curves = [
            self._curve(solver, own, x_axis)
            for solver, own in df.groupby("solver_name")
        ]
        return [curve for curve in curves if curve["x"]]

    def _curve(self, solver, own, x_axis):
        steps = own.groupby("step")
        curve = steps[[x_axis, "gap"]].median()
        whole = steps["dataset_name"].nunique() == own[
            "dataset_name"].nunique()
        curve = curve[whole & np.isfinite(curve["gap"])]
        return {
            "x": curve[x_axis].tolist(), "y": curve["gap"].tolist(),
            "label": solver, **self.get_style(solver),
        }

    def get_metadata(self, df, panel, loss, x_axis):
        labels = {
            "time": "time (s)",
            "evaluations": "gradient evaluations + products",
        }
        return {
            "title": panel, "xlabel": labels.get(x_axis, x_axis),
            "ylabel": f"{loss} − best (floor {FLOOR:g})",
        }
