from benchmark_shine.adjoint import Fallback, NormRule, ResidualRule, Shine
from benchmark_shine.checks import check_choice
from benchmark_shine.solver import NetworkSolver


class Solver(NetworkSolver):
    """SHINE with a fallback to Jacobian-free, sample by sample.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 3.

    Parameters
    ----------
    rule : {"norm", "residual"}
        Keep SHINE's q where it is at most ``ratio`` times as long as dl/dz;
        or where its residual is the lower one, for two products with Jᵀ.
    ratio : float or None
        Of the norm rule.  None: 1.3, as in the paper; 1.8 in the authors'
        code.
    """

    name = "SHINE-fallback"
    parameters = {
        **NetworkSolver.parameters, "rule": ["norm"], "ratio": [None],
    }

    def make_batched_adjoint(self, n_steps):
        ratio = 1.3 if self.ratio is None else self.ratio
        rules = {"norm": NormRule(ratio), "residual": ResidualRule()}
        rule = check_choice("rule", self.rule, rules)
        if self.rule != "norm" and self.ratio is not None:
            raise ValueError("ratio: is for rule=norm")
        return Fallback(Shine(), rule)
