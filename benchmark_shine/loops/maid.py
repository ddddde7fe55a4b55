"""An outer rule that adapts the accuracies, and searches along the line."""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import grad

from ..checks import check_integer, check_number
from ..engine import Step, clock, leaves, start
from ..equation import need_diagonal
from ..implicit import TransposedJacobian, hypergradient
from ..root import loss_gradient

# Searches per outer step, and the trials of the first; each has one more.
SEARCHES, TRIALS = 3, 10
# Factor of beta after a success.
LONGER = 10 / 9
# Times that the accuracies are raised for one hypergradient.
RAISES = 20


@dataclass(frozen=True)
class Maid:
    """Descend by hypergradients whose accuracy is as low as a bound allows.

    Salehi, Mukherjee, Roberts and Ehrhardt, *An adaptively inexact
    first-order method for bilevel optimization with application to
    hyperparameter learning*, SIMODS 2025, arXiv 2308.10098 (MAID).  With the
    energy mu-strongly convex, an outer step does this:

    1.  Solve to ‖g‖ ≤ mu epsilon, so that z is within epsilon of the root,
        and solve the adjoint system to ‖Jᵀ q - r‖ ≤ delta, r = dl/dz.
    2.  Bound the error of the hypergradient h by

            omega = c epsilon + ‖G‖ delta / mu + L_G L_r epsilon² / mu,
            c = (‖G‖ L_r + ‖G‖ L_J ‖q‖ + L_G ‖r‖) / mu,    G = dg/dtheta.

        Where omega > (1 - eta) ‖h‖, multiply epsilon and delta by ``tau`` and
        go to 1.
    3.  Try theta - beta rhoⁱ h, i = 0, 1, …, each with a solve to epsilon,
        and take the first with

            l(new) + ‖r(new)‖ epsilon + ½ L_r epsilon²
              ≤ l(old) - ‖r(old)‖ epsilon - beta rhoⁱ eta² ‖h‖²,

        which implies such a decrease of F itself where l is convex.  Then
        beta ← (10 / 9) beta rhoⁱ, and epsilon and delta grow by ``nu``.
        After 10 trials multiply epsilon and delta by ``tau`` and go to 1;
        after three such searches theta stays for this outer step, and the
        next begins with beta rho¹⁰.

    An instance is the ``steps`` of a `benchmark_shine.engine.Loop`.  Every
    point of the curve is an accepted theta with its hypergradient, but after
    three vain searches, where it is the old theta at a higher accuracy; its
    costs are those of all that was evaluated since the last point.

    Parameters
    ----------
    find_root : callable, (Equation, atol, rtol, warm_start) -> Root
        Whose atol bounds ‖g‖₂.
    adjoint : callable, AdjointSystem -> Tensor
        Asked for the relative tolerance delta / ‖r‖.  One without a
        tolerance, like SHINE, is taken to meet it: the bound is then none.
    n_outer : int
        Points of the curve after the start.
    epsilon, delta, eta, rho, tau, nu, beta : float
        As above; the defaults are those of the authors' code.
    box : float
        theta stays in [-box, box].

    Raises
    ------
    ValueError
        Where a setting is out of its range, or an equation does not know the
        ``diagonal`` that gives mu.

    Notes
    -----
    The constants are estimates.  mu is the least entry of the diagonal that
    theta adds to J.  L_r is the largest quotient ‖r' - r‖ / ‖z' - z‖ of the
    run.  ‖G‖ is by two power iterations, L_G and L_J are quotients of Gᵀq and
    Jᵀq between z and a z' at a distance of epsilon along q; L_J takes two
    products, counted.  (The authors' code has L_r set by hand, compares with
    a random z' at any distance, solves a second linear system there, and
    keeps beta after three vain searches.)
    A solve that cannot meet its tolerance raises epsilon to what it has met.
    """

    find_root: Callable
    adjoint: Callable
    n_outer: int
    epsilon: float = 0.1
    delta: float = 0.1
    eta: float = 1e-4
    rho: float = 0.9
    tau: float = 0.5
    nu: float = 1.05
    beta: float = 0.1
    box: float = 12.0

    def __post_init__(self):
        for name in "epsilon", "delta", "beta":
            check_number(name, getattr(self, name), above=0)
        for name in "eta", "rho", "tau":
            check_number(name, getattr(self, name), above=0, below=1)
        check_number("nu", self.nu, least=1)
        check_integer("n_outer", self.n_outer, least=0)

    def __call__(self, problem):
        """Yield the start, then one `engine.Step` per outer step.

        Parameters
        ----------
        problem
            As in :meth:`benchmark_shine.engine.Method.run`.
        """
        first = start(problem, *problem.start())
        need_diagonal(first.equation, "step: maid")
        yield first
        run = _Run(self, problem, first.theta, first.z)
        for k in range(1, self.n_outer + 1):
            step = run.differentiate(k)
            yield step
            if k == self.n_outer or step.diverged:
                return
            run.move(step)


