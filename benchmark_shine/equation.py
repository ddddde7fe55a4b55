"""The one form of problem that the suite knows."""
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Equation:
    """Describe one outer step: g(z, theta) = 0 and the outer loss of its root.

    Theta is no argument of the functions: they close over it, so that their
    values are differentiable in theta as well as in z.

    Parameters
    ----------
    g : callable, Tensor (d,) -> Tensor (d,)
        The root equation.
    loss : callable, Tensor (d,) -> scalar Tensor
        The outer loss.
    start : Tensor, shape (d,)
        Where the root finder begins.
    energy : callable, Tensor (d,) -> (float, Tensor (d,)), or None
        Where g is a gradient: the function of which it is the gradient, and g
        itself, in one pass over the data and without a graph.  A method
        ``at`` of it may say what is cheaper along lines, see
        `benchmark_shine.root.line_search.place_at`.
    g_theta : callable, Tensor (d,) -> Tensor (d,), or None
        A function cheaper than g with the same derivative in theta.  None
        where there is nothing cheaper.
    step : int
        The outer step k to which the equation belongs, from 1.
    restrict : callable, Tensor (n,) of indices -> g of those samples, or None
        Where z has shape (B, d), one row per sample: gives the equation of
        some samples alone, a function of (n, d), for root finders that have
        finished the others.  It need not be differentiable in theta.
    warm_startable : bool
        Whether this is the equation of the outer step before at another
        theta, so that the last q is near the new q.  False for mini-batches.
    diagonal : Tensor, shape () or (d,), or None
        Where theta enters J as an added diagonal and in no other way, that
        diagonal: at another theta, J changes by the difference of the two
        diagonals.  None where J depends on theta otherwise.
    energy_theta : callable, Tensor (d,) -> scalar Tensor, or None
        A function with the derivative in theta of the energy, up to what does
        not depend on z: penalty methods differentiate differences of the
        energy in theta.
    theta_parts : tuple of Tensor, or None
        Tensors with a graph, functions of theta alone, through which alone g
        depends on theta: a method that differentiates many evaluations of g
        adds up its derivatives in these, and goes on to theta once.  None:
        theta itself.
    """

    g: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]
    start: Tensor
    energy: Callable[[Tensor], tuple[float, Tensor]] | None = None
    g_theta: Callable[[Tensor], Tensor] | None = None
    step: int = 1
    restrict: Callable[[Tensor], Callable[[Tensor], Tensor]] | None = None
    warm_startable: bool = True
    diagonal: Tensor | None = None
    energy_theta: Callable[[Tensor], Tensor] | None = None
    theta_parts: tuple[Tensor, ...] | None = None


def need_diagonal(part, what):
    """Refuse an equation, or a linear system, without a known ``diagonal``.

    Parameters
    ----------
    part : Equation or AdjointSystem
    what : str
        What needs it, for the message.

    Raises
    ------
    ValueError
    """
    if part.diagonal is None:
        raise ValueError(
            f"{what} needs an equation that says which diagonal theta adds "
            "to J"
        )
