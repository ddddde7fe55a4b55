"""Check a data set's problem against the derivatives that it claims."""
from dataclasses import dataclass

import torch
from benchopt.utils.parametrized_name_mixin import product_param
from torch import Tensor

from ...equation import Equation
from .invalid import Invalid

NEEDED = (
    "start() -> (theta, z)", "draw(theta, z, k) -> Equation",
)


@dataclass(frozen=True)
class Point:
    """An equation where it is checked.

    Parameters
    ----------
    equation : Equation
    theta : tuple of Tensor
        The leaves that the equation closes over.
    z : Tensor, shape (d,) or (B, d)
        Near the equation's start, but not at it.
    generator : torch.Generator
        Of the directions of finite differences.
    """

    equation: Equation
    theta: tuple[Tensor, ...]
    z: Tensor
    generator: torch.Generator

    def direction(self, like):
        """Draw a normal tensor of the shape, dtype and device of another."""
        drawn = torch.randn(like.shape, generator=self.generator)
        return drawn.to(like)

    @property
    def tolerance(self):
        """Relative error that rounding explains, with a margin."""
        return 1e-5 if self.z.dtype == torch.float64 else 5e-2

    def steps(self, u):
        """Points at both ends of a step along u, and its length."""
        eps = torch.finfo(self.z.dtype).eps
        h = eps ** (1 / 3) * max(1.0, float(self.z.norm() / u.norm()))
        return self.z + h * u, self.z - h * u, 2 * h


def point_of(problem, shift=0.0, seed=0):
    """Draw the first equation of a problem, at a theta near its first one.

    Parameters
    ----------
    problem
    shift : float
        How far theta is moved, in standard deviations of 1.
    seed : int
        Of the directions.

    Returns
    -------
    Point

    Raises
    ------
    Invalid
        Where `start` or `draw` does not return what it must.
    """
    theta, z = checked_start(problem)
    generator = torch.Generator().manual_seed(seed)
    moved = tuple(
        (t.detach() + shift * torch.randn(t.shape, generator=generator).to(t)
         ).requires_grad_() for t in theta
    )
    equation = problem.draw(moved, z, 1)
    if not isinstance(equation, Equation):
        raise Invalid(
            f"draw: returns {type(equation).__name__}, not an Equation; end "
            "it with `return Equation(g, loss, z, …)`"
        )
    if equation.start.shape != z.shape or equation.start.dtype != z.dtype:
        raise Invalid(
            f"draw: the equation's start is {_describe(equation.start)}, z of "
            f"start() {_describe(z)}; both must be alike"
        )
    z = z + 0.1 * torch.randn(z.shape, generator=generator).to(z)
    return Point(equation, moved, z, generator)


def _describe(tensor):
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def checked_start(problem):
    """First theta and z of a problem.

    Raises
    ------
    Invalid
        Where they are no tensors of floats, finite and the same each time.
    """
    lacks = [
        line for line in NEEDED
        if not callable(getattr(problem, line.partition("(")[0], None))
    ]
    if lacks:
        raise Invalid(
            f"{type(problem).__name__} lacks {' and '.join(lacks)}"
        )
    pair = problem.start()
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise Invalid("start: must return (theta, z), theta a tuple of "
                      "tensors")
    theta, z = pair
    if not (isinstance(theta, tuple) and theta):
        raise Invalid(f"start: theta is a {type(theta).__name__}, not a tuple "
                      "of tensors; write (theta,) for one")
    for name, tensor in _named(theta, z):
        if not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
            raise Invalid(f"start: {name} is no tensor of floats")
        if not tensor.isfinite().all():
            raise Invalid(f"start: {name} is not finite")
    if z.ndim not in (1, 2):
        raise Invalid(f"start: z has shape {tuple(z.shape)}; it must be (d,), "
                      "or (B, d) with a sample per row")
    return theta, z


def _named(theta, z):
    return *((f"theta[{i}]", t) for i, t in enumerate(theta)), ("z", z)


# Claims: each takes a Point, and returns a relative error or None where the
# equation claims no such thing.

def values(p):
    """Insist that g is like z and the loss a scalar, both finite."""
    copied = p.z.clone()
    for name, found in ("g", p.equation.g(p.z)), ("loss", p.equation.loss(
            p.z)):
        if not isinstance(found, Tensor):
            raise Invalid(f"{name}: returns {type(found).__name__}, not a "
                          "tensor")
        shape = p.z.shape if name == "g" else ()
        if found.shape != shape:
            raise Invalid(f"{name}: has shape {tuple(found.shape)}, not "
                          f"{tuple(shape)}")
        if found.dtype != p.z.dtype:
            raise Invalid(f"{name}: is {found.dtype}, z {p.z.dtype}")
        if not found.isfinite().all():
            raise Invalid(f"{name}: is not finite near the start")
    if not torch.equal(copied, p.z):
        raise Invalid("g or loss: changes z in place; work on a copy")


