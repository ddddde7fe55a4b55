"""Quasi-Newton solvers for Jᵀ q = rhs."""
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..equation import Equation
from .base import cold, linear_in_rhs


@dataclass(frozen=True)
class QuasiNewtonSolve:
    """Solve Jᵀ q - rhs = 0 by a root finder of the package.

    The original backward pass of equilibrium networks (Bai, Kolter and
    Koltun 2019); stopped after a few steps it is limited backward, and after
    `Refine` the refinement of Ramzi et al. 2022:

    - ``QuasiNewtonSolve(Broyden(max_iter=20))``: original;
    - ``Refine(Shine(), QuasiNewtonSolve(Broyden(max_iter=5), transposed))``:
      from SHINE's q and, rightly transposed, its estimate; as published with
      `untransposed`, the estimate's transpose being forgotten; or `cold`.

    The method returns the iterate of lowest residual, sample by sample, and
    NaN in a sample whose rhs or product is not finite.

    Parameters
    ----------
    finder : Broyden
        Or another of :mod:`benchmark_shine.root` with a field
        ``initial_inverse``; with `cold`, any batched finder that needs
        nothing of the equation but g.  It makes one product per step, and
        one for the first residual unless the system has no q0.
    estimate : callable, LinearOperator -> LinearOperator or None
        Makes the first estimate of J⁻ᵀ from the forward pass's estimate of
        J⁻¹: `cold` (the default: none), `transposed` or `untransposed`.
    tol : float or None
        Relative residual tolerance; None (the default) takes the system's, 0
        makes all steps.
    """

    finder: Callable
    estimate: Callable = cold
    tol: float | None = None

    @linear_in_rhs
    def __call__(self, system):
        rhs, q0, known = system.rhs, system.q0, []
        if q0 is None:  # the residual at 0 is known without a product
            q0, known = torch.zeros_like(rhs), [-rhs]

        def g(q):
            return known.pop() if known else system.vjp(q) - rhs

        finder, initial = self.finder, self.estimate(system.inverse)
        if initial is not None:
            finder = replace(finder, initial_inverse=initial)
        tol = system.tol if self.tol is None else self.tol
        equation = Equation(g, loss=None, start=q0)
        return finder(equation, atol=tol * rhs.norm(dim=-1)).z
