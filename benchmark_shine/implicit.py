"""Where automatic differentiation meets the implicit function theorem."""
from dataclasses import dataclass

import torch
from torch import Tensor

from .adjoint import AdjointSystem, spectral_norm
from .root import loss_gradient


class TransposedJacobian:
    """v ↦ Jᵀ v with J = dg/dz at z, by reverse mode.

    The graph of g is built at the first product, so a method that asks for
    none pays for none.  ``n_vjp`` counts products, ``n_g`` evaluations of
    g (0 or 1).
    """

    def __init__(self, g, z):
        self._g, self._z = g, z.detach().requires_grad_()
        self._residual = None
        self.n_vjp = self.n_g = 0

    def __call__(self, v):
        if self._residual is None:
            with torch.enable_grad():
                self._residual = self._g(self._z)
            self.n_g = 1
        self.n_vjp += 1
        return torch.autograd.grad(
            self._residual, self._z, v, retain_graph=True
        )[0]


class Counted:
    """g, counting for methods that leave its graph to autograd.

    ``n_g`` are evaluations, ``n_vjp`` products with Jᵀ: how often a
    derivative went through g to a z that itself depends on something.
    """

    def __init__(self, g):
        self._g = g
        self.n_g = self.n_vjp = 0

    def __call__(self, z):
        self.n_g += 1
        residual = self._g(z)
        if z.requires_grad and residual.requires_grad:
            residual.register_hook(self._product)
        return residual

    def _product(self, v):
        self.n_vjp += 1


def norm_of_jacobian(equation, z, n_power):
    """‖J‖ at z by power iterations from dl/dz, for steps along g.

    Parameters
    ----------
    equation : Equation
    z : Tensor, shape (d,)
    n_power : int
        Products; 0 gives 1, and so does dl/dz = 0.

    Returns
    -------
    norm : float
    n_g, n_vjp : int
        Evaluations of g and products with Jᵀ that it took.
    """
    vjp = TransposedJacobian(equation.g, z)
    norm = spectral_norm(vjp, loss_gradient(equation, z), n_power)
    return norm, vjp.n_g, vjp.n_vjp


class _Implicit(torch.autograd.Function):
    """The identity on z whose backward hands -q to the equation."""

    @staticmethod
    def forward(ctx, z, equation_in_theta, solve):
        ctx.solve = solve
        return z.clone()

    @staticmethod
    def backward(ctx, rhs):
        # once_differentiable would miss what q owes to theta
        if torch.is_grad_enabled():
            raise RuntimeError(
                "attach: a root has no second derivative here; leave out "
                "create_graph=True"
            )
        return None, -ctx.solve(rhs), None


def attach(
    g, root, adjoint, g_theta=None, q0=None, tol=1e-6, diagonal=None,
):
    r"""Make a root differentiable in theta, by a method of your choice.

    The result has the value of ``root.z``; its gradient is that of the
    implicit function theorem, -(dg/dtheta)ᵀ q, with q from ``adjoint``,
    which is asked once per backward pass.  In a batch, a system per row, all
    shapes (d,) are (B, d).

    Parameters
    ----------
    g : callable, Tensor (d,) -> Tensor (d,)
        The equation, closing over theta.
    root : Root
        Its ``z`` and ``inverse`` are used.
    adjoint : callable, AdjointSystem -> Tensor (d,)
        One of :mod:`benchmark_shine.adjoint`, or your own.
    g_theta : callable or None
        Something cheaper than g with the same derivative in theta.
    q0 : Tensor, shape (d,), or None
        First guess for q, where there is one.
    tol : float
        Relative residual that iterative adjoints are asked for.
    diagonal : Tensor, shape () or (d,), or None
        A part of J that is known to be diagonal.

    Returns
    -------
    Tensor, shape (d,)
        To be differentiated once.

    Raises
    ------
    RuntimeError
        On a backward pass that is to be differentiated itself.
    ValueError
        On a backward pass, where q is not of the right shape.

    Examples
    --------
    The square root of theta as the root of z² - theta, its derivative by
    SHINE from an inverse that happens to be exact:

    >>> import torch
    >>> from types import SimpleNamespace
    >>> from benchmark_shine.adjoint import Shine
    >>> from benchmark_shine.operators import Dense
    >>> theta = torch.tensor([4.0], requires_grad=True)
    >>> root = SimpleNamespace(
    ...     z=torch.tensor([2.0]), inverse=Dense(torch.tensor([[0.25]])))
    >>> z = attach(lambda z: z ** 2 - theta, root, Shine())
    >>> z.sum().backward()
    >>> theta.grad
    tensor([0.2500])
    """
    z = root.z.detach()

    def solve(rhs):
        vjp = TransposedJacobian(g, z)
        q = adjoint(
            AdjointSystem(vjp, rhs, root.inverse, z, q0, tol, diagonal)
        )
        if q.shape != rhs.shape:
            raise ValueError(
                f"q has shape {tuple(q.shape)}, not {tuple(rhs.shape)}"
            )
        return q

    with torch.enable_grad():
        in_theta = (g if g_theta is None else g_theta)(z)
    return _Implicit.apply(z, in_theta, solve)


@dataclass(frozen=True)
class Hypergradient:
    """The outer loss, its derivative, and how it was come by.

    Parameters
    ----------
    value : float
        Outer loss at the root.
    grads : tuple of Tensor
        dF/dtheta, shaped like theta.
    q : Tensor, shape (d,)
        Solution of the adjoint system.
    n_g, n_vjp : int
        Evaluations of g and products with Jᵀ in the backward pass.
    """

    value: float
    grads: tuple[Tensor, ...]
    q: Tensor
    n_g: int
    n_vjp: int


def hypergradient(equation, theta, root, adjoint, q0=None, tol=1e-6):
    """Differentiate the outer loss at a root.

    Parameters
    ----------
    equation : Equation
    theta : tuple of Tensor
        The leaves that the equation closes over.
    root, adjoint, q0, tol
        As in :func:`attach`.

    Returns
    -------
    Hypergradient
    """
    asked = []

    def recorded(system):
        q = adjoint(system)
        asked.append((q, system.vjp))
        return q

    with torch.enable_grad():
        z = attach(
            equation.g, root, recorded, equation.g_theta, q0, tol,
            equation.diagonal,
        )
        loss = equation.loss(z)
    grads = torch.autograd.grad(loss, theta)
    (q, vjp), = asked
    n_g = vjp.n_g + (equation.g_theta is None)
    return Hypergradient(
        float(loss.detach()), grads, q, n_g, vjp.n_vjp
    )
