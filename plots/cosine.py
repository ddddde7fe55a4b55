import sys
from pathlib import Path

from benchopt import BasePlot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))

import traces  # noqa: E402


class Plot(BasePlot):
    """How well q, and with it the hypergradient, is aligned, along the run."""

    name = "Cosine of q"
    type = "scatter"
    options = {"panel": traces.names_of, "x_axis": list(traces.AXES)}

    def plot(self, df, panel, x_axis):
        return traces.cosine(df, panel, x_axis)

    def get_metadata(self, df, panel, x_axis):
        return {
            "title": panel,
            "xlabel": traces.LABELS[traces.AXES[x_axis]],
            "ylabel": "cosine of q with the exact one",
        }
