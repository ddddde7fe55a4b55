"""Methods for equilibrium networks."""
from functools import partial

from ..adjoint import QuasiNewtonSolve, cold
from ..checks import check_choice
from ..engine import Method, RootAndAdjoint
from ..operators import transposed, untransposed
from ..outer import GradientOptimizer
from ..root import AdjointBroyden, Anderson, Broyden
from .lifecycle import Lifecycle, NotForThisProblem

# Forward solvers of at most n steps: they forget no pair, except for
# Anderson with its usual window.
FORWARD = {
    "broyden": lambda n: Broyden(n, n),
    "adjoint_broyden": lambda n: AdjointBroyden(n, n),
    "anderson": lambda n: Anderson(max_iter=n),
}

# Which estimate of J⁻ᵀ to take from one of J⁻¹; published: untransposed.
SIDES = {"transposed": transposed, "untransposed": untransposed}


def broyden_steps(n, estimate=cold):
    """Return an adjoint that makes n Broyden steps on Jᵀ q = rhs."""
    return QuasiNewtonSolve(Broyden(max(n, 1), n), estimate, tol=0.0)


class NetworkSolver(Lifecycle):
    """A method for networks: a batched root finder, an adjoint, a recipe.

    z has one row per sample and J is not symmetric.  A subclass says how q
    is found, in ``make_batched_adjoint``; or it overrides ``network`` and
    says all of it.  The optimiser is that of the problem's recipe.

    Parameters
    ----------
    protocol : {"fair", "published"}
        Where the value of each parameter that is None comes from: see
        :mod:`benchmark_shine.bench.protocols`.
    forward : {"broyden", "adjoint_broyden", "anderson"} or None
        The root finder.
    slurm_gres : str or None
        What a SLURM job of this solver asks for beside cores, as "gpu:1".
        Not part of the solver's name.
    """

    parameters = {
        "protocol": ["fair"], "forward": [None], "slurm_gres": [None],
    }
    test_config = {"dataset": {"name": "digits"}}

    def make_batched_adjoint(self, n_steps):
        """Return how q is found, for a system per row.

        ``n_steps`` are what the recipe grants an exact solve.
        """
        raise NotForThisProblem(
            f"{self.name}: has no make_batched_adjoint, which networks need"
        )

    def make_batched_finder(self, n_steps, n_outer):
        """Return the root finder, of at most ``n_steps`` steps."""
        return check_choice("forward", self.forward, FORWARD)(n_steps)

    def make_trainer(self, problem, n_outer):
        """Return the outer optimiser of the problem's recipe."""
        recipe = problem.recipe
        return GradientOptimizer(
            partial(recipe.optimizer, lr=recipe.rate),
            tol=recipe.backward_tol, decay=1.0, atol=problem.atol,
            rate=partial(recipe.rate_at, n_steps=n_outer), clip=recipe.clip,
        )

    def network(self, problem, n_outer):
        recipe = problem.recipe
        outer_step = RootAndAdjoint(
            self.make_batched_finder(recipe.forward_steps, n_outer),
            self.make_batched_adjoint(recipe.backward_steps),
        )
        return Method(
            outer_step, self.make_trainer(problem, n_outer), n_outer
        )
