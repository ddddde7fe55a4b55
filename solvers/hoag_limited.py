from benchmark_shine.bench.protocols import variant

from .hoag import Solver as Hoag


class Solver(Hoag):
    """HOAG[backward_steps=5], see Ramzi et al., ICLR 2022, figure E.1."""

    name = "HOAG-limited"
    parameters = variant(Hoag, name)
