from benchmark_shine.adjoint import Fallback, NormRule, ResidualRule, Shine
from benchmark_shine.bench.solver import NetworkSolver
from benchmark_shine.checks import check_choice


class Solver(NetworkSolver):
    """SHINE with a fallback to Jacobian-free, sample by sample.

    Ramzi et al., ICLR 2022, arXiv 2106.00553, section 3.

    Parameters
    ----------
    rule : {"norm", "residual"}
        Keep SHINE's q where it is at most ``ratio`` times as long as dl/dz;
        or where its residual is the lower one, for two products with Jᵀ.
    ratio : float
        1.3 in the paper, 1.8 in the authors' code.
    """

    name = "SHINE-fallback"
    parameters = {
        **NetworkSolver.parameters, "rule": ["norm"], "ratio": [1.3],
    }

    def make_batched_adjoint(self, n_steps):
        rules = {"norm": NormRule(self.ratio), "residual": ResidualRule()}
        return Fallback(Shine(), check_choice("rule", self.rule, rules))
