"""Small problems with known solutions, shared by all tests."""
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from benchmark_shine.adjoint import AdjointSystem
from benchmark_shine.data.pictures import pictures
from benchmark_shine.equation import Equation
from benchmark_shine.problems import (
    Cleaning, Logistic, Multinomial, NonlinearLeastSquares, Recipe, Ridge,
    SmallDEQ,
)
from benchmark_shine.root import LBFGS

MODELS = {
    "ridge": Ridge,
    "logistic": Logistic,
    "nls": NonlinearLeastSquares,
    "multinomial": Multinomial,
}


def normal(seed, *shape, dtype=torch.float64):
    """Standard normal entries from a seed."""
    rng = np.random.RandomState(seed)
    return torch.as_tensor(rng.randn(*shape)).to(dtype)


def spd(spectrum, seed=0):
    """A symmetric matrix with the given eigenvalues, in a random basis."""
    spectrum = torch.as_tensor(spectrum, dtype=torch.float64)
    basis, _ = torch.linalg.qr(normal(seed, len(spectrum), len(spectrum)))
    return basis @ torch.diag(spectrum) @ basis.T


@dataclass(frozen=True)
class Quadratic:
    """½ (z - solution)ᵀ A (z - solution), A of a given spectrum."""

    A: Tensor
    solution: Tensor
    equation: Equation


def quadratic(spectrum, seed=0):
    """A `Quadratic`; its outer loss is linear, (0, 1, 2, …) · z."""
    A = spd(spectrum, seed)
    d = len(A)
    solution, start = normal(seed + 1, 2, d)
    rhs = torch.arange(d, dtype=torch.float64)

    def g(z):
        return A @ (z - solution)

    def energy(z):
        gradient = g(z)
        return float(0.5 * (z - solution) @ gradient), gradient

    return Quadratic(
        A, solution, Equation(g, lambda z: rhs @ z, start, energy)
    )


def counted(function):
    """The function, and a list that grows by one at each of its calls."""
    calls = []

    def wrapper(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return wrapper, calls


def model(kind, groups=None, sparse=False, n=30, p=6, seed=0, theta=0.0,
          losses="sum"):
    """A penalised model with n samples a part and p features.

    ``groups`` features share each entry of theta; None: all share one;
    "class": the coefficients of a class do.
    """
    rng = np.random.RandomState(seed)
    X = rng.randn(3 * n, p) * np.geomspace(1, 0.2, p)
    if sparse:
        X[rng.rand(*X.shape) < 0.5] = 0
    if kind == "multinomial":
        y = (X @ rng.randn(p, 3) + 0.5 * rng.randn(3 * n, 3)).argmax(axis=1)
    else:
        y = X @ rng.randn(p) + 0.5 * rng.randn(3 * n)
        y = y if kind == "ridge" else np.sign(y)
    parts = [
        (scipy.sparse.csr_matrix(X[i::3]) if sparse else X[i::3], y[i::3])
        for i in range(3)
    ]
    k = 3 if kind == "multinomial" else 1
    if groups == "class":
        groups = np.tile(np.arange(k), p)
    elif groups is not None:
        groups = np.repeat(np.arange(p) // groups, k)
    return MODELS[kind](
        *parts, seed=seed, theta=theta, groups=groups, losses=losses
    )


def theta_of(problem, values):
    """Leaves of the problem's shape; ``values`` is a number or an array."""
    (first,), _ = problem.start()
    values = torch.as_tensor(values, dtype=first.dtype)
    return values.expand_as(first).clone().requires_grad_(),


def jacobian_at(equation, z):
    """J as a dense matrix, by automatic differentiation of g."""
    return jacobian(equation.g, z).detach()


def tight_root(problem, theta, z=None):
    """z*(theta) to rounding: L-BFGS, then Newton steps with a dense J."""
    z = problem.start()[1] if z is None else z
    equation = problem.draw(theta, z, 1)
    root = LBFGS()(equation, atol=1e-6)
    z = root.z
    for _ in range(3):
        with torch.no_grad():
            residual = equation.g(z)
        z = z - torch.linalg.solve(jacobian_at(equation, z), residual)
    return replace(equation, start=z), replace(root, z=z)


@dataclass(frozen=True)
class RidgeSolution:
    """z*(theta), its adjoint q and dF/dtheta by dense linear algebra."""

    z: Tensor
    q: Tensor
    value: Tensor
    grad: Tensor


def ridge_solution(problem, theta):
    """Closed form, from (XᵀX + W) z = Xᵀy with W = diag(exp(theta)).

    Differentiating, dz = -(XᵀX + W)⁻¹ dW z, hence dF = -Σⱼ dWⱼⱼ zⱼ qⱼ with
    (XᵀX + W) q = Vᵀ(V z - u) on the validation data (V, u).
    """
    (X, y), (V, u) = (
        (part.X @ torch.eye(part.X.shape[1], dtype=torch.float64), part.y)
        for part in (problem.train, problem.validation)
    )
    weights = theta.detach().exp()[problem.groups]
    H = X.T @ X + torch.diag(weights)
    z = torch.linalg.solve(H, X.T @ y)
    gap = V @ z - u
    q = torch.linalg.solve(H, V.T @ gap)
    grad = torch.zeros_like(theta.detach())
    grad.index_add_(0, problem.groups, -weights * z * q)
    return RidgeSolution(z, q, 0.5 * gap @ gap, grad)


def system(J, rhs, start=None, tol=1e-10, inverse=None, z=None):
    """An adjoint system with a dense J, and the list of its products."""
    vjp, products = counted(lambda v: J.T @ v)
    z = torch.ones_like(rhs) if z is None else z
    return AdjointSystem(vjp, rhs, inverse, z, start, tol), products


def relative(a, b):
    """‖a - b‖ / ‖b‖."""
    return float((a - b).norm() / b.norm())


def method(find_root, adjoint):
    """What `evaluate.compare` wants to know of a method."""
    return SimpleNamespace(find_root=find_root, adjoint=adjoint)


def network(d=10, contraction=0.8, dtype=torch.float64):
    """A small equilibrium network with three batches of 8 an epoch."""
    labels = np.arange(24) % 3
    pixels = np.random.RandomState(0).randint(0, 128, (24, 1, 4, 4))
    pixels = (pixels + 40 * labels[:, None, None, None]).astype(np.uint8)
    return SmallDEQ(
        *pictures((pixels, labels), (pixels, labels)),
        Recipe(batch_size=8, epochs=2, tol=1e-12), d, contraction,
        dtype=dtype,
    )


def cleaning(losses="mean", sparse=False, ridge=0.05, **settings):
    """Hyper-cleaning of 12 samples, 4 features, 3 classes; 5 are wrong."""
    n, p, k = 12, 4, 3
    rng = np.random.RandomState(0)
    X = rng.randn(3 * n, p)
    y = (X @ rng.randn(p, k) + 0.5 * rng.randn(3 * n, k)).argmax(axis=1)
    make = scipy.sparse.csr_matrix if sparse else np.array
    parts = [(make(X[i::3]), y[i::3]) for i in range(3)]
    given = {"corrupted": np.arange(n) < 5, "ridge": ridge} | settings
    return Cleaning(*parts, losses=losses, **given)
