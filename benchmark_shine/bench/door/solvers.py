"""Compare a solver's hypergradient with dense linear algebra."""
import math
from dataclasses import dataclass, replace

import torch
from benchopt.utils.parametrized_name_mixin import product_param
from sklearn.datasets import load_digits

from ...data.pictures import pictures
from ...data.simulate import regression, text
from ...data.tables import penalty_groups, split
from ...evaluate.dense import solve_densely
from ...evaluate.reference import errors_of
from ...implicit import Counted
from ...problems import Logistic, Ridge, SmallDEQ
from ..networks import DENSE
from .invalid import Invalid
from .watch import watched


def ridge():
    """Dense ridge regression, four penalties."""
    X, y = regression(120, 24, 0)
    return Ridge(*split(X, y, 0, 0.5), groups=penalty_groups(
        "consecutive", 4, X
    ))


def logistic():
    """Sparse logistic regression, four penalties."""
    X, y = text(160, 40, 0)
    return Logistic(*split(X, y, 0, 0.5), groups=penalty_groups(
        "consecutive", 4, X
    ))


def network():
    """A small equilibrium network in double precision, 8 samples a batch."""
    digits = load_digits()
    part = digits.images[:80, None].astype("uint8"), digits.target[:80]
    recipe = replace(
        DENSE, batch_size=8, epochs=1, forward_steps=100, backward_steps=100,
        tol=1e-10, backward_tol=1e-10,
    )
    return SmallDEQ(
        *pictures(part, part), recipe, d=12, contraction=0.9,
        dtype=torch.float64,
    )


PROBLEMS = {"ridge": ridge, "logistic": logistic, "network": network}
TIGHT = 1e-9  # inner and linear solves of the bi-level problems
N_CHECKED = 3  # outer steps


class Meter:
    """Count what is done with the equations that a problem draws from now on.

    ``n_g`` are evaluations of g, alone or with its energy; ``n_vjp`` products
    with Jᵀ; ``n_loss`` gradients of the loss in z.
    """

    def __init__(self, problem):
        self._draw, problem.draw = problem.draw, self.draw
        self._counted, self._losses, self._n_energies = [], [], 0

    def draw(self, theta, z, k):
        """Draw the problem's equation, with counters in its functions."""
        equation = self._draw(theta, z, k)

        def energy(z):
            self._n_energies += 1
            return equation.energy(z)

        def restrict(indices):
            return self._count(equation.restrict(indices))

        self._losses.append(Counted(equation.loss))
        return replace(
            equation, g=self._count(equation.g), loss=self._losses[-1],
            energy=energy if equation.energy else None,
            restrict=restrict if equation.restrict else None,
        )

    def _count(self, g):
        self._counted.append(Counted(g))
        return self._counted[-1]

    @property
    def n_g(self):
        return self._n_energies + sum(g.n_g for g in self._counted)

    @property
    def n_vjp(self):
        return sum(g.n_vjp for g in self._counted)

    @property
    def n_loss(self):
        return sum(loss.n_vjp for loss in self._losses)


@dataclass(frozen=True)
class Finding:
    """How a hypergradient compares; NaN where a method has no such thing.

    The counts are those of all outer steps.  ``seen`` is whether counters
    saw them: they do not if another library evaluates the problem.
    """

    cosine: float  # of q with the exact one
    q_error: float  # relative, as the next
    grad_error: float  # of dF/dtheta
    n_g: int
    n_vjp: int
    seen: bool

    def __str__(self):
        cells = (
            f"{'–' if math.isnan(x) else format(x, form):>{width}}"
            for x, form, width in (
                (self.cosine, ".2f", 13), (self.q_error, ".0e", 12),
                (self.grad_error, ".0e", 16),
            )
        )
        counts = "true" if self.seen else "not seen"
        return f"{''.join(cells)}{self.n_g:7d}{self.n_vjp:7d}  {counts}"