class _Run:
    """One run of `Maid`: the point where it is, accuracies, and costs.

    ``root`` is the newest root, whose pairs the next solve takes over;
    ``solved`` says whether it is that of the present theta, to epsilon.
    """

    def __init__(self, rule, problem, theta, z):
        self.rule, self.problem = rule, problem
        self.theta, self.z, self.root, self.q = theta, z, None, None
        self.epsilon, self.delta, self.beta = (
            rule.epsilon, rule.delta, rule.beta)
        self.solved, self.L_r = False, 0.0
        self.costs = _Costs()

    def differentiate(self, k):
        """Make the Step of outer step k, with all costs since the last."""
        equation, found = self._descent(k)
        step = Step(
            self.theta, self.z, found.value, equation, found.grads, found.q,
            self.root, **vars(self.costs),
        )
        self.costs = _Costs()
        return step

    def _descent(self, k):
        """Differentiate as accurately as the bound asks for."""
        for _ in range(RAISES):
            equation = self.problem.draw(self.theta, self.z, k)
            if not self.solved:
                self._solve(equation)
                self.z, self.solved = self.root.z, True
            found = self._hypergradient(equation)
            h = float(_flat(found.grads).norm())
            if not self.root.converged or not (
                self._bound(equation, found.q) > (1 - self.rule.eta) * h
            ):
                break
            self._raise()
        return equation, found

    def move(self, step):
        """Search for the next theta; stay where there is none."""
        k, equation, at = step.n_outer, step.equation, step
        for n in range(SEARCHES):
            if n:
                equation, at = self._descent(k)
            if self._search(equation, at, TRIALS + n):
                self.epsilon *= self.rule.nu
                self.delta *= self.rule.nu
                return
            self._raise()
        self.beta *= self.rule.rho ** TRIALS

    def _raise(self):
        """Raise the accuracies; the present root no longer meets them."""
        self.epsilon *= self.rule.tau
        self.delta *= self.rule.tau
        self.solved = False

    def _solve(self, equation):
        """Find a root to epsilon, or see which accuracy it has."""
        began, mu = clock(equation.start), float(equation.diagonal.min())
        self.root = self.rule.find_root(
            equation, mu * self.epsilon, 0.0, self.root
        )
        if not self.root.converged:
            self.epsilon = max(self.epsilon, self.root.residual / mu)
        self.costs.add(self.root, forward_time=clock(equation.start) - began)

    def _hypergradient(self, equation):
        began = clock(self.z)
        r = float(loss_gradient(equation, self.z).norm())
        found = hypergradient(
            equation, self.theta, self.root, self.rule.adjoint,
            self.q if equation.warm_startable else None,
            min(self.delta / r, 0.5) if r else 0.5,
        )
        self.q = found.q
        self.costs.add(found, backward_time=clock(self.z) - began)
        return found

    def _bound(self, equation, q):
        """Bound the error of the hypergradient, as far as is known."""
        began, length = clock(self.z), float(q.norm())
        if not length:
            return 0.0
        near = self.z + self.epsilon / length * q
        (r, jq, here), (r_near, jq_near, there) = (
            self._at(equation, z, q) for z in (self.z, near)
        )
        self.L_r = max(self.L_r, float((r_near - r).norm()) / self.epsilon)
        L_J, L_G = (
            float((b - a).norm()) / (self.epsilon * length)
            for a, b in ((jq, jq_near), (here.of(q), there.of(q)))
        )
        G, mu = here.norm(q), float(equation.diagonal.min())
        self.costs.backward_time += clock(self.z) - began
        c = G * self.L_r + G * L_J * length + L_G * float(r.norm())
        return (
            c * self.epsilon + G * self.delta
            + L_G * self.L_r * self.epsilon ** 2
        ) / mu

    def _at(self, equation, z, q):
        """Return r, Jᵀq and dg/dtheta at z."""
        self.costs.n_g += 1 if equation.g_theta else 2
        self.costs.n_vjp += 1
        return (
            loss_gradient(equation, z), TransposedJacobian(equation.g, z)(q),
            _InTheta(equation, self.theta, z),
        )

    def _search(self, equation, at, n_trials):
        """Go to the first theta on the line that surely decreases F.

        ``at`` has the loss and the hypergradient where the run is.
        """
        z, k = self.z, equation.step
        square = float(_flat(at.grads).square().sum())
        r, eta = loss_gradient(equation, z), self.rule.eta
        for i in range(n_trials):
            beta = self.beta * self.rule.rho ** i
            theta = leaves(
                (t.detach() - beta * g).clamp(
                    -self.rule.box, self.rule.box
                ) for t, g in zip(self.theta, at.grads)
            )
            equation = self.problem.draw(theta, z, k + 1)
            self._solve(equation)
            value, r_new = _loss(equation, self.root.z)
            moved = float((self.root.z - z).norm())
            if moved:
                self.L_r = max(self.L_r, float((r_new - r).norm()) / moved)
            margin = self.epsilon * float(r_new.norm() + r.norm()) + (
                0.5 * self.L_r * self.epsilon ** 2
            )
            if value + margin <= at.value - beta * eta ** 2 * square:
                self.theta, self.z, self.solved = theta, self.root.z, True
                self.beta = beta * LONGER
                return True
        return False


