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

    ``shift`` is how far theta is moved, in standard normal steps.
    """
    theta, z = checked_start(
        problem, source.place_of_function(type(problem).start))
    generator = torch.Generator().manual_seed(0)
    moved = tuple(
        (t.detach() + shift * torch.randn(t.shape, generator=generator).to(t)
         ).requires_grad_() for t in theta
    )
    equation = problem.draw(moved, z, 1)
    _check_equation(equation, problem, z, _place(source, problem))
    z = z + 0.1 * torch.randn(z.shape, generator=generator).to(z)
    return Point(equation, moved, z, generator)


def checked_start(problem, place):
    """Return the first theta and z, if they are finite tensors of floats."""
    theta, z = problem.start()
    if not (isinstance(theta, tuple) and theta):
        raise Invalid(f"start: theta is a {type(theta).__name__}, not a tuple "
                      "of tensors; write (theta,) for one", place)
    for name, tensor in (("z", z), *(("theta", t) for t in theta)):
        if not (isinstance(tensor, Tensor) and tensor.is_floating_point()
                and tensor.isfinite().all()):
            raise Invalid(f"start: {name} is no tensor of finite floats",
                          place)
    if z.ndim not in (1, 2):
        raise Invalid(f"start: z has shape {tuple(z.shape)}; it must be (d,), "
                      "or (B, d) with a sample per row", place)
    return theta, z


def _check_equation(equation, problem, z, place):
    if not isinstance(equation, Equation):
        raise Invalid(
            f"draw: returns {type(equation).__name__}, not an Equation; end "
            "it with `return Equation(g, loss, z)`", place
        )
    if isinstance(problem, BilevelProblem) and equation.energy is None:
        raise Invalid("draw: the Equation lacks energy, which L-BFGS "
                      "minimises in bi-level problems; give it", place)
    start = equation.start
    if start.shape != z.shape or start.dtype != z.dtype:
        raise Invalid(
            f"draw: the equation's start is {start.dtype} of shape "
            f"{tuple(start.shape)}, z of start() {z.dtype} of shape "
            f"{tuple(z.shape)}; both must be alike", place
        )


def check_values(p, name, place):
    """Insist that g is like z, and the loss a scalar, and both finite."""
    copied, function = p.z.clone(), getattr(p.equation, name)
    found = function(p.z)
    shape = p.z.shape if name == "g" else ()
    if not isinstance(found, Tensor):
        raise Invalid(f"{name}: returns {type(found).__name__}, not a tensor; "
                      "end it with a return", place)
    if found.shape != shape or found.dtype != p.z.dtype:
        raise Invalid(f"{name}: is {found.dtype} of shape "
                      f"{tuple(found.shape)}, not {p.z.dtype} of shape "
                      f"{tuple(shape)}; sum a loss up, and make data and "
                      "theta of the dtype of z", place)
    if not found.isfinite().all():
        raise Invalid(f"{name}: is not finite near the start; look for NaN in "
                      "the data, a division by zero or a logarithm", place)
    if not torch.equal(copied, p.z):
        raise Invalid(f"{name}: changes z in place; work on a copy", place)
    z = p.z.clone().requires_grad_()
    try:
        for _ in range(2):
            torch.autograd.grad(
                function(z + 0).sum(), (z, *p.theta), allow_unused=True)
    except RuntimeError as error:
        raise Invalid(
            f"{name}: cannot be differentiated again and again; leave out "
            "detach, no_grad and NumPy, and compute what depends on theta "
            "inside of it", place,
        ) from error


def check_claims(problem, source, say):
    """Compare everything that an equation claims, and print the errors."""
    p = point_of(problem, source)
    for name in "g", "loss":  # the others are checked against these
        check_values(p, name, _place(source, problem, p.equation, name))
    for title, (measure, name, fault) in CLAIMS.items():
        _judge(title, measure(p), p.tolerance, f"{name}: {fault}",
               _place(source, problem, p.equation, name), say)
    place = _place(source, problem)
    check_theta(p, place)
    _judge(
        "the diagonal against J at two theta",
        diagonal_error(p, point_of(problem, source, 0.5)), p.tolerance,
        "diagonal: another theta changes J by something else; leave "
        "diagonal out of the Equation", place, say,
    )


def _place(source, problem, equation=None, name=None):
    """Name the line of a function of the equation, or else of draw."""
    function = getattr(equation, name) if name else None
    return (function and source.place_of_function(function)) or (
        source.place_of_function(type(problem).draw)
    )


def _judge(title, error, tolerance, fault, place, say):
    say(f"  {title:40}" + ("–" if error is None else f"{error:.0e}"))
    if error is not None and not error <= tolerance:
        raise Invalid(f"{fault} (relative error {error:.0e})", place)


def check_theta(p, place):
    """Insist that each part of theta has an effect on g or the loss."""
    number = p.equation.g(p.z).square().sum() + p.equation.loss(p.z)
    for i, grad in enumerate(in_theta(number, p)):
        if not grad.isfinite().all():
            raise Invalid(f"theta[{i}]: the derivative in it is not finite; "
                          "look for a square root or a logarithm of 0", place)
        if not grad.any():
            raise Invalid(f"theta[{i}]: neither g nor the loss depends on it; "
                          "close over theta, not over a copy", place)


def diagonal_error(here, there):
    """Compare what theta adds to J at two points with the diagonals."""
    if here.equation.diagonal is None:
        return None
    v = here.direction()
    change = vjp(there.equation.g, here.z, v) - vjp(
        here.equation.g, here.z, v)
    told = (there.equation.diagonal - here.equation.diagonal).detach() * v
    return distance(change, told)


def first_values(problem):
    """Return the first theta and z, and g and the loss near there."""
    theta, z = problem.start()
    theta = tuple(t.detach().clone().requires_grad_() for t in theta)
    equation = problem.draw(theta, z, 1)
    near = equation.start + 0.1
    with torch.no_grad():
        return *theta, z, equation.g(near), equation.loss(near)


def check_seeds(build, settings, say):
    """Insist that the seed decides what is random, and nothing else does."""
    def differ(one, other):
        ours, theirs = first_values(one), first_values(other)
        return not all(map(torch.equal, ours, theirs))

    problem = build(settings)
    if differ(problem, problem) or differ(problem, build(settings)):
        raise Invalid(
            "the same settings give two different problems, or start() and "
            "draw() other values each time; draw every random number from a "
            "generator with the seed"
        )
    if "seed" not in settings:
        say("  seeds: no parameter seed, so a data set of one run a method")
        return
    if not differ(problem, build(settings | {"seed": 12345})):
        raise Invalid(
            "seed: has no effect; give it to the split and the problem's "
            "start, or leave the parameter out"
        )
    say("  seeds: one problem a seed")


def check_run(problem, solver, say):
    """Insist that a method gets through some outer steps."""
    steps = [point.step for point in solver.method(problem, 3).run(problem)]
    if steps[-1].diverged:
        raise Invalid(
            f"{solver.name} diverges within three outer steps; give z a start "
            "or theta a penalty from which a root can be found"
        )
    say(f"  three outer steps of {solver.name}: F from {steps[0].value:.3g} "
        f"to {steps[-1].value:.3g}")


def check_data(cls, source, solver, say):
    """Check the problem of a data set; ``solver`` is to run on it.

    Raises
    ------
    Invalid
        With what is wrong.
    """
    small = getattr(cls, "test_parameters", None) or {}
    settings = next(product_param(cls.parameters)) | next(
        product_param(small))

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
        place = source.place_of_name("Dataset", "build", "get_data")
        raise source.invalid(error, place=place) from error


def problem_of(instance):
    """Build the problem of a data set, without hiding what it raises."""
    if isinstance(instance, ProblemDataset):
        problem, reason = instance.build(*instance.sources()), None
    else:
        data = instance.get_data()
        problem, reason = data.get("problem"), data.get("reason")
    if not isinstance(problem, Problem):
        raise Invalid(
            f"build() or get_data() returns {type(problem).__name__}, not a "
            f"problem ({reason or 'no reason is given'}); return one of "
            "benchmark_shine.problems, or of a class that inherits "
            "BilevelProblem or NetworkProblem"
        )
    return problem
