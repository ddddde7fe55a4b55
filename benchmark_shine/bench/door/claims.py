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
    """An equation where it is checked."""

    equation: Equation
    theta: tuple[Tensor, ...]  # the leaves that the equation closes over
    z: Tensor  # near the equation's start, but not at it
    generator: torch.Generator  # of the directions of differences

    def direction(self):
        """Draw a normal tensor like z."""
        return torch.randn(self.z.shape, generator=self.generator).to(self.z)

    @property
    def tolerance(self):
        """Relative error that rounding explains, with a margin."""
        return 1e-5 if self.z.dtype == torch.float64 else 5e-2

    def slope(self, function, u):
        """Differentiate a function of z along u by central differences."""
        eps = torch.finfo(self.z.dtype).eps
        h = eps ** (1 / 3) * max(1.0, float(self.z.norm() / u.norm()))
        ahead, behind = function(self.z + h * u), function(self.z - h * u)
        return torch.as_tensor((ahead - behind) / (2 * h)).detach()


def jacobian(p):
    """Compare products with Jᵀ by reverse mode with differences of g."""
    u, v = p.direction(), p.direction()
    slope = p.slope(p.equation.g, u)
    product = vjp(p.equation.g, p.z, v)
    return _error((product * u).sum(), (slope * v).sum(),
                  slope.norm() * v.norm())


def loss_slope(p):
    """Compare dl/dz by reverse mode with differences of the loss."""
    u, loss = p.direction(), p.equation.loss
    gradient = vjp(loss, p.z, None)
    return _error((gradient * u).sum(), p.slope(loss, u),
                  gradient.norm() * u.norm())


def energy_slope(p):
    """Compare g with differences of the energy whose gradient it is."""
    if p.equation.energy is None:
        return None
    u, g = p.direction(), p.equation.g(p.z).detach()
    slope = p.slope(lambda z: p.equation.energy(z)[0], u)
    return _error((g * u).sum(), slope, g.norm() * u.norm())


def energy_gradient(p):
    """Compare the gradient that comes with the energy with g."""
    if p.equation.energy is None:
        return None
    _, gradient = p.equation.energy(p.z)
    return distance(gradient, p.equation.g(p.z).detach())


def theta_slope(p):
    """Compare products with (dg/dtheta)ᵀ of g_theta with those of g."""
    if p.equation.g_theta is None:
        return None
    v = p.direction()
    ours, exact = (
        torch.cat([t.flatten() for t in in_theta((g(p.z) * v).sum(), p)])
        for g in (p.equation.g_theta, p.equation.g)
    )
    return distance(ours, exact)


def parts_slope(p):
    """Compare (dg/dtheta)ᵀ v by way of theta_parts with that of g."""
    parts = p.equation.theta_parts
    if parts is None:
        return None
    number = (p.equation.g(p.z) * p.direction()).sum()
    in_parts = torch.autograd.grad(
        number, parts, retain_graph=True, allow_unused=True,
        materialize_grads=True,
    )
    through = sum((a * b).sum() for a, b in zip(parts, in_parts))
    ours, exact = (
        torch.cat([t.flatten() for t in in_theta(total, p)])
        for total in (through, number)
    )
    return distance(ours, exact)


def energy_theta_slope(p):
    """Compare differences of energy_theta, in theta, with those of g."""
    function = p.equation.energy_theta
    if function is None:
        return None
    u, eps = p.direction(), torch.finfo(p.z.dtype).eps
    h = eps ** (1 / 3) * max(1.0, float(p.z.norm() / u.norm()))
    found = function(p.z + h * u) - function(p.z - h * u)
    ours, exact = (
        torch.cat([t.flatten() for t in in_theta(number, p)])
        for number in (found / (2 * h), (p.equation.g(p.z) * u).sum())
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
    "g_theta against g": (
        theta_slope, "g_theta", "its derivative in theta is not that of g; "
        "write the same term in both, or leave g_theta out",
    ),
    "theta_parts against g": (
        parts_slope, "theta_parts", "g depends on theta in other ways too; "
        "name every tensor by which it does, or leave theta_parts out",
    ),
    "energy_theta against g": (
        energy_theta_slope, "energy_theta", "its derivative in theta is not "
        "that of the energy; look for a sign, a factor or a term",
    ),
    "restrict against rows of g": (
        rows, "restrict", "is not g of those samples alone; take the rows of "
        "everything that has one per sample",
    ),
}
