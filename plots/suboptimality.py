from benchopt import BasePlot

# The lowest suboptimality that is drawn.
FLOORS = {"validation loss at the exact root": 1e-8, "test loss": 1e-3}
X_AXES = ["time", "evaluations", "outer steps"]


def panels_of(df):
    """Name the data set of each row, without its seed."""
    seeds = df.get("p_dataset_seed", df["dataset_name"])
    return [
        name.replace(f"seed={seed}", "all seeds")
        for name, seed in zip(df["dataset_name"], seeds)
    ]


def relative_gap(df):
    """Return (F(θ) − F*) / (F(θ₀) − F*), F at the exact root.

    Where F* is unknown, the lowest F of the seed takes its place.
    """
    values = df["objective_value_function"]
    lowest = values.groupby(df["dataset_name"]).transform("min")
    optimum = df.get("objective_optimum", lowest).fillna(lowest)
    start = values.where(df["stop_val"] == 0).groupby(
        [df["dataset_name"], df["solver_name"]]).transform("min")
    return (values - optimum) / (start - optimum)


def gap_of_test_loss(df):
    """Return the test loss above the lowest of the seed."""
    loss = df["objective_test_loss"]
    return loss - loss.groupby(df["dataset_name"]).transform("min")


class Plot(BasePlot):
    """Suboptimality of every solver.

    Curves are medians over seeds, up to the end of the shortest run.
    """

    name = "Suboptimality"
    type = "scatter"
    options = {
        "panel": lambda df: sorted(set(panels_of(df))),
        "loss": list(FLOORS), "x_axis": X_AXES,
    }

    def plot(self, df, panel, loss, x_axis):
        gap = gap_of_test_loss if loss == "test loss" else relative_gap
        df = df.assign(panel=panels_of(df))
        df = df[df["panel"] == panel].reset_index(drop=True)
        df = df.assign(
            gap=gap(df[~(df["objective_diverged"] > 0)]).clip(
                lower=FLOORS[loss]),
            evaluations=df["objective_n_g"] + df.get(
                "objective_n_vjp", df.get("objective_n_jvp")),
        ).rename(columns={"stop_val": "outer steps"})
        df["step"] = df["outer steps"]
        curves = [
            self._curve(solver, own, x_axis)
            for solver, own in df.groupby("solver_name")
        ]
        return [curve for curve in curves if curve["x"]]

    def _curve(self, solver, own, x_axis):
        steps = own.dropna(subset="gap").groupby("step")
        curve = steps[[x_axis, "gap"]].median()
        curve = curve[steps["dataset_name"].nunique() == own[
            "dataset_name"].nunique()]
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
            "ylabel": f"suboptimality of the {loss}",
        }
