"""What is scored, on held-out data and outside the clock."""
import json
import math

import torch
from benchopt import BaseObjective

from benchmark_shine.bench.workers import refuse_other_code
from benchmark_shine.checks import check_integer
from benchmark_shine.engine import Method, RootAndAdjoint
from benchmark_shine.evaluate import comparison, metrics, unmeasured
from benchmark_shine.fingerprints import LOADED
from benchmark_shine.outer import Search
from benchmark_shine.root import LBFGS

# What is measured of a step; of some problems only some of it.
MEASURED = (
    "test_loss", "test_accuracy", "test_residual", "corrupted_auc",
    "perplexity", "bits_per_character", "baseline_unigram",
    "baseline_bigram", "theta",
    "inner_residual",
    "value_function", "value_error", "optimum", "q_cosine",
    "q_cosine_median", "q_rel_error", "q_error", "q_solved",
    "hypergrad_rel_error", "hypergrad_cosine", "hypergrad_sign",
    "spectral_radius", "peak_memory", "unmeasured",
)


class Objective(BaseObjective):
    """Outer loss of the root of an equation, min over theta of l(z*(theta)).

    Parameters
    ----------
    n_outer : int or None
        Outer steps of every gradient method.  None: 30 for bi-level problems,
        each a point of the curve; the whole recipe of a network, with a
        point an epoch.  benchopt draws 100 points unless told otherwise
        (``-n``).
    threads : int
        Threads of torch, the same for every solver.
    reference : int
        Compare with exact solutions at the points whose outer step is a
        multiple of it, and at the last; 0 for never.  Costs no solver time,
        but yours.
    fingerprint, torch : str
        Of the package's sources and of torch: part of the cache key and of
        each row, not to be set.
    """

    name = "outer-loss"
    url = "https://github.com/benchopt/benchmark_shine"
    min_benchopt_version = "1.10"
    requirements = ["pip::torch==2.13.0", "scikit-learn", "scipy"]

    parameters = {
        "n_outer": [None],
        "threads": [1],
        "reference": [1],
        "fingerprint": [LOADED],
        "torch": [torch.__version__],
    }
    test_dataset_name = "simulated"
    test_config = {"n_outer": 3}

    def __repr__(self):
        shown = ",".join(
            f"{name}={self._parameters[name]}"
            for name in ("n_outer", "threads", "reference")
        )
        return f"{self.name}[{shown}]"

    _sent = False

    def __setstate__(self, state):
        super().__setstate__(state)
        refuse_other_code(self.fingerprint, self.torch)
        self._sent = True

    def skip(self, problem, compare=None, dataset="", data_fingerprint="",
             reason=None):
        try:
            if self.n_outer is not None:
                check_integer("n_outer", self.n_outer, least=1)
            check_integer("threads", self.threads, least=1, most=1024)
            check_integer("reference", self.reference, least=0)
        except ValueError as error:
            return True, str(error)
        # benchopt caches what a worker skips; but the client has this data
        if problem is None and self._sent:
            raise FileNotFoundError(f"this worker lacks the data: {reason}")
        return problem is None, reason

    def set_data(self, problem, compare=None, dataset="",
                 data_fingerprint=""):
        self.problem = problem
        self._compare = compare or comparison(problem)
        self._data = {"dataset": dataset, "data_fingerprint": data_fingerprint}

    def get_objective(self):
        self._codes = []  # of the run that begins here
        n_outer = self.problem.n_steps if self.n_outer is None else (
            self.n_outer
        )
        return {
            "problem": self.problem, "n_outer": n_outer,
            "threads": self.threads,
        }

    def get_one_result(self):
        method = Method(RootAndAdjoint(LBFGS()), Search((0.0,)), 1)
        *_, (step, totals, _) = method.run(self.problem)
        return {
            "step": step, "totals": totals, "method": method, "solver": "",
            "settings": {}, "solver_fingerprint": "",
        }

    def evaluate_result(
        self, step, totals, method, solver, settings, solver_fingerprint
    ):
        """Score one step.

        ``value`` is the outer (validation) loss at the solver's (theta, z);
        of networks, that of a mini-batch.  ``n_g`` and ``n_vjp`` count
        evaluations of g and products with Jᵀ, ``n_cheap`` those of the
        evaluations that took no product with the data, ``forward_time`` and
        ``backward_time`` are seconds in the two passes, all since the start.
        See `benchmark_shine.evaluate` for the rest; NaN where a problem has
        no such thing, or none is due.  ``reconstruction_error`` is that of
        `benchmark_shine.loops.reversible.Reversible` alone.

        Columns of text: the bare names ``solver`` and ``dataset``, the
        fingerprints of their sources and data, and ``settings``, which is
        what ran, parameters and protocol resolved, as JSON.
        """
        return dict.fromkeys(MEASURED, math.nan) | {
            "value": step.value,
            **metrics(self.problem, step),
            "n_outer": float(totals.n_outer),
            "n_g": float(totals.n_g),
            "n_vjp": float(totals.n_vjp),
            "n_cheap": float(totals.n_cheap),
            "forward_time": totals.forward_time,
            "backward_time": totals.backward_time,
            "diverged": float(step.diverged),
            "reconstruction_error": step.reconstruction_error,
            "solver": solver,
            "solver_fingerprint": solver_fingerprint,
            "settings": json.dumps({
                name: value for name, value in sorted(settings.items())
                if value is not None
            }, default=str),
            **self._data,
            **self._compared(step, method, totals.n_outer),
        }

    def _compared(self, step, method, n_outer):
        """Compare with tight solves where that is due; say what they lack."""
        last = n_outer == method.n_outer
        if not self.reference or (n_outer % self.reference and not last):
            return {}
        found = self._compare(step, method)
        self._codes += [found["unmeasured"]] if "unmeasured" in found else []
        told = unmeasured(self._codes)
        if told and (last or step.diverged):
            print(f"        {told}", flush=True)
        return found