def jacobian(p):
    """Compare products with Jᵀ by reverse mode with differences of g."""
    u, v = p.direction(p.z), p.direction(p.z)
    with torch.no_grad():
        ahead, behind, length = p.steps(u)
        slope = (p.equation.g(ahead) - p.equation.g(behind)) / length
    product = _vjp(p.equation.g, p.z, v)
    return _error((product * u).sum(), (slope * v).sum(),
                  slope.norm() * v.norm())


def symmetry(p):
    """Compare J with Jᵀ, where g is the gradient of an energy."""
    if p.equation.energy is None:
        return None
    u, v = p.direction(p.z), p.direction(p.z)
    left = (_vjp(p.equation.g, p.z, v) * u).sum()
    right = _vjp(p.equation.g, p.z, u)
    return _error(left, (right * v).sum(), right.norm() * v.norm())


def loss_slope(p):
    """Compare dl/dz by reverse mode with differences of the loss."""
    u = p.direction(p.z)
    with torch.no_grad():
        ahead, behind, length = p.steps(u)
        slope = (p.equation.loss(ahead) - p.equation.loss(behind)) / length
    gradient = _gradient(p.equation.loss, p.z)
    return _error((gradient * u).sum(), slope, gradient.norm() * u.norm())


def energy_slope(p):
    """Compare g with differences of the energy whose gradient it is."""
    if p.equation.energy is None:
        return None
    u = p.direction(p.z)
    ahead, behind, length = p.steps(u)
    slope = (p.equation.energy(ahead)[0] - p.equation.energy(behind)[0]) / (
        length)
    g = p.equation.g(p.z).detach()
    return _error((g * u).sum(), torch.as_tensor(slope), g.norm() * u.norm())


def energy_gradient(p):
    """Compare the gradient that comes with the energy with g."""
    if p.equation.energy is None:
        return None
    _, gradient = p.equation.energy(p.z)
    return _distance(gradient, p.equation.g(p.z).detach())


def theta_slope(p):
    """Compare products with (dg/dtheta)ᵀ with differences of g in theta.

    Those of ``g_theta`` where there is one: the hypergradient takes them.
    """
    if p.equation.g_theta is None:
        return None
    v = p.direction(p.z)
    ours, exact = (
        torch.cat([part.flatten() for part in torch.autograd.grad(
            (g(p.z) * v).sum(), p.theta, allow_unused=True,
            materialize_grads=True,
        )]) for g in (p.equation.g_theta, p.equation.g)
    )
    return _distance(ours, exact)


def rows(p):
    """Compare the equation of some samples with their rows of g."""
    if p.equation.restrict is None:
        return None
    indices = torch.arange(len(p.z) - 1, -1, -2)
    part = p.equation.restrict(indices)(p.z[indices])
    return _distance(part.detach(), p.equation.g(p.z).detach()[indices])


def _vjp(g, z, v):
    z = z.detach().requires_grad_()
    return torch.autograd.grad(g(z), z, v)[0]


def _gradient(loss, z):
    z = z.detach().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


def _error(found, exact, scale):
    return float((found - exact).abs() / scale.clamp(min=1e-300))


def _distance(found, exact):
    if found.shape != exact.shape:
        return float("inf")
    return float((found - exact).norm() / exact.norm().clamp(min=1e-300))


# What is compared -> how, and what to look at where it fails.
CLAIMS = {
    "Jᵀ of g against differences of g": (
        jacobian, "g: its derivative in z is not that of its values; leave "
        "out detach, no_grad, rounding",
    ),
    "dl/dz against differences of the loss": (
        loss_slope, "loss: its derivative in z is not that of its values",
    ),
    "g against differences of the energy": (
        energy_slope, "energy: g is not its gradient; look for a factor or a "
        "term that only one of them has",
    ),
    "the energy's gradient against g": (
        energy_gradient, "energy: the gradient it returns is not g",
    ),
    "J against Jᵀ": (
        symmetry, "g: with an energy its Jacobian must be symmetric",
    ),
    "g_theta against g": (
        theta_slope, "g_theta: its derivative in theta is not that of g; "
        "leave g_theta out, or write the same term in both",
    ),
    "restrict against rows of g": (
        rows, "restrict: is not g of those samples alone; a sample must not "
        "depend on the others",
    ),
}


def check_claims(problem, say):
    """Compare everything that an equation claims, and print the errors.

    Parameters
    ----------
    problem : BilevelProblem or NetworkProblem
    say : callable, str -> None

    Raises
    ------
    Invalid
        Where one is false.
    """
    p = point_of(problem)
    values(p)
    for title, (measure, fault) in CLAIMS.items():
        error = measure(p)
        say(f"  {title:40}{'not claimed' if error is None else ''}"
            f"{'' if error is None else f'{error:.0e}'}")
        if error is not None and not error <= p.tolerance:
            raise Invalid(f"{fault} (relative error {error:.1e})")
    check_theta(p)
    check_diagonal(problem, say)
    check_repeats(problem)


