"""Check a data set's problem: shapes, claims, seeds."""
import torch
from benchopt.utils.parametrized_name_mixin import product_param
from torch import Tensor

from ...equation import Equation
from ...problems.base import BilevelProblem, Problem
from ..dataset import ProblemDataset
from .claims import CLAIMS, Point, distance, in_theta, vjp
from .invalid import Invalid


def point_of(problem, source, shift=0.0):
    """Draw the first equation of a problem, at a theta near its first one.

    Parameters
    ----------
    problem : Problem
    source : Source
    shift : float
        How far theta is moved, in standard normal steps.

    Returns
    -------
    Point

    Raises
    ------
    Invalid
        Where `start` or `draw` does not return what it must.
    """
    theta, z = checked_start(
        problem, source.place_of_function(type(problem).start))
    generator = torch.Generator().manual_seed(0)
    moved = tuple(
        (t.detach() + shift * torch.randn(t.shape, generator=generator).to(t)
         ).requires_grad_() for t in theta
    )
    equation = problem.draw(moved, z, 1)
    place = source.place_of_function(type(problem).draw)
    if not isinstance(equation, Equation):
        raise Invalid(
            f"draw: returns {type(equation).__name__}, not an Equation; end "
            "it with `return Equation(g, loss, z)`", place
        )
    if isinstance(problem, BilevelProblem) and equation.energy is None:
        raise Invalid("draw: the Equation lacks energy, which L-BFGS "
                      "minimises in bi-level problems; give it", place)
    if equation.start.shape != z.shape or equation.start.dtype != z.dtype:
        raise Invalid(
            f"draw: the equation's start is {_describe(equation.start)}, z of "
            f"start() {_describe(z)}; both must be alike", place
        )
    z = z + 0.1 * torch.randn(z.shape, generator=generator).to(z)
    return Point(equation, moved, z, generator)


def _describe(tensor):
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"


def checked_start(problem, place):
    """Return the first theta and z of a problem.

    Raises
    ------
    Invalid
        Where they are no tensors of floats, finite and the same each time.
    """
    pair = problem.start()
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise Invalid("start: must return (theta, z), theta a tuple of "
                      "tensors", place)
    theta, z = pair
    if not (isinstance(theta, tuple) and theta):
        raise Invalid(f"start: theta is a {type(theta).__name__}, not a tuple "
                      "of tensors; write (theta,) for one", place)
    for name, tensor in _named(theta, z):
        if not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
            raise Invalid(f"start: {name} is no tensor of floats", place)
        if not tensor.isfinite().all():
            raise Invalid(f"start: {name} is not finite", place)
    if z.ndim not in (1, 2):
        raise Invalid(f"start: z has shape {tuple(z.shape)}; it must be (d,), "
                      "or (B, d) with a sample per row", place)
    return theta, z


def _named(theta, z):
    return *((f"theta[{i}]", t) for i, t in enumerate(theta)), ("z", z)


def check_values(p, name, place):
    """Insist that g is like z, and the loss a scalar, and both finite.

    Raises
    ------
    Invalid
        Where they are not, or change z.
    """
    copied = p.z.clone()
    found = getattr(p.equation, name)(p.z)
    shape = p.z.shape if name == "g" else ()
    if not isinstance(found, Tensor):
        raise Invalid(f"{name}: returns {type(found).__name__}, not a tensor; "
                      "end it with a return", place)
    if found.shape != shape:
        raise Invalid(f"{name}: has shape {tuple(found.shape)}, not "
                      f"{tuple(shape)}; "
                      + ("it must be like z" if shape else "sum it up"), place)
    if found.dtype != p.z.dtype:
        raise Invalid(f"{name}: is {found.dtype}, z {p.z.dtype}; make data "
                      "and theta of the dtype of z", place)
    if not found.isfinite().all():
        raise Invalid(f"{name}: is not finite near the start; look for NaN in "
                      "the data, a division by zero or a logarithm", place)
    if not torch.equal(copied, p.z):
        raise Invalid(f"{name}: changes z in place; work on a copy", place)
    _check_twice(p, name, place)


def _check_twice(p, name, place):
    """Insist on a function that can be differentiated again and again."""
    z = p.z.clone().requires_grad_()
    try:
        for _ in range(2):
            found = getattr(p.equation, name)(z + 0).sum()
            slopes = found.requires_grad and torch.autograd.grad(
                found, (z, *p.theta), allow_unused=True)
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise Invalid(
            f"{name}: can be differentiated only once; compute what depends "
            "on theta inside of it", place,
        ) from error
    if not slopes or slopes[0] is None:
        raise Invalid(f"{name}: has no derivative in z; leave out detach, "
                      "no_grad and NumPy", place)


def check_claims(problem, source, say):
    """Compare everything that an equation claims, and print the errors.

    Parameters
    ----------
    problem : BilevelProblem or NetworkProblem
    source : Source
        Of the file that is named where a claim is false.
    say : callable, str -> None

    Raises
    ------
    Invalid
        Where one is.
    """
    p = point_of(problem, source)
    for name in "g", "loss":  # the others are checked against these
        check_values(p, name, _place(source, problem, p.equation, name))
    for title, (measure, name, fault) in CLAIMS.items():
        error = measure(p)
        _tell(say, title, error)
        if error is not None and not error <= p.tolerance:
            raise Invalid(
                f"{name}: {fault} (relative error {error:.0e})",
                _place(source, problem, p.equation, name),
            )
    if differs(problem.start(), problem.start()):
        raise Invalid(
            "start: gives another theta or z each time; draw them from a "
            "generator with the seed",
            source.place_of_function(type(problem).start),
        )
    place = _place(source, problem, p.equation)
    check_theta(p, place)
    check_diagonal(problem, source, place, say)
    if differs(first_values(problem), first_values(problem)):
        raise Invalid(
            "draw: the same theta, z and k give another equation; make it a "
            "function of those and the seed", place,
        )


