"""A network's parts as functions of z, with theta and the data filled in."""
from functools import partial

import torch
from torch.autograd.function import once_differentiable
from torch.func import functional_call


class _Deferred(torch.autograd.Function):
    """Known values of compute(*theta), differentiated only on demand.

    The injection and the normalised weights do not depend on z.  An equation
    computes them once, and once more for each derivative in theta, whatever
    the number of evaluations of f: an iteration of the root finder, or a
    product with Jᵀ, then costs f alone.
    """

    @staticmethod
    def forward(ctx, compute, values, *theta):
        ctx.compute = compute
        # not save_for_backward: an equation may be differentiated repeatedly
        ctx.theta = theta
        return tuple(value.detach() for value in values)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        theta = tuple(t.detach().requires_grad_() for t in ctx.theta)
        with torch.enable_grad():
            values = ctx.compute(*theta)
        found = torch.autograd.grad(values, theta, grads, allow_unused=True)
        return None, None, *found


def part(name, tensors):
    """Select one part's tensors, under their names within that part."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items() if key.startswith(prefix)
    }


def _call(shell, buffers, name, weights, *inputs):
    """Evaluate one part of a network with these weights and buffers."""
    tensors = weights | part(name, buffers)
    return functional_call(getattr(shell, name), tensors, inputs, strict=True)


def _prepare(call, effective, names, cell_names, x, *values):
    """Compute what f needs beside z: injection and effective weights."""
    theta = dict(zip(names, values))
    injection = call("stem", part("stem", theta), x)
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
        self._mask, self._head = mask, head
        self._theta = {
            name: t for name, t in theta.items()
            if not name.startswith("head.")
        }
        self._cell_names = [name for name, _ in shell.cell.named_parameters()]
        self._call = partial(_call, shell, buffers)
        # This function must not refer to self: the graph refers to the
        # function and self to the graph, and a cycle through autograd is
        # never freed.
        self._prepare = partial(
            _prepare, self._call, effective, tuple(self._theta),
            self._cell_names, x,
        )
        theta = tuple(self._theta.values())
        with torch.no_grad():
            self._known = self._prepare(*theta)
        with torch.enable_grad():
            self.prepared = _Deferred.apply(
                self._prepare, self._known, *theta
            )

    def _f(self, z, mask, injection, *weights):
        weights = dict(zip(self._cell_names, weights))
        return self._call("cell", weights, z, injection, mask)

    def f(self, z):
        """Evaluate the map whose fixed point is sought, (B, d) -> (B, d)."""
        return self._f(z, self._mask, *self.prepared)

    def g(self, z):
        """Evaluate z - f(z)."""
        return z - self.f(z)

    def restrict(self, indices):
        """Return g of these n samples alone, a function (n, d) -> (n, d).

        Root finders use this function once the other samples are solved.  It
        has no derivative in theta.
        """
        injection, *weights = self._known
        injection = injection[indices]
        mask = None if self._mask is None else self._mask[indices]
        return lambda z: z - self._f(z, mask, injection, *weights)

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
            for _ in range(n_layers):
                z = self._f(z, self._mask, *prepared)
            return z,

        theta = tuple(self._theta.values())
        with torch.no_grad():
            known = compute(*theta)
        # One node serves every evaluation of g: a method that differentiates
        # k evaluations goes back through the layers once.
        with torch.enable_grad():
            out, = _Deferred.apply(compute, known, *theta)
        return out

    def zeros(self, *shape):
        """Return zeros of the dtype and on the device of theta."""
        return next(iter(self._theta.values())).new_zeros(shape)

    def head(self, z, *more):
        """Evaluate the head; of a classifier, class scores (B, n_classes)."""
        return self._call("head", self._head, z, *more)


def norms(v):
    """Compute the norm of v[i] for each i, in a shape that divides v."""
    return v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1))


def rescaled(v, gain):
    """Normalise weights: gain v / ‖v‖ for each output; no gain: v itself.

    Salimans and Kingma, *Weight normalization*, NeurIPS 2016, equation 2.
    """
    return v if gain is None else v * (gain / norms(v))
