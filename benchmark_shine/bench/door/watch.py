"""Look over a candidate's adjoint: what it returns, what it changes."""
import sys
from contextlib import contextmanager

import torch

from ..solver import BilevelSolver, NetworkSolver
from .files import check_signature
from .invalid import Invalid


def watched(cls, source):
    """Derive a solver whose adjoints are checked whenever they are asked.

    Parameters
    ----------
    cls : type
        The candidate.
    source : Source
        Its file.

    Returns
    -------
    type
        A subclass.

    Raises
    ------
    Invalid
        Where a method that makes adjoints cannot be called as it must be.
    """
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
    given = ("self", "n_steps")[:1 + (make.__name__ != "make_adjoint")]
    check_signature(make, given, place)

    def made(*given):
        adjoint = make(*given)
        if isinstance(adjoint, Watched) or (
            adjoint is None and not (needed and place)
        ):
            return adjoint
        if not callable(adjoint):
            what = "None" if adjoint is None else type(adjoint).__name__
            raise Invalid(
                f"{make.__name__} returns {what}, not a function of the "
                "system; end it with `return adjoint`", place,
            )
        return Watched(adjoint, source, place)

    return made


class Watched:
    """An adjoint, of which each q is checked.

    Parameters
    ----------
    adjoint : callable, AdjointSystem -> Tensor
    source : Source
    place : str or None
        Where it was made.
    """

    def __init__(self, adjoint, source, place):
        self._adjoint, self._source = adjoint, source
        self._place = source.place_of_function(adjoint) or place

    def __call__(self, system):
        given = {"rhs": system.rhs, "z": system.z}
        copies = {name: tensor.clone() for name, tensor in given.items()}
        with _trace(self._source, given.values()) as seen:
            q = self._adjoint(system)
        for name, copy in copies.items():
            if not torch.equal(given[name].nan_to_num(), copy.nan_to_num()):
                raise Invalid(
                    f"changes system.{name} in place; work on a copy, "
                    f"system.{name}.clone()", seen.changed or self._place,
                )
        check_q(q, system.rhs, seen.returned or self._place)
        return q


def check_q(q, rhs, place=None):
    """Insist on a tensor like rhs, without NaN.

    Raises
    ------
    Invalid
        Where q is something else.
    """
    if q is None:
        raise Invalid(
            "the adjoint returns None; end it with `return q`", place
        )
    if not isinstance(q, torch.Tensor):
        kind = f"{type(q).__module__}.{type(q).__name__}"
        raise Invalid(
            f"the adjoint returns a {kind}, not a tensor; end it with "
            "`return torch.as_tensor(q)`", place,
        )
    if q.shape != rhs.shape:
        raise Invalid(
            f"q has shape {tuple(q.shape)}, not {tuple(rhs.shape)} like rhs; "
            + _reshaped(q, rhs), place,
        )
    if q.dtype != rhs.dtype or q.device != rhs.device:
        raise Invalid(
            f"q is {q.dtype} on {q.device}, rhs {rhs.dtype} on {rhs.device}; "
            "return q.to(system.rhs), and make tensors like rhs", place,
        )
    if rhs.isfinite().all() and not q.isfinite().all():
        raise Invalid(
            "q is not finite though rhs is; look for a division by zero or "
            "steps that grow", place,
        )


def _reshaped(q, rhs):
    if q.ndim == 2 and q.T.shape == rhs.shape:
        return "return q.T"
    if q.numel() == rhs.numel():
        return "return q.reshape(system.rhs.shape)"
    return "return one entry for each of rhs"


class _Seen:
    changed = returned = None


@contextmanager
def _trace(source, tensors):
    """Note the candidate's lines that change a tensor, and that return.

    Yields
    ------
    _Seen
        ``changed``, the first line after which a tensor is another, and
        ``returned``, the line of the last return.
    """
    seen, tensors, line = _Seen(), list(tensors), None

    def versions():
        return [tensor._version for tensor in tensors]

    before = versions()

    def follow(frame, event, arg):
        nonlocal line
        if seen.changed is None and line and versions() != before:
            seen.changed = line
        line = source.place(frame.f_code.co_filename, frame.f_lineno)
        if event == "return":
            seen.returned = line
        return follow

    def enter(frame, event, arg):
        if source.owns(frame.f_code.co_filename):
            return follow(frame, event, arg)
        return None

    outer = sys.gettrace()
    sys.settrace(enter)
    try:
        yield seen
    finally:
        sys.settrace(outer)
