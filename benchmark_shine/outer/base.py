"""Outer optimisers: how theta moves, and how exact the next solve must be.

An outer optimiser is a frozen set of settings.  ``start(theta)`` gives the
first state, ``step(state, value, grads, first_residual)`` the next.  A state
has ``theta`` (tuple of tensors), ``eps`` (relative residual tolerance of the
linear solve) and ``atol``, ``rtol`` (tolerances of the inner solve).
`GradientOptimizer`, which trains networks for hours, can also ``store`` and
``restore`` a state.
"""
import torch

from ..checks import check_number


def _flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def _norm(tensors):
    return float(_flat(tensors).norm())


# Powers p of tolerances tol k^-p at outer step k, as in HOAG's code.
POWERS = {"quadratic": 2, "cubic": 3}


def check_decay(decay):
    """Require a factor in (0, 1], or the name of one of POWERS.

    Raises
    ------
    ValueError
        ``decay: must be …``.
    """
    if isinstance(decay, str) and decay in POWERS:
        return
    if isinstance(decay, str):
        raise ValueError(
            f"decay: must be a number in (0, 1] or one of "
            f"{', '.join(POWERS)}, got {decay!r}"
        )
    check_number("decay", decay, above=0, most=1)


def decay_factor(decay, k):
    """Return eps_{k+1} / eps_k after outer step k, which is 1 or more."""
    if isinstance(decay, str):
        return (k / (k + 1)) ** POWERS[decay]
    return decay
