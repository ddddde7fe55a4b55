"""First-order bi-level optimisation with a dynamic barrier."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import grad

from ..checks import check_integer, check_number
from ..engine import Step, clock, leaves, start
from ..implicit import norm_of_jacobian
from .penalty import check_energy_theta


@dataclass(frozen=True)
class Bome:
    """Move z and theta along a loss slope that a barrier corrects.

    Liu, Ye, Wright, Stone and Liu, *BOME! Bilevel optimization made easy: a
    simple first-order approach*, NeurIPS 2022, algorithm 1.  A move makes
    ``n_inner`` gradient steps on the energy phi, from z to z', and takes

        p(z, theta) = phi(z, theta) - phi(z', theta),  z' held fixed,
        lambda = max(eta - <∇l, ∇p> / ‖∇p‖², 0),
        (z, theta) ← (z, theta) - step (∇l + lambda ∇p),

    where the gradients are in z and theta together.

    An instance is the ``steps`` of a `benchmark_shine.engine.Loop`.

    Parameters
    ----------
    find_root : callable, Equation -> Root
        Used once, with the tolerance of the first outer step, so that z
        starts where the first solve of all other methods ends.
    n_outer : int
        Points of the curve after the start.
    n_iter : int
        Moves per point of the curve.  A move takes ``n_inner`` evaluations of
        g, which are counted, and one gradient of the outer loss, which is
        not: other methods take one per move of theta too.
    n_inner : int
        Gradient steps from z to z'; the paper's 10.
    eta : float
        Factor of the barrier; the paper's 0.5.
    ratio : float
        Step of z over that of theta.
    n_power : int
        Power iterations for ‖J‖; 0 takes ‖J‖ = 1.
    box : float
        theta stays in [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range, or an equation has no
        ``energy_theta``.

    Notes
    -----
    The paper tunes its steps.  Here those of z are 1 / ‖J‖, with ‖J‖ by power
    iterations at each point of the curve or, where that is larger, by the
    change of g along a step since.
    """

    find_root: Callable
    n_outer: int
    n_iter: int = 10
    n_inner: int = 10
    eta: float = 0.5
    ratio: float = 0.1
    n_power: int = 5
    box: float = 12.0

    def __post_init__(self):
        check_integer("n_iter", self.n_iter, least=1)
        check_integer("n_inner", self.n_inner, least=1)
        check_integer("n_power", self.n_power, least=0)
        check_number("eta", self.eta, above=0)
        check_number("ratio", self.ratio, above=0)

    def __call__(self, problem):
        """Yield the start, then one `engine.Step` per ``n_iter`` moves.

        The gradient of a step is its direction in theta.

        Parameters
        ----------
        problem
            As in :meth:`benchmark_shine.engine.Method.run`.
        """
        first = start(problem, *problem.start())
        check_energy_theta(first.equation)
        yield first
        theta, began = first.theta, clock(first.z)
        root = self.find_root(problem.draw(theta, first.z, 1))
        z, n_g, n_vjp, n_cheap = root.z, root.n_g, root.n_vjp, root.n_cheap
        forward_time = clock(z) - began
        for k in range(1, self.n_outer + 1):
            began = clock(z)
            equation = problem.draw(theta, z, k)
            norm, more_g, more_vjp = norm_of_jacobian(
                equation, z, self.n_power
            )
            slopes = self._slopes(equation, theta, norm)
            for _ in range(self.n_iter):
                theta, z = self._move(theta, z, slopes)
                equation = problem.draw(theta, z, k)
                slopes = self._slopes(equation, theta, slopes.norm)
            n_g += more_g + (self.n_iter + 1) * self.n_inner
            yield Step(
                theta, z, slopes.value, equation, slopes.theta, n_g=n_g,
                n_vjp=n_vjp + more_vjp, forward_time=forward_time,
                backward_time=clock(z) - began, n_cheap=n_cheap,
            )
            n_g, n_vjp, forward_time, n_cheap = 0, 0, 0.0, 0

    def _move(self, theta, z, slopes):
        moved = (
            t.detach() - slope / (self.ratio * slopes.norm)
            for t, slope in zip(theta, slopes.theta)
        )
        theta = leaves(t.clamp(-self.box, self.box) for t in moved)
        return theta, z - slopes.z / slopes.norm

    def _slopes(self, equation, theta, norm):
        """Compute ∇l + lambda ∇p at the start of an equation."""
        z = after = equation.start
        p_z = g = equation.energy(z)[1]
        for _ in range(self.n_inner - 1):
            before, last = after, g
            after = before - last / norm
            _, g = equation.energy(after)
            norm = max(norm, _ratio(g - last, after - before))
        after = after - g / norm
        with torch.enable_grad():
            leaf, phi = z.detach().requires_grad_(), equation.energy_theta
            loss, p = equation.loss(leaf), phi(z) - phi(after)
        of_l = _gradients(loss, (leaf, *theta))
        of_p = p_z, *_gradients(p, theta)
        weight = self._barrier(of_l, of_p)
        in_z, *in_theta = (a + weight * b for a, b in zip(of_l, of_p))
        return _Slopes(float(loss.detach()), in_z, tuple(in_theta), norm)

    def _barrier(self, of_l, of_p):
        """Compute lambda from the gradients of l and of p."""
        square = sum(float(b.square().sum()) for b in of_p)
        product = sum(float((a * b).sum()) for a, b in zip(of_l, of_p))
        return max(self.eta - product / square, 0.0) if square else 0.0


class _Slopes(NamedTuple):
    """The outer loss, the direction of a move, and ‖J‖ as known by then."""

    value: float
    z: Tensor
    theta: tuple[Tensor, ...]
    norm: float


def _ratio(y, s):
    """Return ‖y‖ / ‖s‖, or 0 where s is 0."""
    length = float(s.norm())
    return float(y.norm()) / length if length else 0.0


def _gradients(number, leaves):
    return grad(number, leaves, allow_unused=True, materialize_grads=True)
