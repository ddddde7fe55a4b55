"""Root finders that leave an estimate of J⁻¹ behind."""
from .adjoint_broyden import AdjointBroyden
from .anderson import Anderson
from .base import Root
from .broyden import Broyden
from .fixed_point import FixedPoint
from .lbfgs import LBFGS
from .lbfgs_inverse import LBFGSInverse
from .opa import EveryFewSteps, Opa, loss_gradient
from .polish import Polished

__all__ = [
    "AdjointBroyden", "Anderson", "Broyden", "EveryFewSteps", "FixedPoint",
    "LBFGS", "LBFGSInverse", "Opa", "Polished", "Root", "loss_gradient",
]
