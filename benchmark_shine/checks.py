"""Checks of settings; an error is one line that names the setting."""
import math
from collections.abc import Hashable
from numbers import Integral, Real
from os import PathLike
from pathlib import Path


def check_integer(name, value, least, most=2 ** 31 - 1):
    """Require an integer of ``least`` to ``most``.

    Raises
    ------
    ValueError
        ``name: must be …, got …``.
    """
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not (integer and least <= value <= most):
        high = integer and value > most
        bound = f"at most {most}" if high else f"at least {least}"
        raise ValueError(
            f"{name}: must be an integer of {bound}, got {value!r}"
        )


def check_seed(seed):
    """Require a seed that NumPy and torch both accept.

    Raises
    ------
    ValueError
        ``seed: must be …, got …``.
    """
    check_integer("seed", seed, least=0, most=2 ** 32 - 1)


def check_path(name, value):
    """Require a path, and expand ~ to the home folder.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Where the value is not text, or its home folder is unknown.
    """
    if not isinstance(value, (str, PathLike)):
        raise ValueError(f"{name}: must be text, got {value!r}")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name}: {value}: {error}") from None


def check_number(
    name, value, above=-math.inf, least=None, most=None, below=math.inf
):
    """Require a number within bounds; infinities and NaN are refused.

    Parameters
    ----------
    name : str
    value : object
    above, below : float
        Bounds that the value must not reach.
    least, most : float or None
        Bounds that the value may reach.

    Raises
    ------
    ValueError
        ``name: must be …, got …``.
    """
    low = f"({above:g}" if least is None else f"[{least:g}"
    high = f"{below:g})" if most is None else f"{most:g}]"
    number = isinstance(value, Real) and not isinstance(value, bool)
    fits = number and (
        (above < value if least is None else least <= value)
        and (value < below if most is None else value <= most)
    )
    if not fits:
        raise ValueError(
            f"{name}: must be a number in {low}, {high}, got {value!r}"
        )


def check_choice(name, value, choices):
    """Look up a value in a table of choices.

    Returns
    -------
    object
        ``choices[value]``.

    Raises
    ------
    ValueError
        ``name: … is not one of …``.
    """
    if not isinstance(value, Hashable) or value not in choices:
        raise ValueError(
            f"{name}: {value!r} is not one of {', '.join(map(str, choices))}"
        )
    return choices[value]


def check_pair(name, value):
    """Require a list or tuple of two values.

    Raises
    ------
    ValueError
        ``name: must be a pair, got …``.
    """
    if not (isinstance(value, (list, tuple)) and len(value) == 2):
        raise ValueError(f"{name}: must be a pair, got {value!r}")
