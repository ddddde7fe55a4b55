"""Measure what theorems 1 to 3 of SHINE promise, iteration by iteration.

    python -m experiments.theory --output outputs/theory.csv

Each root finder stops after n = 1, 2, … iterations, and SHINE takes q and
dF/dtheta from the estimate of J⁻¹ that the finder has by then.  Both are
compared with those at the exact root.  On small problems the steps span the
space, as theorem 1 demands; on larger ones, all steps of a finder without OPA
lie in a subspace, and ∂ℓ/∂z does not.  A Markdown file beside the rows has
the tables.  One thread; about a minute.
"""
import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from benchmark_shine.adjoint import JacobianFree, Shine
from benchmark_shine.checks import check_integer
from benchmark_shine.equation import Equation
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.implicit import TransposedJacobian, hypergradient
from benchmark_shine.operators import untransposed
from benchmark_shine.problems import Logistic, Ridge
from benchmark_shine.root import LBFGS, AdjointBroyden, Broyden, Opa
from figures.theory import page

MOST = 60  # iterations
TOL = 1e-12  # of a solve, relative to the residual at its start
# Dimension of z, and of the space in which the steps without OPA lie.
SIZES = {"span": (6, 6), "subspace": (40, 8)}


# Problems

def linear_model(model, d, rank, seed):
    """Draw a linear model whose steps from z = 0 span ``rank`` dimensions.

    The steps are combinations of the rows of X, if all penalties are equal.
    Where that is a subspace, there are ``rank`` training samples; else 5 d.

    Returns
    -------
    equation : Equation
    theta : tuple of one Tensor, shape (2,)
        Log penalties, each of one half of the features.
    """
    rng = np.random.RandomState(seed)
    truth = rng.randn(d)

    def part(n):
        X = rng.randn(n, d) * np.geomspace(1, 0.2, d)
        y = X @ truth + 0.5 * rng.randn(n)
        return X, (y if model is Ridge else np.sign(y))

    parts = part(rank if rank < d else 5 * d), part(5 * d), part(5 * d)
    problem = model(*parts, groups=2 * np.arange(d) // d, theta=-1.0)
    (first,), z = problem.start()
    theta = first.requires_grad_(),
    return problem.draw(theta, torch.zeros_like(z), 1), theta


def network(activation, d, rank, seed):
    """Draw g(z) = z - activation(A z + b + C theta), J not symmetric.

    Where the steps are to lie in a subspace, only the first ``rank`` units
    have a bias b, and they do not excite the others: the others are 0 at
    theta = 0, but they depend on theta, and the loss on them.

    Returns
    -------
    equation : Equation
        z of shape (1, d), 0 at the start.
    theta : tuple of one Tensor, shape (2,)
    """
    rng = np.random.RandomState(seed)
    A, b, C, w = (
        torch.as_tensor(rng.randn(*shape))
        for shape in ((d, d), (d,), (d, 2), (d,))
    )
    A[rank:, :rank] = b[rank:] = 0
    A *= 0.9 / torch.linalg.matrix_norm(A, 2)
    theta = torch.zeros(2, dtype=A.dtype, requires_grad=True)

    def g(z):
        return z - activation(z @ A.T + b + C @ theta)

    def loss(z):
        return (z @ w + 0.5 * z.square().sum(dim=1)).sum()

    return Equation(g, loss, torch.zeros_like(b).unsqueeze(0)), (theta,)


# Methods

@dataclass(frozen=True)
class Method:
    """Say from which root finder, and how, q is taken."""

    finder: Callable
    adjoint: Callable = Shine()


def transposed_jacobian(vjp, z):
    """Compute Jᵀ, (d, d), one product per column."""
    columns = torch.eye(z.numel(), dtype=z.dtype)
    return torch.stack(
        [vjp(v.view_as(z)).flatten() for v in columns], dim=1
    )


def exact(system):
    """Solve Jᵀ q = rhs by dense linear algebra."""
    Jt = transposed_jacobian(system.vjp, system.rhs)
    return torch.linalg.solve(Jt, system.rhs.flatten()).view_as(system.rhs)


EVERY = Opa(lambda k: 1)  # a pair at each iteration
BFGS = LBFGS(memory=2 * MOST, scale=1.0)
L_BFGS = LBFGS(memory=30)
ADJOINT = AdjointBroyden(memory=2 * MOST)
# Where J is symmetric, so is B: OPA has one side.
SYMMETRIC = {
    "Jacobian-free": Method(BFGS, JacobianFree()),
    "BFGS": Method(BFGS),
    "L-BFGS": Method(L_BFGS),
    "BFGS, OPA": Method(replace(BFGS, opa=EVERY)),
    "L-BFGS, OPA": Method(replace(L_BFGS, opa=EVERY)),
    "exact at the iterate": Method(BFGS, exact),
}
GENERAL = {
    "Jacobian-free": Method(ADJOINT, JacobianFree()),
    "Broyden": Method(Broyden(memory=MOST)),
    "adjoint Broyden": Method(ADJOINT),
    "adjoint Broyden, OPA": Method(replace(ADJOINT, opa=EVERY)),
    "adjoint Broyden, OPA published": Method(
        replace(ADJOINT, opa=EVERY, side=untransposed)),
    "exact at the iterate": Method(ADJOINT, exact),
}
PROBLEMS = {
    "ridge": (partial(linear_model, Ridge), SYMMETRIC),
    "logistic": (partial(linear_model, Logistic), SYMMETRIC),
    "affine": (partial(network, lambda u: u), GENERAL),
    "network": (partial(network, torch.tanh), GENERAL),
}


# Measurements

def roots(finder, equation):
    """Yield the roots after 1, 2, … iterations, until the solve ends.

    Each is a solve of its own from the same start: what a user gets who
    allows for n iterations.  A finder of the Broyden family returns the
    iterate of lowest residual, and the estimate of J⁻¹ at that iterate.
    """
    for n in range(1, MOST + 1):
        root = replace(finder, max_iter=n)(equation, rtol=TOL)
        if root.n_iter < n:
            return
        yield root
        if root.converged:
            return


def exact_root(finder, equation):
    """Find the root to rounding: the finder, then Newton's method."""
    z = replace(finder, max_iter=1000)(equation, rtol=1e-10).z
    for _ in range(3):
        with torch.no_grad():
            g = equation.g(z)
        Jt = transposed_jacobian(TransposedJacobian(equation.g, z), z)
        z = z - torch.linalg.solve(Jt.mT, g.flatten()).view_as(g)
    return SimpleNamespace(z=z, inverse=None)


def relative(found, expected):
    """Compute ‖found - expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm())


def span(places):
    """Count the dimensions that the steps from place to place span."""
    z = torch.stack(places)
    steps = z[1:] - z[:-1]
    lengths = steps.norm(dim=1, keepdim=True)
    unit = steps[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    return int(torch.linalg.matrix_rank(unit, rtol=1e-4))


def curve(adjoint, found_roots, equation, theta, truth, z):
    """Yield a row per iteration; truth is the `Hypergradient` at z."""
    places = [equation.start.flatten()]
    for n, root in enumerate(found_roots, start=1):
        found = hypergradient(equation, theta, root, adjoint)
        places.append(root.z.flatten())
        yield {
            "n": n,
            "hypergradient_error": relative(found.grads[0], truth.grads[0]),
            "q_error": relative(found.q, truth.q),
            "z_error": relative(root.z, z),
            "span": span(places),
        }


def measure(draws, problems=tuple(PROBLEMS), sizes=SIZES):
    """Measure every method on some draws of each problem: rows, a frame."""
    torch.set_num_threads(1)
    rows = []
    for name, steps, draw in product(problems, sizes, range(draws)):
        make, methods = PROBLEMS[name]
        d, rank = sizes[steps]
        equation, theta = make(d, rank, draw)
        root = exact_root(methods["Jacobian-free"].finder, equation)
        truth = hypergradient(equation, theta, root, exact)
        solves = {
            method.finder: list(roots(method.finder, equation))
            for method in methods.values()
        }
        at = {"problem": name, "steps": steps, "d": d, "draw": draw}
        rows += [
            at | {"method": label} | row
            for label, method in methods.items()
            for row in curve(
                method.adjoint, solves[method.finder], equation, theta,
                truth, root.z,
            )
        ]
    return pd.DataFrame(rows).assign(
        fingerprint=fingerprint(), torch=torch.__version__
    )


def main(arguments=None):
    """Measure; write a CSV file, and a Markdown file beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        check_integer("draws", options.draws, least=1)
    except ValueError as error:
        parser.error(str(error))
    frame = measure(options.draws)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.output, index=False, float_format="%.3e")
    text = page(frame)
    options.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(f"{text}\nwritten to {options.output}")


if __name__ == "__main__":
    main()
