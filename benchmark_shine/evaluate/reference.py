"""Tight solves: what a perfect method would have found.

The reference of a vector z is dense where z has at most ``DENSE`` entries:
then it does not depend on the units of the features.  A longer z gets
conjugate gradients and L-BFGS, in other units where those of J differ by
``BAD``.  What could not be measured is NaN, and ``unmeasured`` says why.
"""
import math
from dataclasses import replace
from types import SimpleNamespace

import torch

from ..adjoint import ConjugateGradient, Gmres
from ..implicit import TransposedJacobian, hypergradient
from ..root import LBFGS, loss_gradient
from .dense import jacobian, newton, refined
from .units import equilibrate, rescaled, units

# Relative residual of the reference linear solve.  Reached or not, the
# residual is measured, and without it no reference is given.
ADJOINT_TOL = 1e-7

# Most entries of a vector z whose J is assembled, one product for each.
DENSE = 300

# Relative error of the outer loss to which the reference root is solved.
VALUE_TOL = 1e-6

# A root is near where the outer loss differs by less than this part; to a far
# one lead so many rounds of units, q there, and L-BFGS.
NEAR, ROUNDS = 0.1, 5

# Units of z that differ by this factor are bad for iterative methods (400 in
# 20 newsgroups, and harmless there).
BAD = 1e4

# Most steps of GMRES in the reference of a batch, and bytes for the vectors
# that it keeps.  In an untrained MDEQ some samples take more than 200.
STEPS = 400
BASIS = 2 * 2 ** 30

# What ``unmeasured`` means.
MEASURED, DIVERGED, NO_ROOT, NO_ADJOINT = range(4)
WHY = {
    DIVERGED: "the run had diverged",
    NO_ROOT: "the reference root was not found",
    NO_ADJOINT: "J is too nearly singular for a reference q",
}


def unmeasured(codes):
    """Say in one line how many points have no reference, and why.

    Parameters
    ----------
    codes : list of float
        ``unmeasured`` of the points of one run at which a reference was due.

    Returns
    -------
    str or None
    """
    missing = [code for code in codes if code != MEASURED]
    if not missing:
        return None
    reasons = ", ".join(
        f"{why}: {missing.count(code)}" for code, why in WHY.items()
        if code in missing
    )
    return (
        f"no reference at {len(missing)} of {len(codes)} points ({reasons})"
    )


def _distance(a, b):
    return float((a - b).norm() / b.norm())


def errors_of(found, exact):
    """Compare dF/dtheta, and q where there is one; a batch as one vector.

    Parameters
    ----------
    found, exact : object
        With ``grads``, a tuple of Tensor, and ``q``, a Tensor or None.

    Returns
    -------
    dict of float
        ``hypergrad_rel_error`` and ``q_rel_error``, relative distances in
        the 2-norm; ``hypergrad_cosine`` and ``q_cosine``;
        ``hypergrad_sign``, the share of the entries of dF/dtheta that have
        the right sign.
    """
    h, h_exact = (
        torch.cat([g.reshape(-1) for g in grads])
        for grads in (found.grads, exact.grads)
    )
    errors = {
        "hypergrad_rel_error": _distance(h, h_exact),
        "hypergrad_cosine": _cosine(h, h_exact),
        "hypergrad_sign": float((h.sign() == h_exact.sign()).double().mean()),
    }
    if found.q is None:
        return errors
    q, q_exact = found.q.reshape(-1), exact.q.reshape(-1)
    return errors | {
        "q_cosine": _cosine(q, q_exact),
        "q_rel_error": _distance(q, q_exact),
    }


def _cosine(a, b):
    return float(torch.cosine_similarity(a, b, dim=0, eps=1e-300))


def _checked(solve, residuals):
    def adjoint(system):
        q = solve(system)
        residual = (system.vjp(q) - system.rhs).norm(dim=-1)
        residuals.append(residual / system.rhs.norm(dim=-1))  # by sample
        return q

    return adjoint


