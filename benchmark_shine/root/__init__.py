"""Root finders that leave an inverse estimate behind."""
from .base import Root
from .lbfgs import LBFGS, EveryFewSteps, Opa, loss_gradient

__all__ = ["LBFGS", "EveryFewSteps", "Opa", "Root", "loss_gradient"]
