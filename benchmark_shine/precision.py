"""What keeps the digits of a solve: scale, autocast and torch.compile."""
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import wraps

import torch


def finite_rows(v):
    """Say which rows of (…, d) hold finite numbers only: shape (…, 1)."""
    return v.isfinite().all(dim=-1, keepdim=True)


def scale_of(v):
    """Find the power of two just below the largest entry of each row.

    To divide by it and to multiply by it is exact, so that a computation
    that is linear in v gives the same digits at every scale, as long as
    nothing under- or overflows.

    Parameters
    ----------
    v : Tensor, shape (…, d), float32 or float64

    Returns
    -------
    Tensor, shape (…, 1)
        |v| / scale is below 2.  1 where a row is zero or not finite.
    """
    largest = v.abs().amax(dim=-1, keepdim=True)
    # exact, and representable at both ends of the range, unlike 2 ** exponent
    scale = largest / (2 * torch.frexp(largest).mantissa)
    return torch.where((largest > 0) & largest.isfinite(), scale, 1.0)


def forbid_tf32():
    """Let no NVIDIA GPU round the float32 factors of a product to 11 bits.

    cuDNN's convolutions do so unless they are told otherwise: a root would
    have a relative error of 1e-3, and its residual as well.  This holds for
    the whole process.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def eager(function):
    """Leave a function, and all that it calls, out of torch.compile.

    The number of pairs grows with each step of a solve: a compiled solve
    would be compiled anew at each step.
    """
    disabled = None

    @wraps(function)
    def called(*args, **kwargs):
        nonlocal disabled
        if disabled is None:
            # nobody compiles before this module is there, and it takes a
            # second to import
            if "torch._dynamo" not in sys.modules:
                return function(*args, **kwargs)
            disabled = torch.compiler.disable(function)
        return disabled(*args, **kwargs)

    return called


def _autocast_is_on(kind):
    return (
        torch.amp.is_autocast_available(kind)
        and torch.is_autocast_enabled(kind)
    )


def without_autocast(like):
    """Give the context in which a tensor's device does not autocast."""
    kind = like.device.type
    if not _autocast_is_on(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def present_autocast(like):
    """Make the wrapper that runs a function under the autocast state of now.

    Parameters
    ----------
    like : Tensor
        Gives the device.

    Returns
    -------
    callable, function -> function
        For functions of one tensor that return a tensor, or (as an energy) a
        number and a tensor.  A wrapped function returns tensors of its
        argument's dtype.  Where autocast is off, nothing is wrapped.
    """
    kind = like.device.type
    if not _autocast_is_on(kind):
        return lambda function: function
    dtype = torch.get_autocast_dtype(kind)

    def wrap(function):
        def called(z):
            with torch.autocast(kind, dtype=dtype):
                out = function(z)
            if isinstance(out, tuple):
                return out[0], out[1].to(z.dtype)
            return out.to(z.dtype)

        return function and called

    return wrap


def _under_present_autocast(equation):
    if not _autocast_is_on(equation.start.device.type):
        return equation
    wrap, restrict = present_autocast(equation.start), equation.restrict
    return replace(
        equation, g=wrap(equation.g), loss=wrap(equation.loss),
        energy=wrap(equation.energy),
        restrict=restrict and (lambda index: wrap(restrict(index))),
    )


def own_precision(solve):
    """Decorate a root finder's call: no graph, no compiling, no autocast.

    The equation's own functions are called under the autocast state in which
    the finder was called; the finder's algebra has the dtype of the start.
    """
    @eager
    @torch.no_grad()
    @wraps(solve)
    def called(finder, equation, atol=0.0, rtol=0.0, warm_start=None):
        equation = _under_present_autocast(equation)
        with without_autocast(equation.start):
            return solve(finder, equation, atol, rtol, warm_start)

    return called
