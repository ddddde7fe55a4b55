"""The life of a run inside benchopt, the same for every method."""
import math
import sys
from importlib.util import find_spec

import torch
from benchopt import BaseSolver
from benchopt.stopping_criterion import NoCriterion

from ..precision import forbid_tf32
from ..problems.base import BilevelProblem
from . import protocols
from .checkpoint import Checkpoint, keep, location, resume
from .limits import timely
from .progress import Report
from .sources import solver_fingerprint
from .workers import refuse, refuse_edited_files


class OuterSteps(NoCriterion):
    """End with the outer steps; keep and flag a NaN, do not cut it off."""

    def get_runner_instance(self, max_runs=1, timeout=None, terminal=None,
                            solver=None, run_key=None):
        if terminal is not None and not sys.stdout.isatty():
            terminal.show_progress = False  # percentages fill a log
        return super().get_runner_instance(
            max_runs, timeout, terminal, solver, run_key
        )


class NotForThisProblem(ValueError):
    """A sentence that says why a method has no meaning for a problem."""


class Lifecycle(BaseSolver):
    """Base of all solvers: from a problem to a `Method`, then run it.

    A subclass says what it is made of on a problem, in ``bilevel`` and
    ``network``; its bases `BilevelSolver` and `NetworkSolver` do so from
    parts.

    Attributes
    ----------
    library : str or None
        A library that not everybody has, by the name under which Python
        imports it and pip installs it.  Import it where it is used: benchopt
        1.10 ends the whole run where a file cannot be imported.
    """

    library = None

    sampling_strategy = "callback"
    stopping_criterion = OuterSteps()

    _every, _last = 1, math.inf

    def bilevel(self, problem, n_outer):
        """Return the `Method` (or `Loop`) for a `BilevelProblem`."""
        raise NotForThisProblem(f"{self.name}: is for equilibrium networks")

    def network(self, problem, n_outer):
        """Return the `Method` (or `Loop`) for a `NetworkProblem`."""
        raise NotForThisProblem(f"{self.name}: is for bi-level problems")

    def method(self, problem, n_outer):
        """Return the `Method` (or `Loop`) of this solver for a problem.

        ``n_outer`` are the outer steps of every gradient method.

        Raises
        ------
        ValueError
            Where a setting is out of its range, or the method has no
            meaning for the problem (`NotForThisProblem`).
        """
        # one solver serves many problems: it stays as it is
        settled = self.get_instance(
            **(self._parameters | self.settings(problem))
        )
        if isinstance(problem, BilevelProblem):
            return settled.bilevel(problem, n_outer)
        return settled.network(problem, n_outer)

    def settings(self, problem):
        """Return the value of every parameter that a problem has a use for.

        That is the user's, or the protocol's where a parameter is None.

        Raises
        ------
        NotForThisProblem
            Where the user has set a parameter of the other family.
        """
        given = dict(self._parameters)
        protocol = given.pop("protocol", "fair")
        said = protocols.settings_of(
            self.name, problem, protocol, given.pop("figure", None)
        )
        for name in sorted(protocols.foreign(problem) & given.keys()):
            if given.pop(name) not in (None, self.parameters[name][0]):
                kind = protocols.family(problem)
                raise NotForThisProblem(f"{name}: has no meaning for {kind}")
        return {
            name: said.get(name) if value is None else value
            for name, value in given.items()
        }

    def reported(self, best, step):
        """Return the step that is the result, of the best before and this."""
        return step

    @classmethod
    def is_installed(cls, env_name=None, raise_on_not_installed=None,
                     quiet=False, reload=False):
        """Return whether ``library`` is there; the others run if not."""
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

    @classmethod
    def fingerprint(cls):
        """Return the hash of this solver's sources, as loaded here."""
        return solver_fingerprint(str(cls._module_filename))

    def _get_state(self):
        return {"fingerprint": self.fingerprint()}

    def __setstate__(self, state):
        # in a worker: clients unpickle no solver
        refuse_edited_files()
        ours, theirs = self.fingerprint(), state["fingerprint"]
        if ours != theirs:
            refuse(f"{self.name}: this worker has sources {ours}, the run is "
                   f"of {theirs}")

    def __repr__(self):
        usual = {name: values[0] for name, values in self.parameters.items()}
        changed = ",".join(
            f"{name}={value}"
            for name, value in sorted(self._parameters.items())
            if value != usual[name] and name != "slurm_gres"
        )
        return f"{self.name}[{changed}]" if changed else self.name

    def skip(self, problem, n_outer, threads):
        try:
            self.method(problem, n_outer)
        except (TypeError, ValueError) as error:
            return True, " ".join(str(error).split())
        return False, None

    def set_objective(self, problem, n_outer, threads):
        torch.set_num_threads(threads)
        forbid_tf32()
        self._problem = problem
        self._method = self.method(problem, n_outer)
        self._every = problem.every(n_outer)
        self._last = self._method.n_outer

    def get_next(self, stop_val):
        following = stop_val + self._every
        # the last step is a point of the curve, whatever the stride
        return min(following, max(stop_val + 1, self._last))

    def warm_up(self):
        # torch imports half of itself for its first optimiser, and sympy for
        # its first product with Jᵀ: seconds that are not to be on the clock
        z = torch.ones(1, requires_grad=True)
        torch.autograd.grad(2 * z, z, torch.ones(1))
        if self._method.outer is not None:
            self._method.outer.start(self._problem.start()[0])

    def pre_run_hook(self, callback):
        meta = callback.meta
        self._checkpoint = Checkpoint(*location(self, meta))
        self._resume = resume(
            self._checkpoint, callback, self._method.outer, self.get_next
        )
        done = self._resume[0].n_outer if self._resume else 0
        if done:
            print(
                f"{self} on {meta['dataset_name']}: resumed after outer step "
                f"{done} of {self._last}", flush=True,
            )
        self._report = Report(callback, self._last, done)

    def run(self, callback):
        self._best = None
        points = self._method.run(self._problem, self._resume)
        try:
            timeout = callback.stopping_criterion.timeout
            for point in timely(points, timeout):
                self._best = self.reported(self._best, point.step)
                self._totals = point.totals
                stop = not callback()
                self._report.show(self._best, point.totals)
                if stop:
                    break
                keep(self._checkpoint, callback, self._method.outer, point)
        finally:
            self._report.close()
        self._checkpoint.remove()
        self._report.finish()

    def get_result(self):
        return {
            "step": self._best, "totals": self._totals,
            "method": self._method, "solver": self.name,
            "settings": self.settings(self._problem),
            "solver_fingerprint": self.fingerprint(),
        }
