from benchmark_shine.bench.protocols import variant

from .hoag import Solver as Hoag


class Solver(Hoag):
    """HOAG[preconditioner=recycled]: Morales and Nocedal, 2000."""

    name = "Recycled-PCG"
    parameters = variant(Hoag, name)
