"""Quasi-Newton solvers for Jᵀ q = rhs."""
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch

from .base import cold


@dataclass(frozen=True)
class QuasiNewtonSolve:
    """A quasi-Newton solver on Jᵀ q - rhs = 0, as a root finder has it.

    The original backward pass of equilibrium networks (Bai, Kolter and
    Koltun 2019); stopped after a few steps it is limited backward, and after
    `Refine` the refinement of Ramzi et al. 2022:

    - ``QuasiNewtonSolve(Broyden(max_iter=20))``: original;
    - ``Refine(Shine(), QuasiNewtonSolve(Broyden(max_iter=5), transposed))``:
      from SHINE's q and, rightly transposed, its estimate; as published with
      `untransposed`, the estimate's transpose being forgotten; or `cold`.

    Returned is the iterate of lowest residual, sample by sample.

    Parameters
    ----------
    finder : Broyden
        Or another of :mod:`benchmark_shine.root` with a field ``first``; with
        `cold` any finder of a batch that asks for nothing but ``g``.  As many
        products as steps, and one for the first residual unless the system
        has no start.
    estimate : callable, LinearOperator -> LinearOperator or None
        First estimate of J⁻ᵀ, from the forward pass's of J⁻¹: `cold`,
        `transposed` or `untransposed`.
    tol : float or None
        Relative residual; None: the system's.  0 for a number of steps.
    """

    finder: Callable
    estimate: Callable = cold
    tol: float | None = None

    def __call__(self, system):
        rhs, start, known = system.rhs, system.q0, []
        if start is None:  # the residual at 0 is known without a product
            start, known = torch.zeros_like(rhs), [-rhs]

        def g(q):
            return known.pop() if known else system.vjp(q) - rhs

        finder, first = self.finder, self.estimate(system.inverse)
        if first is not None:
            finder = replace(finder, first=first)
        tol = system.tol if self.tol is None else self.tol
        equation = SimpleNamespace(g=g, start=start, restrict=None)
        return finder(equation, atol=tol * rhs.norm(dim=-1)).z
