"""Where automatic differentiation meets the implicit function theorem."""
from dataclasses import dataclass

import torch
from torch import Tensor

from .adjoint import AdjointSystem, spectral_norm
from .precision import eager, present_autocast, without_autocast
from .root import loss_gradient


class TransposedJacobian:
    """Compute the products v ↦ Jᵀ v, J = ∂g/∂z at z, in reverse mode.

    The graph of g is built at the first product, or where ``residual`` is
    asked for: a method which needs neither pays for none.  ``n_vjp`` counts
    products, ``n_g`` evaluations of g (0 or 1).

    Parameters
    ----------
    g : callable, Tensor (d,) -> Tensor (d,)
    z : Tensor, shape (d,)
    """

    def __init__(self, g, z):
        self._g, self._z = g, z.detach().requires_grad_()
        self._residual = None
        self.n_vjp = self.n_g = 0

    @property
    def residual(self):
        """Give g(z), with its graph."""
        if self._residual is None:
            with torch.enable_grad():
                self._residual = self._g(self._z)
            self.n_g = 1
        return self._residual

    def __call__(self, v):
        self.n_vjp += 1
        return torch.autograd.grad(
            self.residual, self._z, v, retain_graph=True
        )[0]


class ThetaVjp:
    """Compute the products v ↦ (∂g/∂theta)ᵀ v, in reverse mode.

    ``n_vjp`` counts products.

    Parameters
    ----------
    in_theta : Tensor, shape (d,)
        g(z), or anything of the same derivative in theta, with its graph,
        which is kept.
    theta : tuple of Tensor
        Leaves of that graph.
    """

    def __init__(self, in_theta, theta):
        self._in_theta, self._theta = in_theta, theta
        self.n_vjp = 0

    def __call__(self, v):
        self.n_vjp += 1
        return torch.autograd.grad(
            self._in_theta, self._theta, v, retain_graph=True,
            allow_unused=True, materialize_grads=True,
        )


