import sys
from pathlib import Path

from benchopt import BasePlot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))

import traces  # noqa: E402


class Plot(BasePlot):
    """Loss above the best that any method reached with the same seed."""

    name = "Suboptimality"
    type = "scatter"
    options = {
        "panel": traces.names_of,
        "loss": list(traces.LOSSES),
        "x_axis": list(traces.AXES),
    }

    def plot(self, df, panel, loss, x_axis):
        return traces.suboptimality(df, panel, loss, x_axis)

    def get_metadata(self, df, panel, loss, x_axis):
        return {
            "title": panel,
            "xlabel": traces.LABELS[traces.AXES[x_axis]],
            "ylabel": f"{loss} − best (floor {traces.FLOOR:g})",
        }
