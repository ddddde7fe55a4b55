"""Root finders that leave an inverse estimate behind."""
from .adjoint_broyden import AdjointBroyden
from .anderson import Anderson
from .base import Root
from .broyden import Broyden
from .fixed_point import FixedPoint
from .lbfgs import LBFGS, EveryFewSteps, Opa, loss_gradient
from .torchdeq import TorchDEQ

__all__ = [
    "AdjointBroyden", "Anderson", "Broyden", "EveryFewSteps", "FixedPoint",
    "LBFGS", "Opa", "Root", "TorchDEQ", "loss_gradient",
]
