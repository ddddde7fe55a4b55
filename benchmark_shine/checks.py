"""Settings that are out of range, said in one line that names them."""
import math
from numbers import Integral, Real


def check_integer(name, value, least):
    """Insist on an integer of at least ``least``.

    Raises
    ------
    ValueError
        ``name: must be …, got …``.
    """
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not (integer and value >= least):
        raise ValueError(
            f"{name}: must be an integer of at least {least}, got {value!r}"
        )


def check_number(name, value, above, at_most=math.inf):
    """Insist on a finite number with above < value <= at_most.

    Raises
    ------
    ValueError
        ``name: must be …, got …``.
    """
    number = isinstance(value, Real) and math.isfinite(value)
    if not (number and above < value <= at_most):
        limit = "" if at_most == math.inf else f" and at most {at_most:g}"
        raise ValueError(
            f"{name}: must be a number above {above:g}{limit}, got {value!r}"
        )


def check_choice(name, value, choices):
    """Look a value up, or say what it may be.

    Returns
    -------
    object
        ``choices[value]``.

    Raises
    ------
    ValueError
        ``name: … is not one of …``.
    """
    if value not in choices:
        raise ValueError(
            f"{name}: {value!r} is not one of {', '.join(choices)}"
        )
    return choices[value]


def check_pair(name, value):
    """Insist on two values.

    Raises
    ------
    ValueError
        ``name: must be a pair, got …``.
    """
    if not (isinstance(value, (list, tuple)) and len(value) == 2):
        raise ValueError(f"{name}: must be a pair, got {value!r}")
