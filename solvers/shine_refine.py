from benchmark_shine.bench.protocols import variant

from .shine import Solver as Shine


class Solver(Shine):
    """SHINE[backward_steps=5], see Ramzi et al., ICLR 2022, section 3."""

    name = "SHINE-refine"
    parameters = variant(Shine, name)
