"""What a problem must give, by family."""
from abc import ABC, abstractmethod


class Problem(ABC):
    """An outer loss of the root of an equation."""

    n_steps = 30

    @abstractmethod
    def start(self):
        """Return the first theta, a tuple of Tensor, and the first z."""

    @abstractmethod
    def draw(self, theta, z, k):
        """Return the `Equation` of outer step k, from the last root z."""

    def every(self, n_outer):
        """Return the outer steps from one evaluation to the next."""
        return 1


class BilevelProblem(Problem):
    """One z of shape (d,), J symmetric, the equation warm-startable."""

    scale = "secant"
    seed = 0


class NetworkProblem(Problem):
    """One row of z per sample, by a training recipe."""

    atol = 0.0
    recipe = None
