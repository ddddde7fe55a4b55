"""A network's parts as functions of z, with theta and the data filled in."""
from copy import copy
from functools import partial

import torch
from torch.autograd.function import once_differentiable


class _Known(torch.autograd.Function):
    """Known values of compute(*theta), and their derivative in theta.

    The injection and the normalised weights do not depend on z.  An equation
    computes them once: an iteration of the root finder, or a product with
    Jᵀ, costs f alone, and the first derivative in theta uses the graph of
    the values.  That graph is freed then, and each further derivative
    computes the values anew.
    """

    @staticmethod
    def forward(ctx, compute, values, leaves, *theta):
        ctx.compute, ctx.values, ctx.leaves = compute, values, leaves
        return tuple(value.detach() for value in values)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        values, ctx.values = ctx.values, None
        if values is None:
            with torch.enable_grad():
                values = ctx.compute(*ctx.leaves)
        found = torch.autograd.grad(
            values, ctx.leaves, grads, allow_unused=True
        )
        return None, None, None, *found


def known(compute, theta):
    """Compute a tuple of tensors from theta, as `_Known` keeps them."""
    leaves = tuple(t.detach().requires_grad_() for t in theta)
    with torch.enable_grad():
        return _Known.apply(compute, compute(*leaves), leaves, *theta)


def part(name, tensors):
    """Select one part's tensors, under their names within that part."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items() if key.startswith(prefix)
    }


def filled(module, tensors):
    """Copy a module, whose parameters and buffers are these tensors.

    One copy serves many calls, whereas `torch.func.functional_call` exchanges
    the tensors at each call: for a small network, a third of the time that
    the host takes to evaluate f.

    Parameters
    ----------
    module : nn.Module
    tensors : dict of name and Tensor
        One for each parameter and buffer.

    Returns
    -------
    nn.Module

    Raises
    ------
    KeyError
        Where a tensor is missing.
    """
    full = copy(module)
    full._parameters, full._buffers = (
        {name: t if t is None else tensors[name] for name, t in own.items()}
        for own in (module._parameters, module._buffers)
    )
    full._modules = {
        name: filled(child, part(name, tensors))
        for name, child in module._modules.items()
    }
    return full


def _prepare(stem, buffers, effective, names, cell_names, x, *values):
    """Compute what f needs beside z: injection and effective weights."""
    theta = dict(zip(names, values))
    injection = filled(stem, part("stem", theta) | buffers)(x)
    weights = effective(part("cell", theta))
    return injection, *(weights[name] for name in cell_names)


class BoundNetwork:
    """The maps of one network, bound to theta and to one batch.

    Parameters
    ----------
    shell : nn.Module
        With parts stem, cell and head; its own tensors are not used.
    effective : callable, dict of Tensor -> dict of Tensor
        Computes the cell's weights from those in theta.
    theta, head, buffers : dict of name and Tensor
        All of theta; the head's weights, under their names in the head.
    x : Tensor, shape (B, ...)
        Input of the stem.
    mask : Tensor, shape (B, ...), or None
        Dropout mask of the cell.

    Attributes
    ----------
    prepared : tuple of Tensor
        The injection and the effective weights, with a graph: all that f has
        of theta.
    """

    def __init__(self, shell, effective, theta, head, buffers, x, mask):
        self._shell, self._buffers, self._mask = shell, buffers, mask
        self._theta = {
            name: t for name, t in theta.items()
            if not name.startswith("head.")
        }
        self._cell_names = [name for name, _ in shell.cell.named_parameters()]
        # This function must not refer to self: the graph refers to the
        # function and self to the graph, and a cycle through autograd is
        # never freed.
        self._prepare = partial(
            _prepare, shell.stem, part("stem", buffers), effective,
            tuple(self._theta), self._cell_names, x,
        )
        self.prepared = known(self._prepare, tuple(self._theta.values()))
        self._cell = self._filled_cell(self.prepared)
        self._head = filled(shell.head, head | part("head", buffers))

    def _filled_cell(self, prepared):
        weights = dict(zip(self._cell_names, prepared[1:]))
        return filled(self._shell.cell, weights | part("cell", self._buffers))

    def _f(self, z, cell, injection, mask):
        return cell(z, injection, mask)

    def f(self, z):
        """Evaluate the map whose fixed point is sought, (B, d) -> (B, d)."""
        return self._f(z, self._cell, self.prepared[0], self._mask)

    def g(self, z):
        """Evaluate z - f(z)."""
        return z - self.f(z)

    def restrict(self, indices):
        """Return g of these n samples alone, a function (n, d) -> (n, d).

        Root finders use this function once the other samples are solved.
        """
        injection, mask = self.prepared[0][indices], self._mask
        if mask is not None:
            mask = mask[indices]
        return lambda z: z - self._f(z, self._cell, injection, mask)

    def unrolled(self, start, n_layers):
        """Compute out = f(f(… f(start))), n_layers times f, with a graph.

        In the equation z - out = 0, J is the identity: the root takes one
        step, every method finds q = dl/dz, and the hypergradient is
        back-propagation through the layers.

        Returns
        -------
        Tensor, shape (B, d)
        """
        def compute(*values):
            z, prepared = start, self._prepare(*values)
            cell = self._filled_cell(prepared)
            for _ in range(n_layers):
                z = self._f(z, cell, prepared[0], self._mask)
            return z,

        # One node serves every evaluation of g: a method that differentiates
        # k evaluations goes back through the layers once.
        out, = known(compute, tuple(self._theta.values()))
        return out

    def zeros(self, *shape):
        """Return zeros of the dtype and on the device of theta."""
        return next(iter(self._theta.values())).new_zeros(shape)

    def head(self, z, *more):
        """Evaluate the head; of a classifier, class scores (B, n_classes)."""
        return self._head(z, *more)


def norms(v):
    """Compute the norm of v[i] for each i, in a shape that divides v."""
    return v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1))


def rescaled(v, gain):
    """Normalise weights: gain v / ‖v‖ for each output; no gain: v itself.

    Salimans and Kingma, *Weight normalization*, NeurIPS 2016, equation 2.
    """
    return v if gain is None else v * (gain / norms(v))