def _bare(z):
    return SimpleNamespace(z=z, inverse=None)


def _loss(equation, z):
    with torch.no_grad():
        return float(equation.loss(z))


def _densely(step):
    """The reference of a short z: value function and `Hypergradient`."""
    equation, z = step.equation, step.z
    s = units(jacobian(equation.g, z))
    for start in _starts(equation, z, s):
        root = _dense_root(equation, start, z)
        if root is None:
            continue
        J = jacobian(equation.g, root)
        return _loss(equation, root), hypergradient(
            equation, step.theta, _bare(root),
            lambda system: refined(J.T, system.rhs),
        )
    return math.nan, None


def _starts(equation, z, s):
    """Where Newton's method may begin: near the root of the run, else at 0.

    L-BFGS stays in the run's valley where there are several; it needs good
    units where the data have bad ones.  At a z far too long a loss may be
    linear, so that J says nothing: zero is the way out.
    """
    if equation.energy:
        for units_of_z in (torch.ones_like(z), s):
            scaled = rescaled(replace(equation, start=z), units_of_z)
            yield units_of_z * LBFGS(max_iter=200)(scaled, rtol=1e-6).z
    yield from (z, torch.zeros_like(z))


def _dense_root(equation, start, z):
    """Newton's root, or None if that is none for z's run."""
    root, following = newton(equation, start)
    value = _loss(equation, root)
    # what the following step would change
    error = abs(float(loss_gradient(equation, root) @ following))
    if not error <= VALUE_TOL * max(abs(value), 1e-12):
        return None
    if equation.energy:
        least, reached = equation.energy(root)[0], equation.energy(z)[0]
        if not least <= reached + 1e-8 * abs(reached):
            return None
    return root


def _adjoint(equation, theta, q0=None, tol=ADJOINT_TOL):
    """Hypergradient at an equation's start; NaN where q is not solved."""
    residuals = []
    # without an energy J need not be symmetric
    solve = ConjugateGradient(20_000) if equation.energy else Gmres(STEPS)
    found = hypergradient(
        equation, theta, _bare(equation.start), _checked(solve, residuals),
        q0, tol,
    )
    if residuals[0] <= 10 * tol:
        return found
    return replace(found, q=found.q * math.nan)


def _root(equation, value, q):
    """Solve so far that the outer loss is nearly exact; whether it is.

    ‖g‖ ≤ ``VALUE_TOL`` |value| / ‖q‖ leaves, by Cauchy-Schwarz, a relative
    error of the outer loss of about ``VALUE_TOL``.  The start of a run is no
    root of anything, and q there says little: ‖g‖ has to fall first.
    """
    atol = VALUE_TOL * max(abs(value), 1e-12) / max(float(q.norm()), 1e-12)
    asked = atol
    if equation.step == 0:
        first = float(equation.energy(equation.start)[1].norm())
        asked = min(atol, VALUE_TOL * first)
    root = LBFGS(memory=60, max_iter=5_000)(equation, atol=asked)
    return root.z, root.residual <= atol


def _units_at(equation, z):
    """Units of a long z: ones, unless those of J differ by ``BAD``."""
    vjp = TransposedJacobian(equation.g, z)
    rough = equilibrate(vjp, z, 10)
    if float(rough.max() / rough.min()) < BAD:
        return torch.ones_like(z)
    return equilibrate(vjp, z)


def _iteratively(step):
    """The reference of a long z: value function and `Hypergradient`."""
    equation, z = replace(step.equation, start=step.z), step.z
    if not equation.energy:
        return math.nan, _adjoint(equation, step.theta, step.q)
    s = _units_at(equation, z)
    found = _adjoint(
        rescaled(equation, s), step.theta,
        None if step.q is None else step.q / s,
    )
    z = _long_root(step, s, found.q)
    if z is None:
        return math.nan, None
    s = _units_at(equation, z)
    found = _adjoint(
        rescaled(replace(equation, start=z), s), step.theta, found.q
    )
    return _loss(equation, z), replace(found, q=s * found.q)


