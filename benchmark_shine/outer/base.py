"""Outer optimisers: how theta moves, and how exact the next solve must be.

An outer optimiser is a frozen set of settings.  ``start(theta)`` gives the
first state, ``step(state, value, grads, first_residual)`` the next.  A state
has ``theta`` (tuple of tensors), ``eps`` (relative residual tolerance of the
linear solve) and ``atol``, ``rtol`` (tolerances of the inner solve).
`GradientOptimizer`, which trains networks for hours, can also ``store`` and
``restore`` a state.
"""
import torch


def _flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def _norm(tensors):
    return float(_flat(tensors).norm())
