"""Look over a candidate's adjoint: what it returns, what it changes."""
import inspect

import torch

from ..solver import BilevelSolver, NetworkSolver
from .invalid import Invalid


def watched(cls, source):
    """Derive a solver whose adjoints are checked whenever they are asked."""
    ours = {
        "make_adjoint": cls.bilevel is BilevelSolver.bilevel,
        "make_batched_adjoint": cls.network is NetworkSolver.network,
    }
    return type(cls.__name__, (cls,), {
        name: _checked(getattr(cls, name), source, needed)
        for name, needed in ours.items() if hasattr(cls, name)
    })


def _checked(make, source, needed):
    """Wrap a method that makes adjoints; None may do where it is not needed.

    ``needed`` says whether the candidate leaves the outer step to the suite.
    """
    place = source.place_of_function(make)
    names = ("self", "n_steps")[:1 + (make.__name__ != "make_adjoint")]
    try:
        inspect.signature(make).bind(*names)
    except TypeError as error:
        raise Invalid(f"{make.__name__}: {error}; write def {make.__name__}"
                      f"({', '.join(names)})", place) from None

    def made(*given):
        adjoint = make(*given)
        if isinstance(adjoint, Watched) or (
            adjoint is None and not (needed and place)
        ):
            return adjoint
        if not callable(adjoint):
            raise Invalid(
                f"{make.__name__} returns {type(adjoint).__name__}, not a "
                "function of the system; end it with `return adjoint`", place,
            )
        return Watched(adjoint, source.place_of_function(adjoint) or place)

    return made


class Watched:
    """An adjoint, of which each q is checked; ``place`` is its line."""

    def __init__(self, adjoint, place):
        self._adjoint, self._place = adjoint, place

    def __call__(self, system):
        given = {"rhs": system.rhs, "z": system.z}
        copies = {name: tensor.clone() for name, tensor in given.items()}
        q = self._adjoint(system)
        for name, copy in copies.items():
            if not torch.equal(given[name].nan_to_num(), copy.nan_to_num()):
                raise Invalid(
                    f"changes system.{name} in place; work on a copy, "
                    f"system.{name}.clone()", self._place,
                )
        fault = _fault_of(q, system.rhs)
        if fault:
            raise Invalid(fault, self._place)
        return q


def _fault_of(q, rhs):
    """Say what q lacks of a finite tensor like rhs, and the remedy."""
    if not isinstance(q, torch.Tensor):
        what = "None" if q is None else f"a {type(q).__name__}, not a tensor"
        return f"the adjoint returns {what}; end it with `return q`, a tensor"
    if q.shape != rhs.shape:
        remedy = "q.T" if q.shape == rhs.shape[::-1] else (
            "q.reshape(system.rhs.shape)" if q.numel() == rhs.numel() else
            "one entry for each of rhs"
        )
        return (f"q has shape {tuple(q.shape)}, not {tuple(rhs.shape)} like "
                f"rhs; return {remedy}")
    if q.dtype != rhs.dtype or q.device != rhs.device:
        return (f"q is {q.dtype} on {q.device}, rhs {rhs.dtype} on "
                f"{rhs.device}; return q.to(system.rhs)")
    if rhs.isfinite().all() and not q.isfinite().all():
        return ("q is not finite though rhs is; look for a division by zero "
                "or steps that grow")
    return None
