"""How good a network is, and how good a method is on a fixed batch of it."""
import math
from copy import deepcopy
from dataclasses import replace
from inspect import ismethod

import torch

from ..implicit import hypergradient
from ..problems.equilibrium import CALIBRATION, PROBE
from ..root import Broyden
from .measures import inner_residual
from .memory import peak_memory
from .reference import DIVERGED, measure_batch, n_affordable

# Training batches over which the statistics of batch normalisation are taken.
N_CALIBRATION = 10

# Entries of z in a batch of test data: more of them cost memory, fewer cost a
# GPU time.
N_SCORED = 2_000_000


def statistics(problem, theta, find_root):
    """Average the batch-normalisation statistics that go with theta.

    Means over ``N_CALIBRATION`` fixed training batches, each passed through
    stem and head as in training, but without dropout and augmentation.

    Returns
    -------
    dict of name and Tensor
        Empty for a network without such buffers.
    """
    total = problem.blank_buffers(theta[0])
    for index in range(N_CALIBRATION if total else 0):
        x, y = problem.fixed_batch(CALIBRATION, index)
        buffers = problem.blank_buffers(theta[0])
        network = problem.bind(theta, x, buffers=buffers)
        equation = problem.equation(network, x, y, 0)
        network.head(find_root(equation, problem.atol, 0.0, None).z)
        for name, buffer in buffers.items():
            total[name] += buffer
    return {name: t / N_CALIBRATION for name, t in total.items()}


@torch.no_grad()
def scores(problem, theta, find_root):
    """Score theta on the test data.

    The root finder is the same for every method that is compared.

    Returns
    -------
    dict of float
        ``test_loss``, the mean loss of a target; ``test_accuracy``, the
        share of targets that the network finds most likely;
        ``test_residual``, the root mean square of ‖g‖ / ‖z‖ over samples;
        and what the problem has as ``further_scores``.
    """
    theta = tuple(t.detach() for t in theta)
    buffers = statistics(problem, theta, find_root)
    loss = hits = squared = n_targets = 0.0
    everything = torch.arange(len(problem.test))
    size = max(problem.recipe.batch_size, N_SCORED // problem.d)
    for indices in everything.split(size):
        x, y = problem.test.batch(indices)
        network = problem.bind_for_scores(theta, x, buffers)
        equation = problem.equation(network, x, y, 0)
        z = find_root(equation, problem.atol, 0.0, None).z
        found = problem.tally(network, z, y.to(z.device))
        loss, hits = loss + float(found[0]), hits + float(found[1])
        n_targets += y.numel()
        gap = equation.g(z).norm(dim=1) / z.norm(dim=1)
        squared += float(gap.square().sum())
    return {
        "test_loss": loss / n_targets,
        "test_accuracy": hits / n_targets,
        "test_residual": math.sqrt(squared / len(problem.test)),
        **problem.further_scores(loss / n_targets),
    }


def probe(problem, theta, dtype=None, index=0):
    """Build a fixed equation to measure methods on.

    Its samples are from the training data, without dropout and augmentation:
    a batch, or as many as the reference can afford (`n_affordable`).

    Its precision is ``dtype``, or that of theta.
    """
    theta = tuple(t.to(dtype=dtype) for t in theta)
    x, y = problem.fixed_batch(PROBE, index, n_affordable(problem.d))
    return problem.equation(problem.bind(theta, x), x, y, 0)


def spectral_radius(g, z, generator, n_iter=50):
    """Estimate the spectral radius of df/dz = I - J at z, per sample.

    Power method on the transpose, which has the same eigenvalues.  The mean
    growth over the second half of the iterations is also right where the
    leading pair of eigenvalues is complex.

    Returns
    -------
    Tensor, shape (B,)
    """
    v = torch.randn(z.shape, generator=generator).to(z)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        residual = g(z)
    logs = []
    for _ in range(n_iter):
        v = v / v.norm(dim=1, keepdim=True)
        v = v - torch.autograd.grad(residual, z, v, retain_graph=True)[0]
        logs.append(v.norm(dim=1).log())
    return torch.stack(logs[n_iter // 2:]).mean(dim=0).exp()


def metrics(problem, step):
    """Score one step of an `EquilibriumNetwork`."""
    n_steps = problem.recipe.forward_steps
    return {
        **scores(problem, step.theta, Broyden(n_steps, n_steps)),
        "inner_residual": inner_residual(step),
    }


def compare(problem, step, method):
    """Compare a method's q at the step's theta, on a batch that is fixed.

    The method's ``find_root`` and ``adjoint`` are copied before they are
    asked, so that what they remember of the run stays as it is.  (Functions
    and bound methods have no copy; their state belongs into an object.)

    Returns
    -------
    dict of float
        ``peak_memory``: bytes that a forward solve and a backward pass need
        on the probe, beyond theta and the data.  ``spectral_radius`` of
        df/dz: the largest over the probe's samples.  The rest are those of
        `benchmark_shine.evaluate.reference.measure_batch`.  Of a step that
        has diverged, ``unmeasured`` alone.
    """
    if step.diverged:
        return {"unmeasured": float(DIVERGED)}
    theta, tol = step.theta, problem.recipe.backward_tol
    # of the step's number: what a finder does may depend on it
    equation, double = (
        replace(probe(problem, theta, dtype), step=max(1, step.equation.step))
        for dtype in (None, torch.float64)
    )
    find_root, adjoint = _copy(method.find_root), _copy(method.adjoint)

    def solve():
        root = find_root(equation, problem.atol, 0.0, None)
        return root, hypergradient(equation, theta, root, adjoint, tol=tol)

    (root, found), n_bytes = peak_memory(solve, problem.device)
    radius = spectral_radius(
        double.g, root.z.double(), problem.generator(PROBE, 0, 1)
    )
    return {
        "peak_memory": float(n_bytes),
        "spectral_radius": float(radius.max()),
        **measure_batch(found, double, theta, root.z),
    }


def _copy(part):
    # a bound method's object may hold a whole run
    return part if ismethod(part) else deepcopy(part)
