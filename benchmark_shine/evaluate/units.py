"""Units of z in which the rows of J are alike.

A feature in millimetres has a row of J that is a million times that of the
same feature in metres; no iterative method gets over such a J.
"""
from dataclasses import replace

import torch


def units(J):
    """Return 1 / √|Jᵢᵢ|, the units in which J has a diagonal of ones.

    1 where the diagonal is zero or not finite.
    """
    size = J.diagonal().abs()
    known = size.isfinite() & (size > 0)
    return torch.where(known, size, 1.0).rsqrt()


def rescaled(equation, units):
    """Write an equation in other units: that of u, where z = units * u.

    Its Jacobian is diag(units) J diag(units), so that a symmetric J stays
    symmetric; q and z of the original are ``units`` times those of the result,
    which has no ``diagonal`` and no ``restrict``.
    """
    def energy(u):
        value, gradient = equation.energy(units * u)
        return value, units * gradient

    def g_theta(u):
        return units * equation.g_theta(units * u)

    return replace(
        equation,
        g=lambda u: units * equation.g(units * u),
        loss=lambda u: equation.loss(units * u),
        start=equation.start / units,
        energy=energy if equation.energy else None,
        g_theta=g_theta if equation.g_theta else None,
        restrict=None, diagonal=None,
    )


def equilibrate(vjp, like, n_products=100):
    """Find units in which the rows of a symmetric J have similar norms.

    Bradley, *Algorithms for the equilibration of matrices and their
    application to limited-memory quasi-Newton methods*, PhD thesis, Stanford
    2010: at the fixed point, sizes[i] is the norm² of row i of
    J diag(sizes)^(-½), which a product with a random vector estimates.
    Weights of one half forget the first sizes; a running mean over the second
    half of the products settles on the last.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = torch.ones_like(like)
    for k in range(1, n_products + 1):
        v = torch.randn(like.shape, generator=generator).to(like)
        found = vjp(v * sizes.rsqrt()).square()
        share = 0.5 if k <= n_products / 2 else 1 / (k - n_products // 2 + 1)
        sizes = (
            (1 - share) * sizes / sizes.sum()
            + share * found / found.sum()
        )
    return sizes.rsqrt()
