from benchmark_shine.bench.protocols import variant

from .shine import Solver as Shine


class Solver(Shine):
    """SHINE[keep_pairs=corrected]: ours, after Ramzi et al., ICLR 2022."""

    name = "SHINE-corrected"
    parameters = variant(Shine, name)