def _place(source, problem, equation, name=None):
    """Name the line of a function of the equation, or else of draw."""
    function = getattr(equation, name) if name else None
    return (function and source.place_of_function(function)) or (
        source.place_of_function(type(problem).draw)
    )


def _tell(say, title, error):
    say(f"  {title:40}" + ("–" if error is None else f"{error:.0e}"))


def check_theta(p, place):
    """Insist that each part of theta has an effect on g or the loss."""
    number = p.equation.g(p.z).square().sum() + p.equation.loss(p.z)
    grads = in_theta(number, p)
    for i, grad in enumerate(grads):
        if not grad.isfinite().all():
            raise Invalid(f"theta[{i}]: the derivative in it is not finite; "
                          "look for a square root or a logarithm of 0", place)
        if not grad.any():
            raise Invalid(f"theta[{i}]: neither g nor the loss depends on it; "
                          "close over theta, not over a copy", place)


def check_diagonal(problem, source, place, say):
    """Insist that theta adds the diagonal to J and nothing else.

    Raises
    ------
    Invalid
        Where another theta changes J otherwise.
    """
    here, there = point_of(problem, source), point_of(problem, source, 0.5)
    title = "the diagonal against J at two theta"
    if here.equation.diagonal is None:
        _tell(say, title, None)
        return
    v = here.direction(here.z)
    change = vjp(there.equation.g, here.z, v) - vjp(
        here.equation.g, here.z, v)
    told = (there.equation.diagonal - here.equation.diagonal).detach() * v
    error = distance(change, told)
    _tell(say, title, error)
    if not error <= here.tolerance:
        raise Invalid(
            "diagonal: another theta changes J by something else; leave "
            f"diagonal out of the Equation (relative error {error:.0e})",
            place,
        )


def first_values(problem):
    """Return the first theta and z, and g and the loss near there."""
    theta, z = problem.start()
    theta = tuple(t.detach().clone().requires_grad_() for t in theta)
    equation = problem.draw(theta, z, 1)
    near = equation.start + 0.1
    with torch.no_grad():
        return theta, z, equation.g(near), equation.loss(near)


def differs(ours, theirs):
    """Return whether two nested lists of tensors differ anywhere."""
    if isinstance(ours, Tensor):
        return ours.shape != theirs.shape or not torch.equal(ours, theirs)
    return len(ours) != len(theirs) or any(map(differs, ours, theirs))


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
    def values(seed):
        return first_values(build(settings | seed))

    if differs(values({}), values({})):
        raise Invalid(
            "the same settings give two different problems; draw every "
            "random number from self.seed"
        )
    if "seed" not in settings:
        say("  seeds: no parameter seed, so a data set of one run a method")
        return
    if not differs(values({}), values({"seed": 12345})):
        raise Invalid(
            "seed: has no effect; give it to the split and the problem's "
            "start, or leave the parameter out"
        )
    say("  seeds: one problem a seed")


def check_run(problem, solver, say):
    """Insist that a method gets through some outer steps.

    Raises
    ------
    Invalid
        Where it diverges.
    """
    steps = [point.step for point in solver.method(problem, 3).run(problem)]
    if steps[-1].diverged:
        raise Invalid(
            f"{solver.name} diverges in outer step {steps[-1].n_outer}; give "
            "z a start or theta a penalty from which a root can be found"
        )
    say(f"  three outer steps of {solver.name}: F from {steps[0].value:.3g} "
        f"to {steps[-1].value:.3g}")


def check_data(cls, source, solver, say):
    """Check the problem of a data set.

    Parameters
    ----------
    cls : type
        Of the data set.
    source : Source
        Its file.
    solver : Lifecycle
        A method to run on the problem.
    say : callable, str -> None

    Raises
    ------
    Invalid
        With what is wrong.
    """
    settings = small_settings(cls)
    place = source.place_of_name("Dataset", "build", "get_data")

    def build(some):
        return problem_of(cls.get_instance(**some))

    try:
        problem = build(settings)
        say(f"{type(problem).__name__} of {cls.get_instance(**settings)}, "
            "relative errors:")
        check_claims(problem, source, say)
        check_seeds(build, settings, say)
        check_run(problem, solver, say)
    except (Exception, SystemExit) as error:  # the file's own, of any kind
        raise source.invalid(error, place=place) from error


def small_settings(cls):
    """Return a value for each parameter, that of the tests if any."""
    small = getattr(cls, "test_parameters", None) or {}
    return next(product_param(cls.parameters)) | next(product_param(small))


def problem_of(instance):
    """Build the problem of a data set, without hiding what it raises.

    Raises
    ------
    Invalid
        Where there is none.
    """
    if isinstance(instance, ProblemDataset):
        problem, reason = instance.build(*instance.sources()), None
        told = "build() returns"
    else:
        data = instance.get_data()
        problem, reason = data.get("problem"), data.get("reason")
        told = "get_data() has"
    if not isinstance(problem, Problem):
        raise Invalid(
            f"{told} {type(problem).__name__}, not a problem "
            f"({reason or 'no reason is given'}); return one of "
            "benchmark_shine.problems, or of a class that inherits "
            "BilevelProblem or NetworkProblem"
        )
    return problem
