"""The bridge to benchopt: all a solver file has to inherit."""
import hashlib
import math
from abc import abstractmethod
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import torch
from benchopt import BaseSolver
from benchopt.benchmark import Benchmark
from benchopt.stopping_criterion import NoCriterion

from ..adjoint import QuasiNewtonSolve, cold, z_as_q0
from ..checks import check_choice, check_integer
from ..engine import descend, run
from ..operators import transposed, untransposed
from ..outer import GradientOptimizer, Hoag, Search, from_now, from_start
from ..root import LBFGS, AdjointBroyden, Anderson, Broyden
from .checkpoint import Checkpoint, keep, resume
from .limits import timely
from .progress import Report
from .workers import refuse_edited_files

# Forward solvers of equilibrium networks, of at most n steps: they forget
# none, except for Anderson with its usual window.
FORWARD = {
    "broyden": lambda n: Broyden(n, n),
    "adjoint_broyden": lambda n: AdjointBroyden(n, n),
    "anderson": lambda n: Anderson(max_iter=n),
}

# Which estimate of J⁻ᵀ to take from one of J⁻¹; published: untransposed.
SIDES = {"transposed": transposed, "untransposed": untransposed}

# Parameters that one family of problems alone has a use for.
BILEVEL_ONLY = {
    "memory", "tol", "decay", "anchor", "moves", "c2", "scale", "keep_pairs",
    "max_iter", "first_q", "growth", "n_power",
}
EQUILIBRIUM_ONLY = {"forward", "backward", "estimate", "side", "slurm_gres"}

# First guess of a first linear solve, before there is a last q.
FIRST_Q = {"zero": torch.zeros_like, "z": z_as_q0}


