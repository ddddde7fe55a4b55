"""Root finders that leave an inverse estimate behind."""
from .adjoint_broyden import AdjointBroyden
from .anderson import Anderson
from .base import Root
from .broyden import Broyden
from .fixed_point import FixedPoint
from .lbfgs import LBFGS, EveryFewSteps, Opa, loss_gradient
from .lbfgs_inverse import LBFGSInverse

__all__ = [
    "AdjointBroyden", "Anderson", "Broyden", "EveryFewSteps", "FixedPoint",
    "LBFGS", "LBFGSInverse", "Opa", "Root", "loss_gradient",
]