def _long_root(step, s, q):
    """The root next to a long z, or None where none is found.

    Where that root is far from z, J and q there are others, and so are good
    units s and the tolerance; q solves the adjoint system in these units.
    """
    z, value = step.z, step.value
    for _ in range(ROUNDS):
        if not bool(q.isfinite().all()):
            return None
        scaled = rescaled(replace(step.equation, start=z), s)
        u, solved = _root(scaled, value, q)
        z, before = s * u, value
        value = _loss(step.equation, z)
        if solved and abs(value - before) <= NEAR * abs(value):
            return z
        s = _units_at(step.equation, z)
        scaled = rescaled(replace(step.equation, start=z), s)
        q = _adjoint(scaled, step.theta, tol=1e-3).q
        # what the loss owes to g, to first order
        error = abs(float(q @ scaled.energy(scaled.start)[1]))
        if error <= VALUE_TOL * max(abs(value), 1e-12):
            return z
    return None


def measure(step):
    """Compare a step of one vector z with tight solves at the same theta.

    The exact root is the one next to the step's z.  An inexact z can have a
    lower outer loss than z*(theta): the curve of ``value_function`` has no
    such luck in it.

    Returns
    -------
    dict of float
        ``value_function``, the outer loss at the exact root, and
        ``value_error``, its error; the errors of `errors_of` against q and
        dF/dtheta at that root.  What the step has not, or what has no
        reference, is not there; ``unmeasured`` is the reason, a key of
        `WHY`, and otherwise `MEASURED`.
    """
    if step.diverged:
        return {"unmeasured": float(DIVERGED)}
    value, exact = (_densely if len(step.z) <= DENSE else _iteratively)(step)
    if exact is None:
        return {"unmeasured": float(NO_ROOT)}
    found = {"value_function": value, "value_error": VALUE_TOL * abs(value)}
    if not math.isfinite(float(exact.q.norm())):
        return found | {"unmeasured": float(NO_ADJOINT)}
    if step.grads is not None:
        found |= errors_of(step, exact)
    code = NO_ROOT if math.isnan(value) else MEASURED
    return found | {"unmeasured": float(code)}


def n_affordable(d):
    """Samples of d entries whose reference GMRES fits in BASIS, at least 1.

    All of a batch in small networks; 21 in MDEQ TINY and 10 in LARGE on
    CIFAR-10, 3 in SMALL on ImageNet.
    """
    return max(1, BASIS // (8 * d * (STEPS + 1)))


def measure_batch(found, double, theta, z):
    """Compare an adjoint with GMRES in double precision, at the same z.

    Parameters
    ----------
    found : Hypergradient
        The method's, of a batch in the run's precision.
    double : Equation
        The same equation in float64.
    theta : tuple of Tensor
    z : Tensor, shape (B, d)

    Returns
    -------
    dict of float
        ``q_solved``: the share of samples whose reference converged; the
        others are left out of ``q_cosine`` and ``q_rel_error`` of the batch
        as one vector, and of ``q_cosine_median`` over its samples (a few that
        are nearly singular dominate the former).  With all of them there is
        ``hypergrad_rel_error`` too.
    """
    residuals = []
    exact = hypergradient(
        double, theta, SimpleNamespace(z=z.double(), inverse=None),
        _checked(Gmres(STEPS, ADJOINT_TOL), residuals),
    )
    solved = residuals[0] <= 10 * ADJOINT_TOL
    scores = {
        "q_solved": float(solved.double().mean()),
        "unmeasured": float(MEASURED if solved.any() else NO_ADJOINT),
    }
    if not solved.any():
        return scores
    found, exact = (
        replace(h, q=h.q[solved].double()) for h in (found, exact)
    )
    cosines = torch.cosine_similarity(found.q, exact.q, dim=1)
    scores |= {"q_cosine_median": float(cosines.median())}
    scores |= errors_of(found, exact)
    if not solved.all():
        del scores["hypergrad_rel_error"]
    return scores
