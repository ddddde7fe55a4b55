"""Hypergradients from minimisers of penalised energies, without products."""
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.autograd import grad

from ..checks import check_choice, check_number
from ..engine import Step, clock
from ..root import Root

# The shifts of the two energies, in units of nu.
SHIFTS = {1: (0.0, 1.0), 2: (-1.0, 1.0)}


@dataclass(frozen=True)
class PenaltyStep(Step):
    """Hold the roots of the penalised equations beside a `Step`.

    Parameters
    ----------
    roots : tuple of Root
        From which the next solves start, one for each shift.
    """

    roots: tuple[Root, ...] = ()


@dataclass(frozen=True)
class F2sa:
    """Differentiate the value of the penalised inner problem by differences.

    Let v(s, theta) = min over z of phi + s l, with phi the energy of g, and
    y(s) where this minimum is attained.  Then dF/dtheta is the derivative of
    dv/dtheta in s at s = 0, and dv/dtheta is the derivative of phi + s l in
    theta alone, at y(s):

        dF/dtheta ≈ (dphi/dtheta(y(b)) - dphi/dtheta(y(a))) / (b - a)
                    + dl/dtheta

    with (a, b) = (0, nu) or (-nu, nu).  The former is F2SA with the penalty
    weight 1 / nu (Kwon, Kwon, Wright and Nowak, *A fully first-order method
    for stochastic bilevel optimization*, ICML 2023, algorithm 1), whose error
    is of order nu; the latter is F2SA-2 (arXiv 2509.02937), of order nu².
    The papers move y, z and theta by gradient steps; here both minimisers
    are found by the suite's root finder, to a tolerance, each from its last
    root and with its own pairs: a solve for y(nu) that starts at y(0) may end
    there at once, and the difference is then zero.

    An outer step for `benchmark_shine.engine.Method`.  With order 2 no solve
    is made at s = 0: z is the mean of y(-nu) and y(nu), whose error is of
    order nu² too, and takes one evaluation for its residual.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, warm_start) -> Root
    order : {1, 2}
    nu : float
        Factor of the difference step nu_k, see Notes.
    tightness : float
        t in [0, 1], see Notes.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or an equation has no
        ``energy_theta``.

    Notes
    -----
    An inner error e_k shifts the difference quotient by about e_k / nu_k, and
    the quotient itself has an error of nu_kᵖ, p the order.  The solves of
    outer step k have the tolerance e_k = eps_k nu_kᵗ, where eps_k is that of
    all methods.  Both errors then shrink alike with

        nu_k = nu eps_k^(1 / (p + 1 - t)).

    t = 0 keeps the tolerance of all methods: the hypergradient's error is of
    order eps_k^(p / (p + 1)).  t = 1 pays for tighter solves, and has an
    error of order eps_k, as implicit differentiation has.  As eps_k falls
    geometrically, 1 / nu_k is a penalty weight that grows geometrically.

    Each evaluation in a penalised solve takes a gradient of l beside g, and
    other methods take one gradient of l per outer step.  It is counted as an
    evaluation of g, though it costs half of one where the validation part is
    half as large as the training part.
    """

    find_root: Callable
    order: int = 1
    nu: float = 0.1
    tightness: float = 1.0

    def __post_init__(self):
        check_choice("order", self.order, SHIFTS)
        check_number("nu", self.nu, above=0)
        check_number("tightness", self.tightness, least=0, most=1)

    def __call__(self, equation, theta, state, last):
        """Make one outer step; see `benchmark_shine.engine.Method`.

        Returns
        -------
        PenaltyStep
            Its q is the difference quotient of y, about J⁻¹ dl/dz.
        """
        check_energy_theta(equation)
        began = clock(equation.start)
        nu = self.nu * state.eps ** (1 / (self.order + 1 - self.tightness))
        shifts = [nu * shift for shift in SHIFTS[self.order]]
        before = getattr(last, "roots", (None, None))
        roots = tuple(
            self._solve(equation, shift, state, nu, root)
            for shift, root in zip(shifts, before)
        )
        solved = clock(equation.start)
        below, above = (root.z for root in roots)
        width = shifts[1] - shifts[0]
        root, n_g = self._unpenalised(equation, roots)
        z = root.z
        q = (below - above) / width
        value, grads = difference_in_theta(
            equation, theta, z, below, above, 1 / width
        )
        # where dg/dtheta is not free, the energies' derivatives are not
        n_g += 0 if equation.g_theta else len(roots)
        n_g += sum(
            found.n_g * (1 if shift == 0 else 2)
            for shift, found in zip(shifts, roots)
        )
        return PenaltyStep(
            theta, z, value, equation, grads, q, root,
            n_g=n_g, n_vjp=sum(found.n_vjp for found in roots),
            forward_time=solved - began, backward_time=clock(z) - solved,
            roots=roots,
        )

    def _unpenalised(self, equation, roots):
        """Return the root for s = 0, and the evaluations that it takes."""
        if self.order == 1:
            return roots[0], 0
        z = (roots[0].z + roots[1].z) / 2
        residual = float(equation.energy(z)[1].norm())
        return replace(roots[0], z=z, residual=residual), 1

    def _solve(self, equation, shift, state, nu, last):
        factor = nu ** self.tightness
        start = equation.start if last is None else last.z
        return self.find_root(
            penalised(equation, shift, start), factor * state.atol,
            factor * state.rtol, last,
        )


def penalised(equation, shift, start):
    """Return the equation whose energy is phi + shift l.

    Parameters
    ----------
    equation : Equation
        With an energy, phi.
    shift : float
        0 changes nothing but the start.
    start : Tensor, shape (d,)

    Returns
    -------
    Equation
    """
    def unpenalised(z):
        return equation.energy(z)

    if shift == 0:
        # nothing along lines: the roots are subtracted, and rounding that is
        # alike on both sides cancels
        return replace(equation, energy=unpenalised, start=start)

    def energy(z):
        value, gradient = equation.energy(z)
        loss, slope = loss_and_gradient(equation, z)
        return value + shift * loss, gradient + shift * slope

    def g(z):
        return equation.g(z) + shift * loss_and_gradient(equation, z)[1]

    return replace(equation, g=g, energy=energy, start=start)


def loss_and_gradient(equation, z):
    """Evaluate the outer loss, a float, and its gradient in z, (d,)."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        loss = equation.loss(leaf)
    slope, = grad(loss, leaf)
    return float(loss.detach()), slope


def difference_in_theta(equation, theta, z, below, above, weight):
    """Differentiate l(z) + weight (phi(above) - phi(below)) in theta alone.

    Parameters
    ----------
    equation : Equation
        With ``energy_theta``.
    theta : tuple of Tensor
        Leaves.
    z, below, above : Tensor, shape (d,)
    weight : float

    Returns
    -------
    value : float
        l(z).
    grads : tuple of Tensor
        Like theta.
    """
    with torch.enable_grad():
        loss, phi = equation.loss(z), equation.energy_theta
        total = loss + weight * (phi(above) - phi(below))
    return float(loss.detach()), grad(
        total, theta, allow_unused=True, materialize_grads=True
    )


def check_energy_theta(equation):
    """Refuse an equation that cannot be differentiated as its energy.

    Raises
    ------
    ValueError
        Where the equation has no energy or no ``energy_theta``.
    """
    if equation.energy is None or equation.energy_theta is None:
        raise ValueError(
            "energy_theta: penalty methods need the derivative of the energy "
            "in theta; give the Equation energy and energy_theta"
        )