@dataclass
class _Costs:
    """The costs since the last point of the curve, as in `engine.Step`."""

    n_g: int = 0
    n_vjp: int = 0
    forward_time: float = 0.0
    backward_time: float = 0.0
    n_cheap: int = 0

    def add(self, found, forward_time=0.0, backward_time=0.0):
        """Add evaluations, products and the time of a pass."""
        self.n_g += found.n_g
        self.n_vjp += found.n_vjp
        self.n_cheap += getattr(found, "n_cheap", 0)
        self.forward_time += forward_time
        self.backward_time += backward_time


class _InTheta:
    """Products with G = dg/dtheta and its transpose, at one z."""

    def __init__(self, equation, theta, z):
        with torch.enable_grad():
            self._out = (equation.g_theta or equation.g)(z.detach())
        self._theta = theta

    def of(self, v, create_graph=False):
        """Multiply v by Gᵀ, as one flat tensor."""
        return _flat(grad(
            self._out, self._theta, v, retain_graph=True, allow_unused=True,
            materialize_grads=True, create_graph=create_graph,
        ))

    def norm(self, v):
        """Estimate ‖G‖ by two power iterations from v."""
        norm = 0.0
        for _ in range(2):
            v = (v / v.norm()).detach().requires_grad_()
            with torch.enable_grad():
                product = self.of(v, create_graph=True)
            if not product.any():
                return 0.0
            u = product.detach() / product.detach().norm()
            v, = grad(product, v, u)
            norm = float(v.norm())
        return norm


def _loss(equation, z):
    """Return the outer loss and its gradient r."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        loss = equation.loss(leaf)
    return float(loss.detach()), grad(loss, leaf)[0]


def _flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])
