from benchmark_shine.bench.protocols import variant

from .jaxopt import Solver as Jaxopt


class Solver(Jaxopt):
    """jaxopt[q=shine]: SHINE by the library's own L-BFGS and recursion.

    Ramzi et al., ICLR 2022; kept pairs: jaxopt's pull request 354, 2023.
    """

    name = "jaxopt-SHINE"
    parameters = variant(Jaxopt, name)
