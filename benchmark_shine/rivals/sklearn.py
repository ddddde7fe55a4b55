"""scikit-learn's own linear models as an outer step."""
import math
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import scipy.optimize
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as RidgeRegression
from threadpoolctl import threadpool_limits

from ..checks import check_integer, check_number
from ..engine import Step, clock
from ..problems import Logistic, Multinomial, Ridge
from .base import of_kind


def _logistic(theta):
    return LogisticRegression, {"C": math.exp(-theta), "warm_start": True}


def _ridge(theta):
    return RidgeRegression, {"alpha": math.exp(theta)}


ESTIMATORS = {Logistic: _logistic, Multinomial: _logistic, Ridge: _ridge}


@contextmanager
def _counted():
    """Collect the evaluations of each call of SciPy's minimize in a block."""
    minimize, counts = scipy.optimize.minimize, []

    def recorded(*args, **settings):
        result = minimize(*args, **settings)
        counts.append(result.nfev)
        return result

    with mock.patch("scipy.optimize.minimize", recorded):
        yield counts


@dataclass(frozen=True)
class ScikitLearn:
    """Fit scikit-learn's own model, each time from the last fit.

    What ``LogisticRegressionCV`` does along its Cs = exp(-theta), on the one
    split of the problem: the model with its L-BFGS, its stopping rule and
    zero as its start (Pedregosa et al., JMLR 2011), scored on the validation
    part.  ``n_g`` counts the evaluations that SciPy's L-BFGS reports, trials
    of its line searches included.  Ridge regression has no such count: its
    direct solve, or conjugate gradients where X is sparse, count as one
    evaluation, and only the times say what they cost.  An outer step for
    `benchmark_shine.engine.Method`.

    Parameters
    ----------
    problem
        The training part of its data is fitted.
    tol : float
        ``tol`` of the estimator; scikit-learn's default is 1e-4.
    max_iter : int
        Most iterations of each fit.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or there is no such model, or
        scikit-learn's has other coefficients on these data.
    """

    problem: object
    tol: float = 1e-4
    max_iter: int = 1000

    def __post_init__(self):
        of_kind(ESTIMATORS, self.problem, "scikit-learn")
        self._check_classes()
        check_number("tol", self.tol, above=0)
        check_integer("max_iter", self.max_iter, least=1)

    def _check_classes(self):
        """Its logistic regression is ours for all of two or 3+ classes."""
        n_classes = {Logistic: 2, Multinomial: self.problem.n_outputs}.get(
            type(self.problem)
        )
        if n_classes is None:
            return
        found = len(self.problem.train.y.unique())
        if found < n_classes:
            raise ValueError(
                f"scikit-learn: fits no class that it has not seen, and the "
                f"training data have {found} of {n_classes}"
            )
        if n_classes == self.problem.n_outputs == 2:
            raise ValueError(
                "scikit-learn: has one row of coefficients for two classes, "
                "Multinomial has two"
            )

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Theta has one value for all its entries, and each fit begins where
        the last one ended.

        Returns
        -------
        Step
        """
        began = clock(equation.start)
        kind = of_kind(ESTIMATORS, self.problem, "scikit-learn")
        make, penalty = kind(float(theta[0].detach().reshape(-1)[0]))
        estimator = make(
            fit_intercept=False, tol=self.tol, max_iter=self.max_iter,
            **penalty,
        )
        train, k = self.problem.train, self.problem.n_outputs
        if equation.step > 1:  # the first fit begins with zero
            estimator.coef_ = equation.start.view(-1, k).T.numpy()
        with threadpool_limits(torch.get_num_threads()), _counted() as counts:
            estimator.fit(train.X.numpy(), train.y.numpy())
        z = torch.as_tensor(estimator.coef_).reshape(k, -1).T.reshape(-1)
        with torch.no_grad():
            value = float(equation.loss(z))
        return Step(
            theta, z, value, equation, n_g=sum(counts) or 1,
            forward_time=clock(z) - began,
        )
