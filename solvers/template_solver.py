# A competitor to copy; benchopt passes over files called template_*, unless
# asked: benchopt run . -s solvers/template_solver.py
from benchmark_shine.checks import check_integer
from benchmark_shine.solver import ImplicitSolver


class Solver(ImplicitSolver):
    """What the method does: minimal-residual steps from SHINE's q.

    Where it is from: Saad, *Iterative methods*, 2003, algorithm 5.3.

    Parameters
    ----------
    n_steps : int
        What each of its own parameters means, and its published value.
    """

    name = "Template"  # that of no other solver
    # The suite's parameters, then its own: a list of the values to run.
    parameters = {**ImplicitSolver.parameters, "n_steps": [3]}
    # A library that not all have, imported where it is used:
    # library = "its_name"

    def make_adjoint(self):
        # Called before each run; a ValueError leaves the problem out.
        check_integer("n_steps", self.n_steps, least=0)

        def adjoint(system):
            # Jᵀ q = rhs, all of shape (d,), in networks (B, d), a system per
            # row; vjp(v) is Jᵀ v, inverse is near J⁻¹; also z, q0 and tol.
            q = system.inverse.T @ system.rhs
            r = system.rhs - system.vjp(q)
            for _ in range(self.n_steps):
                p = system.vjp(r)
                pp = (p * p).sum(-1, True).clamp(min=1e-30)  # r may be 0
                step = (r * p).sum(-1, True) / pp
                q, r = q + step * r, r - step * p
            return q

        return adjoint
