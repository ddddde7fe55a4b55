import sys
from pathlib import Path

from benchopt import BasePlot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "figures"))

import traces  # noqa: E402


class Plot(BasePlot):
    """Time of a backward pass against that of a forward pass."""

    name = "Backward against forward time"
    type = "scatter"
    options = {"panel": traces.names_of}

    def plot(self, df, panel):
        return traces.passes(df, panel)

    def get_metadata(self, df, panel):
        return {
            "title": panel,
            "xlabel": "forward pass (ms)",
            "ylabel": "backward pass (ms)",
        }
