"""Penalised linear models: bi-level choice of the penalty.

Inner problem, on training data, without an intercept:

    h(z, theta) = Σᵢ w phi(xᵢᵀ z, yᵢ) + ½ Σⱼ exp(theta_{group(j)}) zⱼ²

Outer loss, on validation data: the same Σ w phi without the penalty.  The
weight w is 1, or 1/n where losses are means over the n samples of a part.
Then g = dh/dz, J is the Hessian, and dg/dtheta is exp(theta) z by group.  A
group may be any set of entries of z: all of them, those of a feature, of a
class.
"""
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from ..checks import check_choice, check_number
from ..equation import Equation
from .base import BilevelProblem
from .design import Design, is_sparse
from .linear_energy import LinearEnergy

# log(1 + exp(u)) is u to the last bit from here on.
IDENTITY = 40.0

# The weight of each of n samples in a loss.
LOSSES = {"sum": lambda n: 1.0, "mean": lambda n: 1 / n}


def _check_numbers(what, values, name):
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"{what}: needs numbers, got {values.dtype} in the {name} data"
        )


@dataclass(frozen=True)
class Part:
    """Hold one part of the split.

    Parameters
    ----------
    X : Design, shape (n, p)
    y : Tensor, shape (n,)
    weight : float
        Of each sample in the part's loss: 1, or 1/n.
    """

    X: Design
    y: Tensor
    weight: float = 1.0


class PenalisedModel(BilevelProblem):
    """Base of the linear models: data, penalty, equation, scores.

    Parameters
    ----------
    train, validation, test : (X, y)
        X an (n, p) array or SciPy sparse matrix, y an (n,) array.
    seed : int
        Of the normal start z ~ N(0, I), as in the authors' code.
    groups : array of int, shape (d,), or None
        Which entry of theta penalises which entry of z; None: one for all.
        See `benchmark_shine.data.tables.penalty_groups`.
    theta : float
        Start of every entry of theta, the log of a penalty weight, within
        the box [-12, 12] of the outer optimisers.
    scale : float or "secant"
        The units of z: what B0 a quasi-Newton solver had best start from.
    losses : {"sum", "mean"}
        Whether the losses of the training, validation and test part are sums
        over their samples or means.

    Raises
    ------
    ValueError
        Where the data do not fit the model; the message names the part.
    """

    n_outputs = 1
    dtype = torch.float64

    def __init__(self, train, validation, test, seed=0, groups=None,
                 theta=0.0, scale="secant", losses="sum"):
        self.losses, self._weight = losses, check_choice(
            "losses", losses, LOSSES
        )
        parts = {"training": train, "validation": validation, "test": test}
        parts = [self._part(name, *part) for name, part in parts.items()]
        self.train, self.validation, self.test = parts
        features = {part.X.shape[1] for part in parts}
        if len(features) > 1:
            raise ValueError(
                f"X: parts differ in their number of features, {features}"
            )
        check_number("theta", theta, least=-12, most=12)
        self._d = features.pop() * self.n_outputs
        self.groups = torch.as_tensor(
            np.zeros(self._d, int) if groups is None else groups
        )
        if self.groups.shape != (self._d,):
            raise ValueError(
                f"groups: needs one number for each of {self._d} entries of "
                f"z, got shape {tuple(self.groups.shape)}"
            )
        self._n_groups = int(self.groups.max()) + 1
        self._theta = theta
        self.unit = self.validation.weight
        self.seed = seed
        self.scale = scale

    def _part(self, name, X, y):
        stored = X.data if is_sparse(X) else np.asarray(X)
        _check_numbers("X", stored, name)
        if not np.isfinite(stored).all():
            raise ValueError(
                f"X: NaN or infinite entries in the {name} data; drop or "
                "impute them first"
            )
        if X.shape[0] == 0 or X.shape[0] != len(y):
            raise ValueError(
                f"y: {len(y)} targets for {X.shape[0]} samples in the {name} "
                "data"
            )
        y = np.asarray(y)
        _check_numbers("y", y, name)
        targets = self.targets(y, name)
        return Part(Design(X, self.dtype), targets, self._weight(len(y)))

    def targets(self, y, name):
        """Check and convert the targets of one part."""
        if not np.isfinite(y).all():
            raise ValueError(f"y: NaN or infinite targets in the {name} data")
        return torch.as_tensor(y, dtype=self.dtype)

    @abstractmethod
    def phi(self, outputs, y):
        """Σ phi, a scalar, of outputs X z of shape (n,) or (n, k)."""

    @abstractmethod
    def slope(self, outputs, y):
        """dphi/doutputs, shaped like outputs, differentiable."""

    def outputs(self, part, z):
        """X z: shape (n,), or (n, n_outputs) where there are several."""
        return part.X @ self._matrix(z)

    def _matrix(self, z):
        return z if self.n_outputs == 1 else z.view(-1, self.n_outputs)

    def sample_weights(self, theta):
        """Return the weights of the training samples: shape (), or (n,)."""
        return torch.tensor(self.train.weight, dtype=self.dtype)

    def fit(self, outputs, weights):
        """Sum the weighted phi of the training samples: a scalar.

        Parameters
        ----------
        outputs : Tensor, shape (n,) or (n, k)
        weights : Tensor
            Of `sample_weights`.
        """
        return weights * self.phi(outputs, self.train.y)

    def fit_slope(self, outputs, weights):
        """Differentiate `fit` in outputs; shaped like outputs."""
        several = weights.ndim and outputs.ndim > 1
        weights = weights[:, None] if several else weights
        return weights * self.slope(outputs, self.train.y)

    def penalty(self, theta):
        """exp(theta) for each entry of z: shape (d,), or () with one group."""
        weights = theta[0].exp()
        return weights[0] if self._n_groups == 1 else weights[self.groups]

    def start(self):
        """First theta, a tuple of one (n_groups,) tensor, and z (d,)."""
        theta = torch.full((self._n_groups,), self._theta, dtype=self.dtype)
        z = np.random.RandomState(self.seed).randn(self._d)
        return (theta,), torch.as_tensor(z, dtype=self.dtype)

    def draw(self, theta, z, k):
        """Build the equation of outer step k, starting from the last root."""
        train = self.train
        diagonal = self.penalty(theta).detach()
        fixed = self.sample_weights(theta).detach()

        def g_theta(z):
            return self.penalty(theta) * z

        def energy_theta(z):
            return 0.5 * (g_theta(z) @ z)

        def g(z):
            slope = self.fit_slope(
                self.outputs(train, z), self.sample_weights(theta)
            )
            return (train.X.T @ slope).reshape(-1) + g_theta(z)

        energy = LinearEnergy(
            train.X, self.n_outputs, partial(self.fit, weights=fixed),
            partial(self.fit_slope, weights=fixed), diagonal,
        )
        return Equation(
            g, self.loss, z, energy, g_theta, k, diagonal=diagonal,
            energy_theta=energy_theta,
        )

    def loss(self, z):
        """Evaluate the outer loss: Σ w phi on the validation part."""
        return self._loss(self.validation, z)

    def _loss(self, part, z):
        return part.weight * self.phi(self.outputs(part, z), part.y)

    def scores(self, z):
        """Score an inner solution on the test part: its Σ w phi."""
        with torch.no_grad():
            return {"test_loss": float(self._loss(self.test, z))}

    def ingredients(self):
        """List what F depends on beside the code, to be hashed."""
        return [type(self).__qualname__, self.groups.numpy()] + [
            (part.X.numpy(), part.y.numpy(), part.weight)
            for part in (self.train, self.validation)
        ]