def broyden_steps(n, estimate=cold):
    """So many steps of the adjoint solve of equilibrium networks."""
    return QuasiNewtonSolve(Broyden(max(n, 1), n), estimate, tol=0.0)


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
    keep_pairs : bool or "corrected"
        Whether the pairs survive the outer step, though they are of another
        theta; or with what theta adds to J corrected.  Published: True, only
        in figure 2.
    max_iter : int
        Most inner iterations per outer step; the paper's 1,000.
    forward : {"broyden", "adjoint_broyden", "anderson"}
        Forward solver of equilibrium networks; published: broyden.
    slurm_gres : str or None
        What a SLURM job of this solver asks for beside cores, as "gpu:1".
        Not part of its name.

    A problem picks the parts that suit it: bi-level problems L-BFGS, `Hoag`
    and ``make_adjoint``; equilibrium networks, one row of z per sample, a
    batched finder, the optimiser of their recipe and
    ``make_batched_adjoint``.  A parameter that has no meaning for a problem
    must be left alone there.

    The defaults are the fair protocol, one setting for all.  Where the
    forward solver leaves a choice it is the one under which HOAG, the exact
    method, needs the fewest evaluations: no approximate method had a say.
    "Published" values are what the authors' code (branch ``shine`` of their
    fork of HOAG) effectively does; configs/ has both protocols in full.
    """

    # A library that not everybody has, by the name under which Python
    # imports it and pip installs it.  Import it where it is used: a file that
    # cannot be imported costs its solver the parameters it inherits here,
    # and benchopt 1.10 then ends the whole run.
    library = None

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
        "forward": ["broyden"],
        "slurm_gres": [None],
    }
    _every, _last, _resumed = 1, math.inf, None

    @classmethod
    def is_installed(cls, env_name=None, raise_on_not_installed=None,
                     quiet=False, reload=False):
        """Whether ``library`` is there; benchopt runs the others if not."""
        if env_name is not None or not cls.library or find_spec(cls.library):
            return super().is_installed(
                env_name, raise_on_not_installed, quiet, reload
            )
        told = f"{cls.name}: not installed: pip install {cls.library}"
        if raise_on_not_installed:
            raise ImportError(told)
        if not quiet:
            print(told)
        return False

    def __setstate__(self, state):
        super().__setstate__(state)
        refuse_edited_files()  # in a worker: clients unpickle no solver

    @abstractmethod
    def make_adjoint(self):
        """How q is found: a callable of `benchmark_shine.adjoint`, or None."""

    def make_batched_adjoint(self, n_steps):
        """The same where J is not symmetric and there is one per sample.

        ``n_steps`` are what the problem's recipe grants an exact solve.
        """
        return self.make_adjoint()

    def make_batched_finder(self, n_steps, n_outer):
        """The forward solver of equilibrium networks."""
        return check_choice("forward", self.forward, FORWARD)(n_steps)

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
            if value != usual[name] and name != "slurm_gres"
        )
        return f"{self.name}[{changed}]" if changed else self.name

    def _leave_alone(self, names, where):
        for name in sorted(names & self._parameters.keys()):
            if self._parameters[name] != self.parameters[name][0]:
                raise ValueError(f"{name}: has no meaning for {where}")

    def for_bilevel(self, problem, n_outer):
        """Finder, adjoint, outer optimiser and number of outer steps."""
        self._leave_alone(EQUILIBRIUM_ONLY, "bi-level problems")
        return (
            self.make_finder(problem, n_outer), self.make_adjoint(),
            self.make_outer(problem), self.count_outer(n_outer),
        )

    def for_equilibrium(self, problem, n_outer):
        """The same for an equilibrium network, by its recipe."""
        self._leave_alone(BILEVEL_ONLY, "equilibrium networks")
        recipe = problem.recipe
        outer = GradientOptimizer(
            partial(recipe.optimizer, lr=recipe.rate),
            tol=recipe.backward_tol, decay=1.0, atol=problem.atol,
            rate=partial(recipe.rate_at, n_steps=n_outer),
        )
        return (
            self.make_batched_finder(recipe.forward_steps, n_outer),
            self.make_batched_adjoint(recipe.backward_steps), outer, n_outer,
        )

    def skip(self, problem, n_outer, threads):
        try:
            problem.assemble(self, n_outer)
        except (TypeError, ValueError) as error:
            return True, " ".join(str(error).split())
        return False, None

    def set_objective(self, problem, n_outer, threads):
        torch.set_num_threads(threads)
        self._problem = problem
        self._parts = problem.assemble(self, n_outer)
        self._every, self._last = problem.every(n_outer), self._parts[-1]

    def get_next(self, stop_val):
        following = stop_val + self._every
        # the last step is a point of the curve, whatever the stride
        return min(following, max(stop_val + 1, self._last))

    def pre_run_hook(self, callback):
        meta, outer = callback.meta, self._parts[2]
        # torch imports half of itself for its first optimiser: a second that
        # is not to be on the first solver's clock
        if outer is not None:
            outer.start(self._problem.start()[0])
        self._checkpoint = Checkpoint(*self._identify(meta))
        found = resume(self._checkpoint, callback, outer, self.get_next)
        self._resumed = found
        if found:
            print(
                f"{self} on {meta['dataset_name']}: resumed after outer step "
                f"{found.n_outer} of {self._last}", flush=True,
            )
        done = found.n_outer if found else 0
        self._report = Report(callback, self._last, done)

    def _identify(self, meta):
        """A checkpoint's place, and what decides how its run goes.

        Like benchopt's own cache: parameters, and the files of solver,
        objective (whose parameters have the package's fingerprint) and data
        set, and the content of the data.  The place depends on names alone:
        a run after an edit takes that of the run before.
        """
        if not meta:  # benchopt's trial runs have no names
            return None, ""
        # not the running one: another thread of a dask worker may just be
        # making it, for its next run
        here = Benchmark(self._objective._benchmark_dir)
        cache = here.get_cache_location()
        if cache is None:
            return None, ""
        names = [meta[f"{part}_name"] for part in (
            "dataset", "objective", "solver",
        )]
        parts = self, self._objective, self._objective._dataset
        place, identity = (
            hashlib.sha256(repr(known).encode()).hexdigest() for known in (
                [*names, meta["idx_rep"]],
                [meta, [part._file_hash for part in parts],
                 getattr(parts[-1], "data_fingerprint", None)],
            )
        )
        return cache / "checkpoints" / f"{place}.pt", identity

    def steps(self):
        """The points of the curve, a generator of `engine.Step`.

        A method with a loop of its own, or of another library, puts it here.
        """
        yield from run(self._problem, *self._parts, self._resumed)

    def run(self, callback):
        self._best = None
        try:
            timeout = callback.stopping_criterion.timeout
            for step in timely(self.steps(), timeout):
                self._best = self.report(self._best, step)
                stop = not callback()
                self._report.show(self._best)
                if stop:
                    break
                keep(self._checkpoint, callback, self._parts[2], step)
        finally:
            self._report.close()
        self._checkpoint.remove()
        self._report.finish()

    def get_result(self):
        find_root, adjoint, *_ = self._parts
        return {
            "step": self._best, "find_root": find_root, "adjoint": adjoint,
            "last": self._last,
        }


class BilevelSolver(ImplicitSolver):
    """A method that is not made, or makes no sense, for networks.

    The parameters are those of `ImplicitSolver` for bi-level problems.
    """

    parameters = {
        name: values for name, values in ImplicitSolver.parameters.items()
        if name not in EQUILIBRIUM_ONLY
    }

    def for_equilibrium(self, problem, n_outer):
        raise ValueError(f"{self.name}: is for bi-level problems")


class NetworkSolver(ImplicitSolver):
    """A method that is not made, or makes no sense, for bi-level problems."""

    test_config = {"dataset": {"name": "digits"}}

    def make_adjoint(self):
        raise ValueError(f"{self.name}: is for equilibrium networks")


class StepSolver(BilevelSolver):
    """A method whose outer step is not a root finder and an adjoint.

    ``make_finder`` gives that step: a callable that
    :func:`benchmark_shine.engine.descend` knows how to use.
    """

    def make_adjoint(self):
        return None

    def steps(self):
        solve, _, outer, n_outer = self._parts
        yield from descend(self._problem, solve, outer, n_outer)


class SearchSolver(BilevelSolver):
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

    def values(self, problem):
        """The values of theta, (n_points,); or override `make_outer`."""
        raise NotImplementedError

    def make_adjoint(self):
        return None

    def make_outer(self, problem):
        return Search(tuple(self.values(problem).tolist()), self.tol)

    def count_outer(self, n_outer):
        return self.n_points

    def for_bilevel(self, problem, n_outer):
        check_integer("n_points", self.n_points, least=1, most=10 ** 6)
        return super().for_bilevel(problem, n_outer)

    def report(self, best, step):
        if best is None or step.value < best.value:
            return step
        return replace(
            best, n_outer=step.n_outer, n_g=step.n_g, n_vjp=step.n_vjp,
            forward_time=step.forward_time, backward_time=step.backward_time,
        )
