from benchmark_shine.adjoint import ConjugateGradient
from benchmark_shine.bench.solver import BilevelSolver
from benchmark_shine.operators import transposed


class Solver(BilevelSolver):
    """SHINE as preconditioner: HOAG's conjugate gradients, with B for J⁻¹.

    Exact to the same shrinking tolerance as HOAG; B is the estimate that
    L-BFGS ended with (Morales and Nocedal, SIAM J. Optim. 2000, for
    preconditioners of this form).
    """

    name = "SHINE-PCG"

    def make_adjoint(self):
        return ConjugateGradient(estimate=transposed)
