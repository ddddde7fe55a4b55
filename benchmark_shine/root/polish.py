"""Corrected steps after a solve: super-efficient implicit differentiation."""
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..checks import check_integer
from ..precision import own_precision


@dataclass(frozen=True)
class Polished:
    """Correct a root by z' = z - B g(z), with the B of its solve.

    Ye, Peyré, Cremers and Ablin, *Enhancing hypergradients estimation: a study
    of preconditioning and reparameterization*, AISTATS 2024.  All that the
    hypergradient is made of is then evaluated at z'.  With B = J⁻¹ its error
    is quadratic in the error of z.

    A finder like `LBFGS` knows g at its root, so that the first step costs one
    product with B; each further step costs one evaluation of g.  For L-BFGS
    z' is the point where its next line search would begin: the step saves the
    evaluation that would judge it.  So nothing says that the energy falls, and
    no secant pair is learnt, as that needs g at z'.

    Far from the root B may be useless.  With D the known diagonal of J and
    J ⪰ D, the root lies within ‖g‖_{D⁻¹} of z in the norm of D.  A step
    longer than twice that leads away from the root for certain: it is not
    made, and the root stays as it was before.  The others lead to a z'
    within three times that.  Where no diagonal is known, only a step
    that is not finite is refused.  The inequality J ⪰ D holds for convex
    losses; elsewhere the rule is a rule of thumb.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, warm_start) -> Root
        For equations with an energy.
    n_steps : int
        Steps, all with the same B.

    Raises
    ------
    ValueError
        Where ``n_steps`` is out of its range.
    """

    find_root: Callable
    n_steps: int = 1

    def __post_init__(self):
        check_integer("polish", self.n_steps, least=1)

    @property
    def needs_diagonal(self):
        """Whether the finder is for equations with a ``diagonal`` alone."""
        return getattr(self.find_root, "needs_diagonal", False)

    @own_precision
    def __call__(self, equation, atol=0.0, rtol=0.0, warm_start=None):
        """Find a root and correct it; see `LBFGS` for the parameters.

        Returns
        -------
        Root
            Whose ``z`` is corrected: the next solve starts there.
            ``residual`` and ``gradient`` are None where g is not known at
            z'.  ``converged`` is that of the solve.
        """
        root = self.find_root(equation, atol, rtol, warm_start)
        for _ in range(self.n_steps):
            root, corrected = _correct(root, equation)
            if not corrected:
                break
        return root


def _correct(root, equation):
    """Make one step, and say whether it was made."""
    z, g = root.z, root.gradient
    if g is None:
        g = equation.energy(z)[1]
        root = replace(
            root, gradient=g, residual=float(g.norm()), n_g=root.n_g + 1
        )
    step = root.inverse @ g
    if not _may_be_right(step, g, equation.diagonal):
        return root, False
    return replace(root, z=z - step, gradient=None, residual=None), True


def _may_be_right(step, g, diagonal):
    """Return whether the root may be nearer to z - step than to z."""
    if diagonal is None:
        return bool(step.isfinite().all())
    length, farthest = step @ (diagonal * step), g @ (g / diagonal)
    return bool(length <= 4 * farthest)
