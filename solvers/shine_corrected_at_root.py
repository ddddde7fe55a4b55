from benchmark_shine.bench.protocols import variant

from .shine import Solver as Shine


class Solver(Shine):
    """SHINE[keep_pairs=corrected,root_pairs=5], after Ramzi et al., 2022."""

    name = "SHINE-corrected-at-root"
    parameters = variant(Shine, name)
