from benchmark_shine.bench.protocols import variant

from .hoag import Solver as Hoag


class Solver(Hoag):
    """HOAG[preconditioner=nystrom]: Frangella, Tropp and Udell, 2023."""

    name = "Nystrom-PCG"
    parameters = variant(Hoag, name)
