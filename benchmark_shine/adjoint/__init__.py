"""Adjoint methods, q ≈ J⁻ᵀ ∂ℓ/∂z: the one place where the methods differ."""
from .base import (
    AdjointSystem, Fallback, JacobianFree, NormRule, Refine, ResidualRule,
    Shine, cold, linear_in_rhs, z_as_q0,
)
from .guarded import Guarded, guarded_by_sample
from .krylov import (
    ConjugateGradient, Gmres, Recycled, stop_by_hypergradient,
    stop_by_residual,
)
from .quasi_newton import QuasiNewtonSolve
from .series import GradientDescent, Neumann, Phantom, spectral_norm
from .sketch import Nystrom, NystromPCG, columns, gaussian

__all__ = [
    "AdjointSystem", "QuasiNewtonSolve", "ConjugateGradient", "Fallback",
    "Gmres", "GradientDescent", "Guarded", "JacobianFree", "Neumann",
    "NormRule", "Nystrom", "NystromPCG", "Phantom", "Recycled", "Refine",
    "ResidualRule", "Shine", "cold", "columns", "gaussian",
    "guarded_by_sample", "linear_in_rhs", "spectral_norm",
    "stop_by_hypergradient", "stop_by_residual", "z_as_q0",
]
