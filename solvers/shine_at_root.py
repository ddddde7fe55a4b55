from benchmark_shine.bench.protocols import variant

from .shine import Solver as Shine


class Solver(Shine):
    """SHINE[root_pairs=5]: ours, after Ramzi et al., ICLR 2022."""

    name = "SHINE-at-root"
    parameters = variant(Shine, name)
