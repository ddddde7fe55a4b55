"""Back-propagation through a reversible iteration, in constant memory."""
import math
from dataclasses import dataclass

import torch

from ..adjoint.base import linear_in_rhs
from ..checks import check_integer, check_number
from ..engine import Step, clock
from ..implicit import Counted
from ..root import Root

# Rounding grows by (1 - beta)^-n at least; an error above this is refused.
MOST_ERROR = 1e-2


def most_steps(beta, dtype):
    """Return the most steps that can be walked back in a precision.

    Parameters
    ----------
    beta : float
    dtype : torch.dtype

    Returns
    -------
    int
        The largest n with eps (1 - beta)^-n ≤ ``MOST_ERROR``.
    """
    digits = math.log(MOST_ERROR / torch.finfo(dtype).eps)
    return int(digits / -math.log1p(-beta))


@dataclass(frozen=True)
class Reversible:
    r"""Differentiate a reversible iteration exactly, and store no iterate.

    McCallum, Arora and Foster, *Reversible deep equilibrium models*, arXiv
    2509.12917, 2025.  With f(z) = z - g(z) and y = z at the equation's start,
    n times

        y ← (1 - beta) y + beta f(z),   z ← (1 - beta) z + beta f(y).

    The backward pass solves the two lines for the values before, in reverse
    order, and back-propagates through f there.  The gradient is that of
    ℓ(z) after n steps, whether or not z is near the root.  Its only error is
    rounding: the error of the start that is reached grows like (1 - beta)^-n
    where f contracts strongly, and like (1 - beta)^-2n where ∂f/∂z has
    eigenvalues near 1; that of the gradient grows more slowly.

    An outer step for `benchmark_shine.engine.Method`.

    Parameters
    ----------
    steps : int
        n: two evaluations of g each in the forward pass; two more, and two
        products with Jᵀ (one at the start), in the backward pass.
    beta : float
        Relaxation, in (0, 1).

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Notes
    -----
    The authors' code evaluates f four times in each backward step.
    """

    steps: int = 5
    beta: float = 0.8

    def __post_init__(self):
        check_integer("steps", self.steps, least=1)
        check_number("beta", self.beta, above=0, below=1)

    def check(self, dtype):
        """Refuse more steps than a precision lets the iteration walk back.

        Raises
        ------
        ValueError
        """
        most = most_steps(self.beta, dtype)
        if self.steps > most:
            raise ValueError(
                f"steps: {self.steps} steps with beta={self.beta} cannot "
                f"be walked back in {dtype}, whose rounding grows like "
                f"(1 - beta)^-n; take at most {most}, or a smaller beta"
            )

    @property
    def find_root(self):
        """Return the forward pass as a root finder, for comparisons."""
        return _Forward(self)

    @property
    def adjoint(self):
        """Return what the gradient amounts to once f converges."""
        return ReversedSeries(self.steps, self.beta)

    def blend(self, old, new):
        """Compute (1 - beta) old + beta new."""
        return (1 - self.beta) * old + self.beta * new

    def unblend(self, blended, new):
        """Compute the old that `blend` was given."""
        return (blended - self.beta * new) / (1 - self.beta)

    @torch.no_grad()
    def forward(self, g, start):
        """Make the n steps without a graph; returns y and z."""
        y = z = start
        for _ in range(self.steps):
            y = self.blend(y, z - g(z))
            z = self.blend(z, y - g(y))
        return y, z

    def backward(self, g, parts, start, y, z, rhs):
        """Walk back from the last y and z, with ∂ℓ/∂z there.

        Parameters
        ----------
        g : callable, Tensor (B, d) -> Tensor (B, d)
        parts : tuple of Tensor
            What g is differentiated in, beside z.
        start, y, z, rhs : Tensor, shape (B, d)

        Returns
        -------
        z : Tensor, shape (B, d)
            The start as it was reconstructed.
        grads : tuple of Tensor
            Derivatives of ℓ in ``parts``.
        """
        tape = _Tape(g, parts)
        in_y, in_z = torch.zeros_like(rhs), rhs
        for _ in range(self.steps - 1):
            z, in_z, in_y = self._undo(tape, z, y, in_z, in_y)
            y, in_y, in_z = self._undo(tape, y, z, in_y, in_z)
        z, in_z, in_y = self._undo(tape, z, y, in_z, in_y)
        # the true start, not the one that was reconstructed: rectified units
        # that are exactly 0 there have another derivative beside it
        tape.end(start, self.beta * in_y)
        return z, tape.grads

    def _undo(self, tape, moved, other, in_moved, in_other):
        """Undo moved ← blend(moved, f(other)), and back-propagate."""
        f, pulled = tape(other, self.beta * in_moved)
        return (
            self.unblend(moved, f), (1 - self.beta) * in_moved,
            in_other + pulled,
        )

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Returns
        -------
        Step
            Without root and q.  ``reconstruction_error`` is the distance
            from the start to the z where the backward pass ends, over ‖z‖.
        """
        g, start = Counted(equation.g), equation.start
        began = clock(start)
        y, z = self.forward(g, start)
        solved = clock(z)
        value, rhs, direct = _outer_loss(equation.loss, z, theta)
        parts = equation.theta_parts or theta
        back, in_parts = self.backward(g, parts, start, y, z, rhs)
        grads = _sum(direct, _on_to_theta(parts, theta, in_parts))
        return Step(
            theta, z, value, equation, grads, n_g=g.n_g, n_vjp=g.n_vjp,
            forward_time=solved - began, backward_time=clock(z) - solved,
            reconstruction_error=float((back - start).norm() / z.norm()),
        )


def _outer_loss(loss, z, theta):
    """Evaluate the outer loss, and differentiate it in z and in theta."""
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(z)
    rhs, *direct = torch.autograd.grad(
        value, (z, *theta), allow_unused=True, materialize_grads=True
    )
    return float(value.detach()), rhs, direct


def _on_to_theta(parts, theta, in_parts):
    """Differentiate the parts of g in theta."""
    if parts is theta:
        return in_parts
    return torch.autograd.grad(
        parts, theta, in_parts, allow_unused=True, materialize_grads=True,
        retain_graph=True,
    )


def _sum(ours, theirs):
    return tuple(a + b for a, b in zip(ours, theirs))


class _Tape:
    """Evaluate f = z - g(z), and add up its derivatives in the parts of g.

    One graph of g exists at a time.
    """

    def __init__(self, g, parts):
        self._g, self._parts = g, parts
        self.grads = tuple(map(torch.zeros_like, parts))

    def __call__(self, z, v):
        """Return f(z) and (∂f/∂z)ᵀ v."""
        z = z.detach().requires_grad_()
        f, (pulled, *in_parts) = self._pull(z, (z, *self._parts), v)
        self.grads = _sum(self.grads, in_parts)
        return f, pulled

    def end(self, z, v):
        """Add up once more, at a z without derivative."""
        _, in_parts = self._pull(z.detach(), self._parts, v)
        self.grads = _sum(self.grads, in_parts)

    def _pull(self, z, inputs, v):
        with torch.enable_grad():
            f = z - self._g(z)
        return f.detach(), torch.autograd.grad(
            f, inputs, v, allow_unused=True, materialize_grads=True
        )


@dataclass(frozen=True)
class _Forward:
    """Give the forward pass the form of a root finder, without inverse."""

    method: Reversible

    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        g = Counted(equation.g)
        _, z = self.method.forward(g, equation.start)
        return Root(
            z, None, None, math.nan, self.method.steps, g.n_g,
            converged=False,
        )


@dataclass(frozen=True)
class ReversedSeries:
    """Back-propagate through reversible steps whose iterates are the root.

    Every evaluation of f is then at the root, and the products of
    `Reversible` with (∂f/∂z)ᵀ = I - Jᵀ are terms of a series for J⁻ᵀ rhs.

    Parameters
    ----------
    steps, beta
        See `Reversible`; two products a step.
    """

    steps: int
    beta: float

    @linear_in_rhs
    def __call__(self, system):
        in_y, in_z = torch.zeros_like(system.rhs), system.rhs
        q = torch.zeros_like(system.rhs)
        for _ in range(self.steps):
            v = self.beta * in_z
            q, in_y = q + v, in_y + v - system.vjp(v)
            in_z = (1 - self.beta) * in_z
            v = self.beta * in_y
            q, in_z = q + v, in_z + v - system.vjp(v)
            in_y = (1 - self.beta) * in_y
        return q
