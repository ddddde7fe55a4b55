"""Measure how well OPA inverts J in a prescribed direction (figure 2, right).

    python -m experiments.opa_inversion --tries 100 --output x.csv

Breast cancer as in the authors' ``evaluate_opa_inversion_quality``: labels
-1 and 1, features scaled (not centred) by all 569 rows, 20 % of them kept
for training, ridge weight 1.  Each try draws a start and a direction v,
minimises by L-BFGS with an OPA pair in direction v every few iterations, and
compares a = B w with b = J⁻¹ w for three directions w.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmark_shine.checks import check_integer, check_seed
from benchmark_shine.data.tables import two_classes
from benchmark_shine.fingerprints import fingerprint
from benchmark_shine.implicit import TransposedJacobian
from benchmark_shine.problems import Logistic
from benchmark_shine.root import LBFGS, Opa


def problem():
    """Build the authors' problem; its training set is 113 × 30."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler(with_mean=False).fit_transform(X)
    X, X_rest, y, y_rest = train_test_split(
        X, two_classes(y), test_size=0.8, random_state=3
    )
    rest = X_rest, y_rest
    return Logistic((X, y), rest, rest)


def one_try(model, rng, every, c2):
    """Solve once, then invert three directions.

    There is an OPA pair ``every`` few iterations; c2 is that of the line
    search.

    Returns
    -------
    list of dict
        ``direction`` (prescribed, krylov or random), ``ratio`` ‖a‖ / ‖b‖,
        ``cosine`` of a and b, ``n_iter``, ``n_g``, ``n_pairs``.
    """
    (theta,), z = model.start()

    def draw():
        return torch.as_tensor(rng.randn(z.numel()))

    prescribed = draw()
    finder = LBFGS(
        memory=60, scale=1.0, c2=c2,
        opa=Opa(lambda k: every, lambda equation, z: prescribed),
    )
    equation = model.draw((theta,), draw(), 1)
    root = finder(equation, atol=1e-6)
    if not root.converged:
        raise RuntimeError(
            f"L-BFGS stopped at ‖g‖ = {root.residual:.1e} after "
            f"{root.n_iter} iterations, short of 1e-6"
        )
    jacobian = TransposedJacobian(equation.g, root.z)
    J = torch.stack([jacobian(e) for e in torch.eye(z.numel(), dtype=z.dtype)])
    last_step = root.inverse.pairs()[0][-1]
    directions = {
        "prescribed": prescribed, "krylov": J @ last_step, "random": draw(),
    }
    rows = []
    for name, w in directions.items():
        a, b = root.inverse @ w, torch.linalg.solve(J, w)
        rows.append({
            "direction": name, "ratio": float(a.norm() / b.norm()),
            "cosine": float(a @ b / (a.norm() * b.norm())),
            "n_iter": root.n_iter, "n_g": root.n_g,
            "n_pairs": len(root.inverse),
        })
    return rows


def measure(tries, every=5, c2=9e-4, seed=42):
    """Measure the three directions of ``tries`` solves, a row each."""
    torch.set_num_threads(1)
    rng, model = np.random.RandomState(seed), problem()
    rows = [
        {"try": i, **row}
        for i in range(tries) for row in one_try(model, rng, every, c2)
    ]
    return pd.DataFrame(rows).assign(
        every=every, c2=c2, seed=seed, fingerprint=fingerprint(),
        torch=torch.__version__,
    )


def main(arguments=None):
    """Measure and write a CSV file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--c2", type=float, default=9e-4)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        check_integer("tries", options.tries, least=1)
        check_integer("every", options.every, least=1)
        check_seed(options.seed)
        LBFGS(c2=options.c2)
    except ValueError as error:
        parser.error(str(error))
    frame = measure(options.tries, options.every, options.c2, options.seed)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.output, index=False)
    print(frame.groupby("direction")[["ratio", "cosine"]].describe().T)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