def compare(method, problem):
    """Make the `Finding` of a method's last hypergradient."""
    meter, step = Meter(problem), None
    for step, totals, _ in method.run(problem):
        counted = meter.n_g, meter.n_vjp  # before g is evaluated here
        if totals.n_outer:
            _check_step(step, totals, counted, meter.n_loss)
    if step is None or not totals.n_outer:
        raise Invalid("makes no outer step; yield the start, then one Step "
                      "for each outer step")
    truth = solve_densely(step.equation, step.theta, step.z)
    errors = {} if step.grads is None else errors_of(step, truth)
    return Finding(
        *(errors.get(name, math.nan) for name in (
            "q_cosine", "q_rel_error", "hypergrad_rel_error",
        )), totals.n_g, totals.n_vjp, any(counted)
    )


def _check_step(step, totals, counted, n_loss):
    """Insist on shapes, dtypes, finite numbers and true counts.

    ``counted`` are the evaluations and products that the counters have seen;
    where they have seen none, the method's are taken on trust.  A method may
    count the ``n_loss`` gradients of the loss as evaluations of g.
    """
    at, start = f"at outer step {totals.n_outer}", step.equation.start
    named = [("z", step.z, start)]
    if step.q is not None:
        named.append(("q", step.q, start))
    if step.grads is not None:
        named += [
            ("a gradient", *pair) for pair in zip(step.grads, step.theta)
        ]
    for name, tensor, like in named:
        if tensor.shape != like.shape or tensor.dtype != like.dtype:
            raise Invalid(f"{name} is {tensor.dtype} of shape "
                          f"{tuple(tensor.shape)}, not {like.dtype} of shape "
                          f"{tuple(like.shape)}, {at}")
        if not tensor.isfinite().all():
            raise Invalid(f"{name} is not finite {at}; look for a division by "
                          "zero or a step that is too long")
    if not math.isfinite(step.value):
        raise Invalid(f"the loss is {step.value} {at}; look for a step that "
                      "is too long")
    told, (n_g, n_vjp) = (totals.n_g, totals.n_vjp), counted
    if any(counted) and told not in (counted, (n_g + n_loss, n_vjp)):
        raise Invalid(
            f"reports {totals.n_g} evaluations of g and {totals.n_vjp} "
            f"products with Jᵀ {at}; they are {counted[0]} and {counted[1]}: "
            "count with benchmark_shine.implicit.Counted"
        )


HEADING = (
    f"  {'':10}{'cosine of q':>13}{'error of q':>12}{'error of dF/dθ':>16}"
    f"{'g':>7}{'Jᵀ':>7}  counts"
)


def check_truth(cls, source, say):
    """Compare a solver on each problem; return those that it is for.

    Raises
    ------
    Invalid
        Where a shape, a number or a count is wrong, the solver raises, or it
        is for no problem.
    """
    say("Hypergradient beside dense linear algebra, outer step "
        f"{N_CHECKED} of a run at tight tolerances:")
    say(HEADING)
    fits = set()
    variants, cls = list(product_param(cls.parameters)), watched(cls, source)
    for settings in variants:
        if len(variants) > 1:
            say(f"  {cls.get_instance(**settings)}")
        for name, build in PROBLEMS.items():
            solver = _tight(cls, settings, name)
            told = _check_one(solver, build(), name, source)
            if not isinstance(told, Finding):
                say(f"  {name:10}  left out: {told}")
                continue
            fits.add(name)
            say(f"  {name:10}{told}")
            if told.cosine < 0:
                say(f"  {name:10}  q points away: a wrong sign?")
    if not fits:
        raise Invalid(f"is for no problem; {told}",
                      source.place_of_name("Solver", "make_adjoint"))
    if fits == {"network"} and cls.test_config is None:
        raise Invalid(
            "is for networks alone: inherit NetworkSolver, or benchopt tests "
            "it on a bi-level problem", source.place_of_name("Solver"),
        )
    return fits


def _tight(cls, settings, name):
    """Make an instance whose solves are nearly as exact as dense ones."""
    if name != "network" and "tol" in settings:
        settings = settings | {"tol": TIGHT}
    return cls.get_instance(**settings)


def _check_one(solver, problem, name, source):
    """Return a Finding, or the sentence that leaves the problem out."""
    try:
        try:
            method = solver.method(problem, N_CHECKED)
        except ValueError as error:
            return str(error)
        return compare(method, problem)
    except (Exception, SystemExit) as error:  # the solver's own, of any kind
        place = source.place_of_name(
            "Solver", "bilevel", "network", "parameters")
        raise source.invalid(error, f"on {name}", place) from error
