"""What a problem has to give to the suite.

A problem is an outer loss of the root z of an equation g(z, theta) = 0.  A
problem of your own inherits one of two classes: `BilevelProblem` where z is
one vector (d,) and J is symmetric, as in the choice of hyperparameters, and
`NetworkProblem` where z is a batch (B, d) with one equation per sample, as in
deep equilibrium networks.  Both ask for `start` and `draw`; everything else
has a default, or says in its docstring what it is needed for.

A problem describes itself and measures nothing: what a solver has reached is
measured in `benchmark_shine.evaluate`, from the problem's equations alone.
"""
from abc import ABC, abstractmethod


class Problem(ABC):
    """Base of `BilevelProblem` and `NetworkProblem`.

    One problem is shared by all solvers of a run: `draw` must be a function
    of its arguments and of the problem's seed, and must not keep anything
    from one call to the next.

    Attributes
    ----------
    n_steps : int
        Outer steps of a run, unless the objective's ``n_outer`` says
        otherwise.
    """

    @abstractmethod
    def start(self):
        """Return the first theta, a tuple of Tensor, and the first z."""

    @abstractmethod
    def draw(self, theta, z, k):
        """Build the equation of one outer step.

        Parameters
        ----------
        theta : tuple of Tensor
            Leaves of autograd's graph; the equation closes over them.
        z : Tensor
            Root of the outer step before, or z of `start`.
        k : int
            Number of the outer step, from 1; 0 for the loss at `start`.

        Returns
        -------
        Equation
            With k as its ``step``.
        """

    @abstractmethod
    def every(self, n_outer):
        """Return the number of outer steps between two points of the curve.

        Parameters
        ----------
        n_outer : int
            Outer steps of the whole run.
        """


class BilevelProblem(Problem):
    """A problem with one vector z of shape (d,) and a symmetric J.

    The equations of `draw` have an ``energy``, which L-BFGS minimises, and
    start from the z that `draw` is given.

    Attributes
    ----------
    scale : float or "secant"
        B0 of the quasi-Newton solvers, times the identity: a float suits a z
        whose units are known; "secant" takes sᵀy / yᵀy of the newest pair.
    seed : int
        Seed of the searches over theta.
    unique_root : bool
        Whether the energy is convex, so that z*(theta) is unique and F a
        function of theta alone.  False (the default): F is measured at the
        root next to the z of a run, and has no known optimum.
    unit : float
        What one sample's loss counts in F: 1 in sums, 1/n in means.  The
        descents that look for F's optimum are made in this unit.
    fingerprint : str or None
        Of all that F depends on, where exact values of F shall be kept on
        disk.  The suite's own models need none.
    solution : callable, tuple of Tensor -> object, or None
        Where there are formulas: maps theta to an object with z*(theta) as
        ``z``, ``q``, F as ``value`` and dF/dtheta, flat, as ``grads``.  None
        (the default): they are solved for.
    optimum : callable, () -> (float, Tensor), or None
        With ``solution``: the least value of F, and theta there.
    """

    n_steps = 30
    scale = "secant"
    seed = 0
    unique_root = False
    unit = 1.0
    fingerprint = None
    solution = optimum = None

    def every(self, n_outer):
        """Every outer step is a point of the curve."""
        return 1

    def scores(self, z):
        """Score an inner solution on data that no part of a run sees.

        Parameters
        ----------
        z : Tensor, shape (d,)

        Returns
        -------
        dict of float
            Empty unless a problem overrides this method; ``test_loss`` and
            ``test_accuracy`` are the names that figures know.
        """
        return {}

    def scores_of_theta(self, theta):
        """Score theta by what no part of a run sees.

        Parameters
        ----------
        theta : tuple of Tensor

        Returns
        -------
        dict of float
            Empty unless a problem overrides this method; ``corrupted_auc``
            is the name that the objective knows.
        """
        return {}


class NetworkProblem(Problem):
    """A problem with one equation per sample, z of shape (B, d).

    Attributes
    ----------
    recipe : Recipe
        How theta is trained, and how exactly the equations are solved; see
        `benchmark_shine.problems.recipe`.
    atol : float
        Tolerance of the root finder on ‖g‖ of each sample.
    """

    @property
    @abstractmethod
    def steps_per_epoch(self):
        """Outer steps of one pass over the training data."""

    @property
    def n_steps(self):
        """Outer steps of the whole recipe."""
        return self.recipe.epochs * self.steps_per_epoch

    def every(self, n_outer):
        """An epoch, or less in a run of fewer than ten epochs."""
        return max(1, min(self.steps_per_epoch, n_outer // 10))
