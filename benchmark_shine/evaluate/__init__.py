"""What a step is worth: scores, and comparisons with tight solves.

What ``metrics`` and ``comparison`` measure beyond a problem's equations
depends on its class.  Neither is on the clock of a solver, or changes its
state.
"""
from ..problems import BilevelProblem
from ..problems.equilibrium import EquilibriumNetwork
from . import bilevel, networks
from .measures import compare, comparison, metrics
from .reference import unmeasured

metrics.register(BilevelProblem, bilevel.metrics)
metrics.register(EquilibriumNetwork, networks.metrics)
comparison.register(BilevelProblem, bilevel.comparison)
compare.register(EquilibriumNetwork, networks.compare)

__all__ = ["compare", "comparison", "metrics", "unmeasured"]