def check_theta(p):
    """Insist that each part of theta has an effect on g or the loss."""
    grads = torch.autograd.grad(
        p.equation.g(p.z).square().sum() + p.equation.loss(p.z), p.theta,
        allow_unused=True, materialize_grads=True,
    )
    for i, grad in enumerate(grads):
        if not grad.isfinite().all():
            raise Invalid(f"theta[{i}]: the derivative in it is not finite")
        if not grad.any():
            raise Invalid(f"theta[{i}]: neither g nor the loss depends on it; "
                          "close over theta, not over a copy")


def check_diagonal(problem, say):
    """Insist that theta adds the diagonal to J and nothing else.

    Raises
    ------
    Invalid
        Where another theta changes J otherwise.
    """
    here, there = point_of(problem), point_of(problem, shift=0.5)
    title = "the diagonal against J at two theta"
    if here.equation.diagonal is None:
        say(f"  {title:40}not claimed")
        return
    v = here.direction(here.z)
    change = _vjp(there.equation.g, here.z, v) - _vjp(
        here.equation.g, here.z, v)
    told = (there.equation.diagonal - here.equation.diagonal).detach() * v
    error = _distance(change, told)
    say(f"  {title:40}{error:.0e}")
    if not error <= here.tolerance:
        raise Invalid(
            "diagonal: another theta changes J by something else; leave "
            f"diagonal out of the Equation (relative error {error:.1e})"
        )


def check_repeats(problem):
    """Insist that a problem keeps no state from one equation to the next.

    Raises
    ------
    Invalid
        Where the same (theta, z, k) gives another equation.
    """
    if differs(problem, problem):
        raise Invalid(
            "draw: the same theta, z and k give another equation; make each "
            "draw a function of the seed and k"
        )


def fingerprint(problem):
    """What a problem's first equation gives, as a tuple of tensors."""
    theta, z = problem.start()
    theta = tuple(t.detach().clone().requires_grad_() for t in theta)
    equation = problem.draw(theta, z, 1)
    probe = equation.start + 0.1
    with torch.no_grad():
        return (*theta, z, equation.g(probe), equation.loss(probe))


def differs(one, other):
    """Whether two problems differ at their first equation."""
    ours, theirs = fingerprint(one), fingerprint(other)
    return len(ours) != len(theirs) or any(
        a.shape != b.shape or not torch.equal(a, b)
        for a, b in zip(ours, theirs)
    )


def check_seeds(build, settings, say):
    """Insist that the seed decides what is random, and nothing else does.

    Parameters
    ----------
    build : callable, dict -> problem
    settings : dict
        Of the data set.
    say : callable, str -> None

    Raises
    ------
    Invalid
        Where one seed gives two problems, or two seeds give one.
    """
    if differs(build(settings), build(settings)):
        raise Invalid(
            "the same settings give two different problems; draw every "
            "random number from self.seed"
        )
    if "seed" not in settings:
        say("  seeds: no parameter seed, so a data set of one run a method")
        return
    if not differs(build(settings), build(settings | {"seed": 12345})):
        raise Invalid(
            "seed: has no effect; give it to the split and the problem's "
            "start, or leave the parameter out"
        )
    say("  seeds: one problem a seed")


def check_data(cls, source, say):
    """Check the problem of a data set.

    Parameters
    ----------
    cls : type
        Of the data set.
    source : Source
        Its file.
    say : callable, str -> None

    Returns
    -------
    BilevelProblem or NetworkProblem

    Raises
    ------
    Invalid
        With what is wrong.
    """
    settings = small_settings(cls)
    place = source.place_of_name("Dataset", "build", "_build", "get_data")

    def build(some):
        return _problem_of(cls.get_instance(**some))

    try:
        problem = build(settings)
        say(f"{type(problem).__name__} of {cls.get_instance(**settings)}, "
            "relative errors:")
        check_claims(problem, say)
        check_seeds(build, settings, say)
    except (Exception, SystemExit) as error:  # the file's own, of any kind
        raise source.invalid(error, place=place) from error
    return problem


def small_settings(cls):
    """The first of each list of values, those of `benchopt test` first."""
    small = getattr(cls, "test_parameters", None) or {}
    return next(product_param(cls.parameters)) | next(product_param(small))


def _problem_of(instance):
    data = instance.get_data()
    if not isinstance(data, dict) or "problem" not in data:
        raise Invalid(
            f"get_data returns {data!r:.60}; it must be a dict with a problem:"
            " inherit ProblemDataset and return the problem from build()"
        )
    if data["problem"] is None:
        raise Invalid(f"has no problem: {data.get('reason')}")
    return data["problem"]
