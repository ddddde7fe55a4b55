r"""Hypergradients that share the inverse of the forward pass.

Find z*(theta) with g(z*, theta) = 0, then descend F(theta) = l(z*, theta):

    dF/dtheta = dl/dtheta - (dg/dtheta)^T q,     J^T q = dl/dz,   J = dg/dz.

The forward pass already built B ~ J^{-1}, so SHINE takes q = B^T dl/dz: the
backward pass costs one low-rank product instead of a linear solve.  Every
method of this package differs from the others in how it gets q, and in
nothing else (Ramzi et al., ICLR 2022, arXiv 2106.00553).

Letters, the same everywhere:

======  ====================================================================
z       inner variable, shape (d,): model coefficients or a hidden state
theta   outer variable, tuple of tensors: hyperparameters or weights
g       root equation, g(z, theta) = 0, same shape as z
J       its Jacobian in z, shape (d, d)
l       outer loss, a scalar
B       ``inverse``, the estimate of J^{-1} that the root finder leaves
rhs     dl/dz at the root
q       ~ J^{-T} rhs, what an adjoint method returns
s, y    a step in z and the change of g along it: a secant pair
m       memory, the number of pairs kept;  k outer step;  n iteration
======  ====================================================================
"""
from importlib import import_module

from .adjoint import (
    AdjointSystem, ConjugateGradient, Fallback, Gmres, JacobianFree, Neumann,
    NormRule, Phantom, QuasiNewtonSolve, Refine, ResidualRule, Shine,
)
from .equation import Equation
from .implicit import attach, hypergradient
from .root import (
    LBFGS, AdjointBroyden, Anderson, Broyden, EveryFewSteps, FixedPoint, Opa,
    Root,
)

__version__ = "1.0.0"
__all__ = [
    "AdjointBroyden", "AdjointSystem", "Anderson", "Broyden",
    "ConjugateGradient", "Equation", "EveryFewSteps", "Fallback",
    "FixedPoint", "Gmres", "JacobianFree", "LBFGS", "Neumann", "NormRule",
    "Opa", "Phantom", "QuasiNewtonSolve", "Refine", "ResidualRule", "Root",
    "Shine", "attach", "hypergradient",
]


def __getattr__(name):
    """Import benchmark_shine.nn where it is asked for: torch._dynamo is slow.
    """
    if name == "nn":
        return import_module(".nn", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
