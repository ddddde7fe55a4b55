"""What a step is worth: scores, and comparisons with tight solves.

``metrics(problem, step)`` and ``compare(problem, step, method)`` measure any
problem; what they measure beyond its equations depends on the problem's
class.  Neither is on the clock of a solver, or changes its state.
``unmeasured(codes)`` says of how many points the reference is missing.
"""
from ..problems import BilevelProblem
from ..problems.classifier import EquilibriumClassifier
from . import bilevel, networks
from .measures import compare, metrics
from .reference import unmeasured

metrics.register(BilevelProblem, bilevel.metrics)
metrics.register(EquilibriumClassifier, networks.metrics)
compare.register(EquilibriumClassifier, networks.compare)

__all__ = ["compare", "metrics", "unmeasured"]
