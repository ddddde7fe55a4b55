"""What the file of a competitor imports: the bases of solvers.

Their code is in `benchmark_shine.bench`; importing this module needs
benchopt.
"""
from .bench.solver import (
    BilevelSolver, ImplicitSolver, NetworkSolver, NotForThisProblem,
    SearchSolver, broyden_steps,
)

__all__ = [
    "BilevelSolver", "ImplicitSolver", "NetworkSolver", "NotForThisProblem",
    "SearchSolver", "broyden_steps",
]
