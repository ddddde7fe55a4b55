"""Methods for bi-level problems, and searches over theta."""
from ..checks import check_choice, check_integer
from ..engine import Loop, Method, RootAndAdjoint
from ..equation import need_diagonal
from ..loops.maid import Maid
from ..outer import Hoag, Search, Secant, from_now, from_start
from ..root import LBFGS, Polished
from .lifecycle import Lifecycle, NotForThisProblem

STEPS = {"secant": 0, "hoag": 1, "maid": 2}
# What the rule sets that the other outer rules leave to the user.
MAID = {
    "criterion": "gradient", "tol": None, "decay": None, "anchor": None,
    "moves": None, "polish": 0,
}
ANCHORS = {"start": from_start, "now": from_now}


class BilevelSolver(Lifecycle):
    """A method for bi-level problems: L-BFGS, an adjoint, an outer step.

    A subclass says how q is found, in ``make_adjoint``; or it overrides
    ``bilevel`` and says all of it.

    Parameters
    ----------
    protocol : {"fair", "hoag", "published"}
        Where the value of each parameter that is None comes from: see
        :mod:`benchmark_shine.bench.protocols`.
    figure : str or None
        Whose published settings, see `protocols.settings_of`.
    step : {"secant", "hoag", "maid"} or None
        How theta moves: `Secant`, whose tolerances are absolute, `Hoag`, or
        `Maid`, which chooses its accuracies itself (``tol``, ``decay`` and
        ``criterion`` then have no meaning).
    criterion : {"energy", "gradient"} or None
        What the inner tolerances bound, see `LBFGS`.
    memory : int or None
        Pairs kept by L-BFGS.
    tol : float or None
        Inner tolerance at the first outer step.
    decay : float, "quadratic", "cubic" or None
        Its factor per outer step, or the schedule tol / k² or tol / k³.
    anchor : {"start", "now"} or None
        What the tolerance's factor e^(λ_prev - λ_anchor) compares with, see
        `Hoag`; with step=hoag alone.
    moves : int or None
        Times that the step is applied per outer step; with step=hoag alone.
    c2 : float or None
        Curvature constant of the line search.
    scale : float, "secant", "diagonal" or None
        B0 = scale × identity, sᵀy / yᵀy of the newest pair, or e^-theta for
        one penalty, see `LBFGS`; None where protocol and data set shall say.
    keep_pairs : bool, "corrected" or None
        Whether the pairs survive the outer step, though they are of another
        theta; or survive with what theta adds to J corrected.
    max_iter : int or None
        Most inner iterations per outer step.
    polish : int or None
        Corrected steps z ← z - B g(z) after each inner solve, see `Polished`.
    """

    parameters = {
        "protocol": ["fair"],
        "figure": [None],
        "step": [None],
        "criterion": [None],
        "memory": [None],
        "tol": [None],
        "decay": [None],
        "anchor": [None],
        "moves": [None],
        "c2": [None],
        "scale": [None],
        "keep_pairs": [None],
        "max_iter": [None],
        "polish": [None],
    }

    def make_adjoint(self):
        """Return how q is found: a callable of `benchmark_shine.adjoint`."""
        raise NotForThisProblem(
            f"{self.name}: has no make_adjoint, which bi-level problems need"
        )

    def make_opa(self, n_outer):
        """Return the finder's extra secant pairs, an `Opa`, or None."""
        return None

    def make_finder(self, problem, n_outer):
        """Return the root finder that all methods share."""
        scale = problem.scale if self.scale is None else self.scale
        finder = LBFGS(
            self.memory, self.max_iter, self.c2,
            scale=None if scale == "secant" else scale,
            keep_pairs=self.keep_pairs, opa=self.make_opa(n_outer),
            criterion=self.criterion,
        )
        check_integer("polish", self.polish, least=0)
        return Polished(finder, self.polish) if self.polish else finder

    def make_outer(self):
        """Return how theta moves."""
        check_choice("step", self.step, STEPS)
        if self.step == "secant":
            for name in "anchor", "moves":
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name}: needs step=hoag; the protocols hoag and "
                        "published set it"
                    )
            return Secant(self.tol, self.decay)
        if self.step == "maid":
            raise ValueError(
                "step: maid needs a method of a root finder and an adjoint"
            )
        anchor = check_choice("anchor", self.anchor or "start", ANCHORS)
        moves = 1 if self.moves is None else self.moves
        return Hoag(self.tol, self.decay, anchor, moves)

    def bilevel(self, problem, n_outer):
        find_root = self.make_finder(problem, n_outer)
        adjoint = self.make_adjoint()
        equation = problem.draw(*problem.start(), 0)
        for part in find_root, adjoint:
            if getattr(part, "needs_diagonal", False):
                need_diagonal(equation, f"{self.name}:")
        if self.step == "maid":
            need_diagonal(equation, "step: maid")
            return Loop(Maid(find_root, adjoint, n_outer), n_outer)
        return Method(
            RootAndAdjoint(find_root, adjoint), self.make_outer(), n_outer
        )

    def settings(self, problem):
        """Return the settings that run: those of MAID are its own."""
        found = super().settings(problem)
        if found.get("step") != "maid":
            return found
        for name in MAID:
            if self._parameters.get(name) is not None:
                raise ValueError(f"{name}: has no meaning with step=maid")
        return found | {name: MAID[name] for name in MAID if name in found}


class SearchSolver(BilevelSolver):
    """A search over theta: no hypergradient, the best so far is the result.

    Parameters
    ----------
    n_points : int
        Values that are tried; the paper's 10.
    rtol, atol : float or None
        Tolerances of each inner solve, relative to its own warm start, and
        absolute; the larger one counts.
    criterion : {"gradient", "energy"} or None
        What the tolerances bound, see `LBFGS`.

    The others are those of `BilevelSolver`.
    """

    parameters = {
        name: BilevelSolver.parameters[name] for name in (
            "protocol", "memory", "c2", "scale", "keep_pairs", "max_iter",
        )
    } | {
        "criterion": [None], "rtol": [None], "atol": [None],
        "n_points": [10],
    }

    polish = 0  # no step follows that needs a better z

    def values(self, problem):
        """Return the values of theta, (n_points,)."""
        raise NotImplementedError(f"{self.name}: needs values")

    def bilevel(self, problem, n_outer):
        check_integer("n_points", self.n_points, least=1, most=10 ** 6)
        return Method(
            self.make_step(problem), self.make_search(problem), self.n_points
        )

    def make_step(self, problem):
        """Return the outer step, which needs no hypergradient."""
        return RootAndAdjoint(self.make_finder(problem, self.n_points))

    def make_search(self, problem):
        """Return the outer optimiser that proposes the values."""
        values = tuple(self.values(problem).tolist())
        return Search(values, self.rtol, self.atol)

    def reported(self, best, step):
        return step if best is None or step.value < best.value else best
