"""The bridge to benchopt: all a solver file has to inherit."""
from abc import abstractmethod
from dataclasses import replace

import torch
from benchopt import BaseSolver
from benchopt.stopping_criterion import NoCriterion

from .adjoint import at_root
from .checks import check_choice, check_integer
from .engine import run
from .outer import Hoag, Search, from_now, from_start
from .root import LBFGS


# First guess of a first linear solve, before there is a last q.
FIRST_Q = {"zero": torch.zeros_like, "z": at_root}


class ImplicitSolver(BaseSolver):
    """One hypergradient method, on the suite's engine.

    A subclass says how q is found, in ``make_adjoint``; everything else is
    the same for all methods unless a parameter says otherwise.

    Parameters
    ----------
    memory : int
        Pairs kept by L-BFGS.  Published: 30 (SHINE, Jacobian-free), 60
        (OPA), 10 (HOAG).
    tol, decay : float
        Inner tolerance at the first outer step and its factor per step.
        Published: decay 0.78 (SHINE, Jacobian-free), 0.9 (HOAG).
    anchor : {"start", "now"}
        What the tolerance's factor e^(λ_prev - λ_anchor) compares with;
        published: now (two names for one array, see `from_now`).
    moves : int
        Times the step is applied per outer step; published: 2.
    c2 : float
        Curvature constant of the line search.  Published: 0.9 (SciPy's
        compiled L-BFGS-B, figure 1), 9e-4 (Python L-BFGS, figure 2).
    scale : float, "secant" or None
        B0 = scale × identity, or sᵀy / yᵀy of the newest pair, or what the
        data set says.  Published: secant in figure 1, 1 in figure 2.
    keep_pairs : bool
        Whether the pairs survive the outer step, though they are of another
        theta.  Published: only in figure 2.
    max_iter : int
        Most inner iterations per outer step; the paper's 1,000.

    The defaults are the fair protocol, one setting for all.  Where the
    forward solver leaves a choice it is the one under which HOAG, the exact
    method, needs the fewest evaluations: no approximate method had a say.
    "Published" values are what the authors' code (branch ``shine`` of their
    fork of HOAG) effectively does; configs/ has both protocols in full.
    """

    sampling_strategy = "callback"
    # ends with its outer steps; a NaN is kept and flagged, not cut off
    stopping_criterion = NoCriterion()

    parameters = {
        "memory": [30],
        "tol": [1e-3],
        "decay": [0.9],
        "anchor": ["start"],
        "moves": [1],
        "c2": [0.9],
        "scale": [None],
        "keep_pairs": [True],
        "max_iter": [1000],
    }

    @abstractmethod
    def make_adjoint(self):
        """How q is found: a callable of `benchmark_shine.adjoint`, or None."""

    def make_outer(self, problem):
        """How theta moves."""
        anchor = check_choice(
            "anchor", self.anchor, {"start": from_start, "now": from_now}
        )
        return Hoag(self.tol, self.decay, anchor, self.moves)

    def make_opa(self, n_outer):
        """Extra secant pairs, or None."""
        return None

    def make_finder(self, problem, n_outer):
        """The forward solver."""
        scale = problem.scale if self.scale is None else self.scale
        if scale == "secant":
            scale = None
        return LBFGS(
            self.memory, self.max_iter, self.c2, scale=scale,
            keep_pairs=self.keep_pairs, opa=self.make_opa(n_outer),
        )

    def count_outer(self, n_outer):
        """Outer steps of this method; searches have their own number."""
        return n_outer

    def report(self, best, step):
        """What the user would be handed after this step: its result."""
        return step

    def __repr__(self):
        usual = {name: values[0] for name, values in self.parameters.items()}
        changed = ",".join(
            f"{name}={value}"
            for name, value in sorted(self._parameters.items())
            if value != usual[name]
        )
        return f"{self.name}[{changed}]" if changed else self.name

    def _assemble(self, problem, n_outer):
        return (
            self.make_finder(problem, n_outer), self.make_adjoint(),
            self.make_outer(problem), self.count_outer(n_outer),
        )

    def skip(self, problem, n_outer, threads):
        try:
            self._assemble(problem, n_outer)
        except (TypeError, ValueError) as error:
            return True, str(error)
        return False, None

    def set_objective(self, problem, n_outer, threads):
        torch.set_num_threads(threads)
        self._problem = problem
        self._parts = self._assemble(problem, n_outer)

    def get_next(self, stop_val):
        return stop_val + 1

    def run(self, callback):
        self._best = None
        for step in run(self._problem, *self._parts):
            self._best = self.report(self._best, step)
            if not callback():
                break

    def get_result(self):
        return {"step": self._best}


class SearchSolver(ImplicitSolver):
    """A search over theta: no hypergradient, the best so far is the result.

    Parameters
    ----------
    n_points : int
        Values tried; the paper's 10.

    The forward solver's parameters are those of `ImplicitSolver`; ``tol`` is
    relative to the gradient at each solve's warm start, as published.
    """

    parameters = {
        name: ImplicitSolver.parameters[name]
        for name in (
            "memory", "tol", "c2", "scale", "keep_pairs", "max_iter",
        )
    } | {"n_points": [10]}

    @abstractmethod
    def values(self, problem):
        """The values of theta, an array of shape (n_points,)."""

    def make_adjoint(self):
        return None

    def make_outer(self, problem):
        check_integer("n_points", self.n_points, least=1)
        return Search(tuple(self.values(problem).tolist()), self.tol)

    def count_outer(self, n_outer):
        return self.n_points

    def report(self, best, step):
        if best is None or step.value < best.value:
            return step
        return replace(
            best, n_outer=step.n_outer, n_g=step.n_g, n_jvp=step.n_jvp,
            forward_time=step.forward_time, backward_time=step.backward_time,
        )
