"""Look over a candidate's adjoint: what it returns, what it changes."""
import sys
from contextlib import contextmanager

import torch

from ..solver import ImplicitSolver
from .files import check_signature
from .invalid import Invalid


def watch(solver, source):
    """Have a solver's adjoints checked whenever they are asked.

    Parameters
    ----------
    solver : ImplicitSolver
        An instance; its `make_adjoint` and `make_batched_adjoint` are
        replaced.
    source : Source
        Its file.
    """
    for name, given in ("make_adjoint", ()), ("make_batched_adjoint", (1,)):
        make = getattr(solver, name, None)
        if make is not None:
            place = source.place_of_function(make)
            check_signature(make, *given, place=place)
            setattr(solver, name, _watched(make, solver, source, place))


def _watched(make, solver, source, place):
    def made(*given):
        adjoint = make(*given)
        if isinstance(adjoint, Watched):
            return adjoint
        if adjoint is None and not (place and _needs_adjoint(solver)):
            return None
        if not callable(adjoint):
            what = "None" if adjoint is None else type(adjoint).__name__
            raise Invalid(
                f"{make.__name__} returns {what}, not a function of the "
                "system; end it with `return adjoint`", place,
            )
        return Watched(adjoint, source, place)

    return made


def _needs_adjoint(solver):
    """Whether nothing but the adjoint of a solver says what it does."""
    return type(solver).steps is ImplicitSolver.steps and (
        type(solver).make_outer is ImplicitSolver.make_outer
    )


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
