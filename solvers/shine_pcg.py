from benchmark_shine.bench.protocols import variant

from .hoag import Solver as Hoag


class Solver(Hoag):
    """HOAG[preconditioner=shine], after Morales and Nocedal, 2000."""

    name = "SHINE-PCG"
    parameters = variant(Hoag, name)