class _TwoClasses(PenalisedModel):
    def targets(self, y, name):
        y = super().targets(y, name)
        if not bool(((y == 1) | (y == -1)).all()):
            found = ", ".join(f"{v:g}" for v in y.unique()[:5].tolist())
            raise ValueError(
                f"y: labels must be two classes, -1 and +1; the {name} data "
                f"have {found}"
            )
        return y


class Logistic(_TwoClasses):
    """phi = log(1 + exp(-y x·z)), y in {-1, 1} (Ramzi et al., figure 1)."""

    unique_root = True

    def phi(self, outputs, y):
        return softplus(-y * outputs, threshold=IDENTITY).sum()

    def slope(self, outputs, y):
        return -y * torch.sigmoid(-y * outputs)


class NonlinearLeastSquares(_TwoClasses):
    """phi = ½ (y - sigmoid(x·z))², not convex (the authors' branch ``nls``).

    y stays in {-1, 1} while the sigmoid lives in (0, 1), as published: each
    negative sample costs at least ½.
    """

    def phi(self, outputs, y):
        return 0.5 * (y - torch.sigmoid(outputs)).square().sum()

    def slope(self, outputs, y):
        s = torch.sigmoid(outputs)
        return (s - y) * s * (1 - s)


class Ridge(PenalisedModel):
    """phi = ½ (x·z - y)²: hypergradient and optimum in closed form."""

    unique_root = True

    def phi(self, outputs, y):
        return 0.5 * (outputs - y).square().sum()

    def slope(self, outputs, y):
        return outputs - y


class Multinomial(PenalisedModel):
    """phi = cross-entropy of softmax(x·Z), z = Z flattened from (p, k).

    y are class numbers 0 .. k - 1.
    """

    unique_root = True

    def __init__(self, train, *others, **settings):
        y = np.asarray(train[1])
        _check_numbers("y", y, "training")
        self.n_outputs = int(y.max(initial=0)) + 1
        super().__init__(train, *others, **settings)
        if self.n_outputs < 2:
            raise ValueError(
                "y: the training data are all of class 0; needs two classes"
            )

    def targets(self, y, name):
        y = super().targets(y, name)
        numbers = torch.arange(self.n_outputs)
        if not bool(torch.isin(y, numbers).all()):
            raise ValueError(
                f"y: labels must be the class numbers 0 .. "
                f"{self.n_outputs - 1} of the training data; the {name} data "
                f"range from {float(y.min()):g} to {float(y.max()):g}"
            )
        return y.long()

    def phi(self, outputs, y):
        return cross_entropy(outputs, y, reduction="sum")

    def slope(self, outputs, y):
        slope = outputs.softmax(dim=1)
        return slope - torch.nn.functional.one_hot(y, self.n_outputs)
