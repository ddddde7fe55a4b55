# A competitor to copy; benchopt passes over files called template_*, unless
# asked: benchopt run . -s solvers/template_solver.py
from benchmark_shine.bench.solver import ImplicitSolver
from benchmark_shine.checks import check_integer


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
        # This is called before each run.  A ValueError, such as
        # NotForThisProblem, leaves the problem out with its sentence.
        check_integer("n_steps", self.n_steps, least=0)

        def adjoint(system):
            # Solve Jᵀ q = rhs: all have shape (d,), in networks (B, d) with a
            # system per row.  vjp(v) is Jᵀ v, and inverse is near J⁻¹; there
            # are z, q0 and tol too, see docs/add_a_solver.md.
            q = system.inverse.T @ system.rhs
            r = system.rhs - system.vjp(q)
            for _ in range(self.n_steps):
                p = system.vjp(r)
                pp = (p * p).sum(-1, True).clamp(min=1e-30)  # r may be 0
                step = (r * p).sum(-1, True) / pp
                q, r = q + step * r, r - step * p
            return q

        return adjoint
