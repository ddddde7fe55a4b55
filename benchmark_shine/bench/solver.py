"""What a solver file inherits."""
from .bilevel import BilevelSolver, SearchSolver
from .lifecycle import NotForThisProblem
from .network import NetworkSolver, broyden_steps

__all__ = [
    "BilevelSolver", "ImplicitSolver", "NetworkSolver", "NotForThisProblem",
    "SearchSolver", "broyden_steps",
]


class ImplicitSolver(BilevelSolver, NetworkSolver):
    """A method for both families of problems, on the suite's engine.

    A subclass says how q is found, in ``make_adjoint``, and where networks
    need another adjoint, in ``make_batched_adjoint``.  The parameters are
    those of `BilevelSolver` and of `NetworkSolver`.  One that is None has
    the value of the protocol; one that has a meaning for the other family
    alone must be None, or the problem is skipped.
    """

    parameters = BilevelSolver.parameters | NetworkSolver.parameters
    test_config = None

    def make_batched_adjoint(self, n_steps):
        return self.make_adjoint()
