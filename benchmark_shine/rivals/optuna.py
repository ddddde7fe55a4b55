"""Optuna's tree-structured Parzen estimator as an outer optimiser."""
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_integer
from ..outer.search import check_tolerances


@dataclass(frozen=True)
class TpeState:
    """State of `Tpe`: the trial whose value Optuna waits for."""

    theta: tuple[Tensor, ...]
    study: object
    trial: object
    rtol: float
    atol: float
    eps: float = 0.0  # no search has a linear solve


@dataclass(frozen=True)
class Tpe:
    """Choose theta by Optuna's tree-structured Parzen estimator.

    Bergstra, Bardenet, Bengio and Kégl, NeurIPS 2011; Akiba et al., *Optuna*,
    KDD 2019.  An outer optimiser: one value for all entries of theta a step.

    Parameters
    ----------
    rtol, atol : float
        Tolerances of each inner solve, as in
        :class:`benchmark_shine.outer.Search`.
    n_startup : int
        Values drawn uniformly at first; Optuna's default is 10.
    seed : int
    box : float
        Values are of [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    rtol: float = 1e-3
    atol: float = 0.0
    n_startup: int = 10
    seed: int = 0
    box: float = 12.0

    def __post_init__(self):
        check_tolerances(self.rtol, self.atol)
        check_integer("n_startup", self.n_startup, least=0)

    def start(self, theta):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.n_startup, seed=self.seed
        )
        return self._ask(optuna.create_study(sampler=sampler), theta)

    def _ask(self, study, theta):
        trial = study.ask()
        value = trial.suggest_float("theta", -self.box, self.box)
        theta = tuple(torch.full_like(t, value) for t in theta)
        return TpeState(theta, study, trial, self.rtol, self.atol)

    def step(self, state, value, grads, first_residual):
        state.study.tell(state.trial, value)
        return self._ask(state.study, state.theta)