class Counted:
    """Count what a method costs that leaves the graph of g to autograd.

    ``n_g`` counts evaluations, ``n_vjp`` products with Jᵀ: how often a
    derivative went through g to a z that has a graph itself.

    Parameters
    ----------
    g : callable, Tensor (d,) -> Tensor (d,)
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
    """Estimate ‖J‖ at z by power iterations from ∂ℓ/∂z.

    Parameters
    ----------
    equation : Equation
    z : Tensor, shape (d,)
    n_power : int
        Products; 0 gives a norm of 1, and so does ∂ℓ/∂z = 0.

    Returns
    -------
    norm : float
    n_g, n_vjp : int
        Evaluations of g and products with Jᵀ that were made.
    """
    vjp = TransposedJacobian(equation.g, z)
    norm = spectral_norm(vjp, loss_gradient(equation, z), n_power)
    return norm, vjp.n_g, vjp.n_vjp


class _Implicit(torch.autograd.Function):
    """Return z; in the backward pass, give -q to g(z) as its gradient."""

    @staticmethod
    def forward(ctx, z, equation_in_theta, solve):
        ctx.solve = solve
        return z.clone()

    @staticmethod
    @eager
    def backward(ctx, rhs):
        # once_differentiable would miss what q owes to theta
        if torch.is_grad_enabled():
            raise RuntimeError(
                "attach: a root has no second derivative here; leave out "
                "create_graph=True"
            )
        return None, -ctx.solve(rhs), None


def _check_adjoint(q, like):
    """Refuse a q that is not a tensor like rhs without a graph."""
    if q is None:
        raise TypeError(
            "q is None: the adjoint has to end with a line `return q`"
        )
    if not isinstance(q, Tensor):
        raise TypeError(
            f"q is a {type(q).__module__}.{type(q).__qualname__}, not a "
            "torch.Tensor: return torch.as_tensor(q).to(system.rhs)"
        )
    if q.shape != like.shape:
        raise ValueError(
            f"q has shape {tuple(q.shape)}, not {tuple(like.shape)}"
        )
    if q.dtype != like.dtype or q.device != like.device:
        raise ValueError(
            f"q is {q.dtype} on {q.device}, not {like.dtype} on "
            f"{like.device}: return q.to(system.rhs)"
        )
    if q.requires_grad:
        raise ValueError(
            "q has a graph, and would not be differentiated: return "
            "q.detach()"
        )


def _ask(adjoint, system):
    """Ask an adjoint for q; refuse a q, or changes, that would do harm."""
    given = {
        name: tensor for name in ("rhs", "z", "q0")
        if isinstance(tensor := getattr(system, name), Tensor)
    }
    versions = {name: tensor._version for name, tensor in given.items()}
    q = adjoint(system)
    for name, tensor in given.items():
        if tensor._version != versions[name]:
            raise ValueError(
                f"{name}: the adjoint has changed system.{name} in place; "
                f"work on system.{name}.clone()"
            )
    _check_adjoint(q, system.rhs)
    return q


@eager
def attach(
    g, root, adjoint, g_theta=None, q0=None, tol=1e-6, diagonal=None,
    theta=None,
):
    r"""Make a root differentiable in theta, by an adjoint method.

    The result has the value of ``root.z``; its gradient is that of the
    implicit function theorem, -(∂g/∂theta)ᵀ q, with q from ``adjoint``,
    which is asked once per backward pass.  In a batch, one system per row, all
    shapes (d,) are (B, d).

    Under ``torch.autocast`` g is evaluated as it would be at the call of
    attach, and all else in the dtype of z.  ``torch.compile`` leaves attach
    out.

    Parameters
    ----------
    g : callable, Tensor (d,) -> Tensor (d,)
        The equation, closing over theta.
    root : Root
        Its ``z`` and ``inverse`` are used.
    adjoint : callable, AdjointSystem -> Tensor (d,)
        One of :mod:`benchmark_shine.adjoint`, or your own.
    g_theta : callable or None
        A function cheaper than g with the same derivative in theta.
    q0 : Tensor, shape (d,), or None
        Initial guess for q, where there is one.
    tol : float
        Relative residual tolerance that iterative adjoints are asked for.
    diagonal : Tensor, shape () or (d,), or None
        A part of J that is known to be diagonal.
    theta : tuple of Tensor, or None
        The leaves over which g closes, for adjoints that ask for
        ``system.g_theta_vjp``.

    Returns
    -------
    Tensor, shape (d,)
        To be differentiated once.

    Raises
    ------
    RuntimeError
        On a backward pass that is to be differentiated itself, or that needs
        the inverse of a root whose memory another solve has taken.
    TypeError
        On a backward pass, where q is not a tensor.
    ValueError
        On a backward pass, where q has another shape, dtype or device than
        rhs, or a graph; or where the adjoint has changed rhs, z or q0.

    Examples
    --------
    The square root of theta is the root of z² - theta; SHINE differentiates
    it with an inverse that happens to be exact:

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
    wrap = present_autocast(z)
    g, g_theta = wrap(g), wrap(g_theta)

    with torch.enable_grad():
        in_theta = (g if g_theta is None else g_theta)(z)
    in_theta_vjp = None if theta is None else ThetaVjp(in_theta, theta)

    def solve(rhs):
        with without_autocast(z):
            vjp = TransposedJacobian(g, z)
            return _ask(adjoint, AdjointSystem(
                vjp, rhs, root.inverse, z, q0, tol, diagonal, in_theta_vjp
            ))

    return _Implicit.apply(z, in_theta, solve)


@dataclass(frozen=True)
class Hypergradient:
    """Hold the outer loss, its derivative, and the cost of the latter.

    Parameters
    ----------
    value : float
        Outer loss at the root.
    grads : tuple of Tensor
        dF/dtheta, in the shapes of theta.
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


@eager
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
        asked.append((q, system))
        return q

    with torch.enable_grad():
        z = attach(
            equation.g, root, recorded, equation.g_theta, q0, tol,
            equation.diagonal, theta,
        )
        loss = equation.loss(z)
    grads = torch.autograd.grad(loss, theta)
    (q, system), = asked
    n_g, n_vjp = system.vjp.n_g, system.vjp.n_vjp
    if equation.g_theta is None:  # g itself is differentiated in theta
        n_g, n_vjp = n_g + 1, n_vjp + system.g_theta_vjp.n_vjp
    return Hypergradient(float(loss.detach()), grads, q, n_g, n_vjp)
