"""Conjugate gradients for several right-hand sides that share products."""
import torch

from ..precision import finite_rows, scale_of

# Directions whose part outside of the others is smaller are left out.
DEPENDENT = 1e-8


def block_conjugate_gradients(product, rhs, goals, max_iter=10_000):
    """Solve J x = rhs for a few right-hand sides at once, J symmetric.

    Block conjugate gradients (O'Leary, Linear Algebra and its Applications
    1980) with orthonormal directions, which keeps the iteration alive where
    the residuals become dependent (Ji and Li, BIT Numerical Mathematics 2017,
    algorithm 2).  Every iteration minimises over the directions of all
    right-hand sides.  A right-hand side that has met its goal adds no more
    directions; those of the iteration before are kept, and made conjugate to
    all that follow, without which the others would converge slowly (Beale's
    restarts; Powell, Mathematical Programming 1977).

    Parameters
    ----------
    product : callable, Tensor (d,) -> Tensor (d,)
        The product with J.
    rhs : Tensor, shape (n, d)
        One right-hand side per row; each has a scale of its own.
    goals : Tensor, shape (n,)
        The residual norms that are asked for.
    max_iter : int
        Most iterations, at most n products each.

    Returns
    -------
    Tensor, shape (n, d)
        NaN in a row whose residual is not finite.
    """
    scale = scale_of(rhs)
    R, goals = rhs / scale, goals / scale.squeeze(1)
    X, kept, last, n_working = torch.zeros_like(R), [], [], len(R)
    for _ in range(max_iter):
        working = ~(R.norm(dim=1) <= goals)
        S = R[working]
        if not len(S) or not S.isfinite().all():
            break
        if len(S) < n_working:
            kept += last
        n_working = len(S)
        for P, AP, K in [*kept, *last]:
            S = S - torch.linalg.solve(K, AP @ S.T).T @ P
        if not S.any():  # no direction is left
            break
        P = _orthonormal(S)
        AP = torch.stack([product(p) for p in P])
        K = P @ AP.T
        step, singular = torch.linalg.solve_ex(K, P @ R.T)
        if singular:  # J is indefinite: no step
            break
        last = [(P, AP, K)]
        X, R = X + step.T @ P, R - step.T @ AP
    return torch.where(finite_rows(R), X * scale, torch.nan)


def _orthonormal(rows):
    """Find an orthonormal basis of the span of rows, (k, d)."""
    norms = rows.norm(dim=1, keepdim=True)
    rows = rows / torch.where(norms > 0, norms, 1.0)
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[sizes > DEPENDENT * sizes[0]]
