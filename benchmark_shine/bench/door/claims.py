"""Compare what an equation claims with something else: differences, rows.

Each of the functions in CLAIMS takes a `Point` and returns a relative error,
or None where the equation claims no such thing.
"""
from dataclasses import dataclass

import torch
from torch import Tensor

from ...equation import Equation


@dataclass(frozen=True)
class Point:
    """An equation where it is checked.

    Parameters
    ----------
    equation : Equation
    theta : tuple of Tensor
        The leaves that the equation closes over.
    z : Tensor, shape (d,) or (B, d)
        Near the equation's start, but not at it.
    generator : torch.Generator
        Of the directions of finite differences.
    """

    equation: Equation
    theta: tuple[Tensor, ...]
    z: Tensor
    generator: torch.Generator

    def direction(self, like):
        """Draw a normal tensor of the shape, dtype and device of another."""
        drawn = torch.randn(like.shape, generator=self.generator)
        return drawn.to(like)

    @property
    def tolerance(self):
        """Relative error that rounding explains, with a margin."""
        return 1e-5 if self.z.dtype == torch.float64 else 5e-2

    def steps(self, u):
        """Points at both ends of a step along u, and its length."""
        eps = torch.finfo(self.z.dtype).eps
        h = eps ** (1 / 3) * max(1.0, float(self.z.norm() / u.norm()))
        return self.z + h * u, self.z - h * u, 2 * h


def jacobian(p):
    """Compare products with Jᵀ by reverse mode with differences of g."""
    u, v = p.direction(p.z), p.direction(p.z)
    with torch.no_grad():
        ahead, behind, length = p.steps(u)
        slope = (p.equation.g(ahead) - p.equation.g(behind)) / length
    product = vjp(p.equation.g, p.z, v)
    return _error((product * u).sum(), (slope * v).sum(),
                  slope.norm() * v.norm())


def symmetry(p):
    """Compare J with Jᵀ, where g is the gradient of an energy."""
    if p.equation.energy is None:
        return None
    u, v = p.direction(p.z), p.direction(p.z)
    left = (vjp(p.equation.g, p.z, v) * u).sum()
    right = vjp(p.equation.g, p.z, u)
    return _error(left, (right * v).sum(), right.norm() * v.norm())


def loss_slope(p):
    """Compare dl/dz by reverse mode with differences of the loss."""
    u = p.direction(p.z)
    with torch.no_grad():
        ahead, behind, length = p.steps(u)
        slope = (p.equation.loss(ahead) - p.equation.loss(behind)) / length
    gradient = _gradient(p.equation.loss, p.z)
    return _error((gradient * u).sum(), slope, gradient.norm() * u.norm())


def energy_slope(p):
    """Compare g with differences of the energy whose gradient it is."""
    if p.equation.energy is None:
        return None
    u = p.direction(p.z)
    ahead, behind, length = p.steps(u)
    slope = (p.equation.energy(ahead)[0] - p.equation.energy(behind)[0]) / (
        length)
    g = p.equation.g(p.z).detach()
    return _error((g * u).sum(), torch.as_tensor(slope), g.norm() * u.norm())


def energy_gradient(p):
    """Compare the gradient that comes with the energy with g."""
    if p.equation.energy is None:
        return None
    _, gradient = p.equation.energy(p.z)
    return distance(gradient, p.equation.g(p.z).detach())


def theta_slope(p):
    """Compare products with (dg/dtheta)ᵀ with differences of g in theta.

    Those of ``g_theta`` where there is one: the hypergradient takes them.
    """
    if p.equation.g_theta is None:
        return None
    v = p.direction(p.z)
    ours, exact = (
        torch.cat([t.flatten() for t in in_theta((g(p.z) * v).sum(), p)])
        for g in (p.equation.g_theta, p.equation.g)
    )
    return distance(ours, exact)


def in_theta(number, p):
    """Differentiate a number in theta; zero where it does not occur."""
    if not number.requires_grad:
        return [torch.zeros_like(t) for t in p.theta]
    return torch.autograd.grad(
        number, p.theta, allow_unused=True, materialize_grads=True
    )


def rows(p):
    """Compare the equation of some samples with their rows of g."""
    if p.equation.restrict is None:
        return None
    indices = torch.arange(len(p.z) - 1, -1, -2)
    part = p.equation.restrict(indices)(p.z[indices])
    return distance(part.detach(), p.equation.g(p.z).detach()[indices])


def vjp(g, z, v):
    """Multiply v by Jᵀ of g at z."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(g(z), z, v)[0]


def _gradient(loss, z):
    z = z.detach().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


def _error(found, exact, scale):
    return float((found - exact).abs() / scale.clamp(min=1e-300))


def distance(found, exact):
    """Return the relative distance of two tensors."""
    if found.shape != exact.shape:
        return float("inf")
    return float((found - exact).norm() / exact.norm().clamp(min=1e-300))


# What is compared -> how, the function at fault where they differ, the remedy.
CLAIMS = {
    "Jᵀ of g against differences of g": (
        jacobian, "g", "its derivative in z is not that of its values; leave "
        "out detach, no_grad and rounding",
    ),
    "dl/dz against differences of the loss": (
        loss_slope, "loss", "its derivative in z is not that of its values; "
        "leave out detach, no_grad and rounding",
    ),
    "g against differences of the energy": (
        energy_slope, "energy", "g is not its gradient; look for a sign, a "
        "factor or a term that only one of them has",
    ),
    "the energy's gradient against g": (
        energy_gradient, "energy", "the gradient that it returns is not g; "
        "return (energy, g)",
    ),
    "J against Jᵀ": (
        symmetry, "g", "with an energy its Jacobian must be symmetric; g must "
        "be the energy's gradient",
    ),
    "g_theta against g": (
        theta_slope, "g_theta", "its derivative in theta is not that of g; "
        "write the same term in both, or leave g_theta out",
    ),
    "restrict against rows of g": (
        rows, "restrict", "is not g of those samples alone; take the rows of "
        "everything that has one per sample",
    ),
}
