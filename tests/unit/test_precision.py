"""Scale, NaN, autocast and torch.compile; what attach refuses."""
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from benchmark_shine.adjoint import (
    AdjointSystem, ConjugateGradient, Fallback, Gmres, GradientDescent,
    Guarded, JacobianFree, Neumann, NormRule, Nystrom, Phantom,
    QuasiNewtonSolve, Recycled, Refine, ResidualRule, Shine,
    guarded_by_sample, z_as_q0,
)
from benchmark_shine.adjoint.secant_steps import SecantSteps
from benchmark_shine.adjoint.subspace import Lanczos, TwoDirections
from benchmark_shine.equation import Equation
from benchmark_shine.implicit import TransposedJacobian, attach
from benchmark_shine.operators import LowRank, transposed
from benchmark_shine.precision import scale_of
from benchmark_shine.root import (
    LBFGS, AdjointBroyden, Anderson, Broyden, FixedPoint, LBFGSInverse,
)
from benchmark_shine.root.updates import Sr1Updates

from helpers.problems import normal, quadratic, relative, spd

D = 8
J = spd(np.geomspace(0.4, 1.6, D))
RHS = normal(1, 3, D)
Q0 = normal(2, 3, D)
BROYDEN = QuasiNewtonSolve(Broyden(30, 30))

ONE = {
    "cg": ConjugateGradient(),
    "cg, limited": ConjugateGradient(3),
    "cg, from z": ConjugateGradient(5, default_q0=z_as_q0),
    "pcg": ConjugateGradient(estimate=transposed),
    "recycled": Recycled(),
    "guarded": Guarded(0),
    "nystrom": Nystrom(D, 0.01),
    "qnbo": SecantSteps(15),
    "qnbo, sr1": SecantSteps(10, Sr1Updates),
    "lanczos": Lanczos(25, 10, 2.0),
    "two directions": TwoDirections(60),
    "shine": Shine(),
    "cg, refined": Refine(Shine(), ConjugateGradient(3)),
}
BATCH = {
    "gmres": Gmres(),
    "broyden": BROYDEN,
    "broyden, small": QuasiNewtonSolve(Broyden(5, 60)),
    "anderson": QuasiNewtonSolve(Anderson(max_iter=60)),
    "neumann": Neumann(60, 0),
    "neumann, scaled": Neumann(60, 5),
    "descent": GradientDescent(60),
    "phantom": Phantom(200, 0.5),
    "shine": Shine(),
    "refined": Refine(Shine(), BROYDEN),
    "guarded by sample": guarded_by_sample(1e-6, 60),
    "fallback": Fallback(BROYDEN, NormRule(9.0)),
}
EXACT = {
    "qnbo", "qnbo, sr1", "lanczos", "two directions", "cg", "pcg",
    "recycled", "guarded", "gmres", "broyden",
    "guarded by sample", "broyden, small", "anderson", "neumann",
    "neumann, scaled", "descent", "phantom", "fallback",
}
in_batches = pytest.mark.parametrize("name", BATCH)

# Where NaN may come from: a method that does not look there is left out.
PLACES = ["rhs", "rhs, warm", "q0", "product"]
BLIND = {("shine", "q0"), ("shine", "product")} | {
    (name, "q0") for name in (
        "qnbo", "qnbo, sr1",
        "cg, refined", "refined", "guarded by sample", "neumann",
        "neumann, scaled", "phantom", "nystrom",
    )
}


def cases(methods):
    return [
        (name, where) for name in methods for where in PLACES
        if (name, where) not in BLIND
    ]


def estimate(rhs):
    """An estimate of J⁻¹ from two pairs, for one system or for a batch."""
    if rhs.dim() == 1:
        B = LBFGSInverse(5, rhs)
        for s in normal(5, 2, D).to(rhs.dtype):
            B.push(s, J.to(rhs.dtype) @ s)
        return B
    L, R = normal(6, 2, len(rhs), 2, D).to(rhs.dtype)
    K = 50 * torch.eye(2, dtype=rhs.dtype).expand(len(rhs), 2, 2)
    return LowRank(L, R, K)


def system(rhs, q0=None, poison=None, tol=1e-6):
    """A system with the symmetric J; ``poison`` says where Jᵀ v is NaN."""
    matrix = J.to(rhs.dtype)

    def vjp(v):
        product = v @ matrix
        return product if poison is None else product + poison

    z = rhs.flip(-1)
    return AdjointSystem(vjp, rhs, estimate(rhs), z, q0, tol)


def solve(name, *args, **settings):
    """A method's q; one that remembers is made anew."""
    method = deepcopy({**ONE, **BATCH}[name])
    return method(system(*args, **settings))


# scale


@pytest.mark.parametrize("power", [-100, -40, 1, 40, 100])
@pytest.mark.parametrize("name", {**ONE, **BATCH})
def test_q_is_linear_to_the_last_bit(name, power):
    rhs = (RHS[0] if name in ONE and name not in BATCH else RHS).float()
    q = solve(name, rhs)
    scaled = solve(name, rhs * 2.0 ** power)
    assert torch.equal(scaled, q * 2.0 ** power)


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e-22, 1, 1e30, 1e37])
@pytest.mark.parametrize("name", sorted(EXACT))
def test_single_precision_at_any_scale(name, scale):
    rhs = (scale * (RHS[0] if name in ONE else RHS)).float()
    if rhs.dim() > 1:  # each row has its own
        rhs[1] = RHS[1].float()
    exact = rhs.double() @ torch.linalg.inv(J)
    q = solve(name, rhs).double()
    error = (q - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert (error < 2e-5).all()


def test_subnormal_numbers():
    rhs = torch.full((1, D), 1e-43)
    exact = rhs.double() @ torch.linalg.inv(J)
    found = solve("broyden", rhs).double()
    # of rhs itself remain two digits
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-45)


@pytest.mark.parametrize("name", {**ONE, **BATCH})
@pytest.mark.parametrize("start", [False, True], ids=["cold", "warm"])
def test_q_of_zero_is_zero(name, start):
    rhs, q0 = (0 * RHS, Q0) if name in BATCH else (0 * RHS[0], Q0[0])
    q = solve(name, rhs, q0 if start else None)
    assert torch.equal(q, rhs)
    if name in BATCH:
        rhs[0] = RHS[0]  # the zeros are some rows alone
        assert solve(name, rhs).any(dim=1).tolist() == [True, False, False]


@in_batches
def test_a_guess_far_too_long_is_left_out(name):
    q = solve(name, 1e-30 * RHS.float(), Q0.float())
    assert torch.equal(q, solve(name, 1e-30 * RHS.float(), 0 * Q0.float()))


@pytest.mark.parametrize("rule", [NormRule(9.0), ResidualRule()], ids=str)
@pytest.mark.parametrize("scale", [2.0 ** -100, 1.0, 2.0 ** 100])
def test_rules_judge_alike_at_any_scale(rule, scale):
    rhs = RHS.float()
    q = (RHS @ torch.linalg.inv(J)).float()
    q *= torch.tensor([[1.0], [50.0], [-50.0]])
    kept = rule(system(scale * rhs), scale * q)
    assert kept.tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_is_the_power_of_two_below(dtype):
    ends = torch.finfo(dtype)
    v = torch.tensor(
        [[0.0], [1.0], [-3.0], [ends.max], [ends.tiny], [ends.tiny / 16]],
        dtype=dtype,
    )
    scale = scale_of(v)
    assert scale[:3, 0].tolist() == [1, 1, 2]
    ratio = (v / scale).abs()[1:]
    assert ((ratio >= 1) & (ratio < 2)).all()
    assert scale_of(torch.tensor([torch.nan, torch.inf])).tolist() == [1]


# NaN


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name, where", cases(ONE))
def test_nan_stays_nan(name, where, bad):
    rhs, q0, poison = RHS[0].clone(), None, None
    if "rhs" in where:
        rhs[2], q0 = bad, Q0[0] if "warm" in where else None
    elif where == "q0":
        q0 = Q0[0].clone()
        q0[2] = bad
    else:
        poison = torch.zeros(D).double()
        poison[2] = bad
    q = solve(name, rhs, q0, poison)
    assert not q.isfinite().any()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name, where", cases(BATCH))
def test_nan_stays_in_its_row(name, where, bad):
    rhs, poison = RHS.clone(), None
    q0 = Q0.clone() if where in ("rhs, warm", "q0") else None
    healthy = solve(name, rhs, q0)
    if "rhs" in where:
        rhs[1, 2] = bad
    elif where == "q0":
        q0[1, 2] = bad
    else:
        poison = torch.zeros_like(RHS)
        poison[1, 2] = bad
    q = solve(name, rhs, q0, poison)
    if name == "fallback":
        expected = rhs[1]  # what the base has not got
        torch.testing.assert_close(q[1], expected, equal_nan=True)
    else:
        assert not q[1].isfinite().any()
    assert relative(q[[0, 2]], healthy[[0, 2]]) < 1e-5


def test_fallback_never_keeps_what_is_not_finite():
    q = RHS.clone()
    q[1, 0] = torch.inf
    keep = Fallback(lambda system: q, lambda system, q: torch.ones(3).bool())
    assert torch.equal(keep(system(RHS))[1], RHS[1])


@pytest.mark.parametrize("where", ["rhs", "product", "diagonal"])
def test_recycled_pairs_survive_a_solve_of_nan(where):
    diagonal = torch.ones(D).double()
    good = replace(system(RHS[0], 0 * Q0[0]), diagonal=diagonal)
    bad = {
        "rhs": replace(good, rhs=torch.nan * RHS[0]),
        "product": replace(good, vjp=lambda v: torch.nan * v),
        "diagonal": replace(
            good, vjp=lambda v: torch.nan * v, diagonal=torch.nan * diagonal
        ),
    }[where]
    n_products = []
    for sequence in (good, good), (good, bad, good):
        method, products = Recycled(3), []
        for problem in sequence:
            products.clear()
            q = method(replace(problem, vjp=lambda v, vjp=problem.vjp: (
                products.append(v) or vjp(v)
            )))
            assert q.isfinite().all() == (problem is good)
        n_products.append(len(products))
    assert relative(q, torch.linalg.solve(J, RHS[0])) < 1e-5
    # the pairs are those of the solve before; a diagonal of NaN takes them
    assert n_products[0] == n_products[1] or where == "diagonal"


# autocast


def amp():
    return torch.autocast("cpu", dtype=torch.bfloat16)


class Net:
    """g(z) = z - tanh(z Wᵀ + x); it notes whether autocast was on."""

    def __init__(self):
        W = normal(3, D, D).float()
        self.W = (0.5 * W / torch.linalg.matrix_norm(W, 2)).requires_grad_()
        self.x = normal(4, 3, D).float()
        self.modes = []

    def g(self, z):
        self.modes.append(torch.is_autocast_enabled("cpu"))
        return z - torch.tanh(linear(z, self.W) + self.x)

    def part(self, index):
        def g(z):
            self.modes.append(torch.is_autocast_enabled("cpu"))
            return z - torch.tanh(linear(z, self.W) + self.x[index])
        return g

    def full(self, z):
        with torch.autocast("cpu", enabled=False):
            return self.g(z)

    def equation(self, g, restrict=None):
        return Equation(
            g, lambda z: (z ** 2).sum(), torch.zeros(3, D), restrict=restrict
        )


FINDERS = [
    Broyden(40, 40), Broyden(4, 40), AdjointBroyden(40, 40),
    Anderson(max_iter=40), FixedPoint(40),
]


def gradient(net, g, finder, adjoint, forward, backward):
    with forward():
        root = finder(net.equation(g), atol=1e-5)
    with backward():
        loss = (attach(g, root, adjoint) ** 2).sum()
        return root.z, torch.autograd.grad(loss, net.W)[0]


@pytest.mark.parametrize("finder", FINDERS, ids=lambda f: str(f)[:25])
@pytest.mark.parametrize(
    "adjoint", [Gmres(), Neumann(9, 0), BROYDEN, Shine()], ids=str
)
def test_autocast_leaves_the_algebra_alone(finder, adjoint):
    net = Net()
    off = torch.enable_grad
    z, grad = gradient(net, net.full, finder, adjoint, off, off)
    for forward, backward in (amp, amp), (off, amp), (amp, off):
        z_amp, grad_amp = gradient(
            net, net.full, finder, adjoint, forward, backward
        )
        assert torch.equal(z_amp, z)
        # dg/dW itself is autograd's, after the adjoint
        assert relative(grad_amp, grad) < 1e-2
    assert net.modes and not any(net.modes)


@pytest.mark.parametrize("finder", FINDERS, ids=lambda f: str(f)[:25])
def test_g_is_evaluated_under_autocast_as_written(finder):
    net = Net()
    with amp():
        equation = net.equation(net.g, net.part)
        root = finder(equation, atol=1e-2)
        n_forward = len(net.modes)
        z = attach(net.g, root, Gmres(3))
    assert root.z.dtype == root.residuals.dtype == torch.float32
    # g's graph is made in the backward pass, outside of autocast
    (z ** 2).sum().backward()
    assert len(net.modes) == n_forward + 2 and all(net.modes)
    # weights that the finder has cast without a graph get their gradient
    assert net.W.grad.any()


def test_adjoints_leave_autocast_by_themselves():
    net, z, found = Net(), torch.zeros(3, D), []
    for context in torch.enable_grad, amp:
        vjp = TransposedJacobian(net.full, z)
        with context():
            found.append(BROYDEN(
                AdjointSystem(vjp, RHS.float(), None, z, None, 1e-5)
            ))
    assert torch.equal(*found)


def test_lbfgs_under_autocast():
    problem = quadratic(np.geomspace(0.4, 1.6, D))
    A, solution = problem.A.float(), problem.solution.float()

    def energy(z):
        gradient = A @ (z - solution)
        return float(0.5 * (z - solution) @ gradient), gradient

    equation = Equation(
        lambda z: energy(z)[1], torch.sum, torch.zeros(D), energy
    )
    with amp():
        root = LBFGS()(equation, atol=1e-2)
    assert root.z.dtype == (root.inverse @ root.z).dtype == torch.float32
    assert relative(root.inverse @ (A @ root.z), root.z) < 0.5


# torch.compile


def test_torch_compile_leaves_finders_and_attach_out():
    net, graphs = Net(), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def step(x):
        net.x = 2 * x
        root = Broyden(20, 20)(net.equation(net.g), atol=1e-5)
        return (attach(net.g, root, Gmres()) ** 2).sum()

    torch._dynamo.reset()
    compiled = torch.compile(step, backend=backend)
    for k in range(4):
        x = normal(k, 3, D).float()
        compiled(x).backward()
        found, net.W.grad = net.W.grad, None
        step(x).backward()
        assert torch.equal(found, net.W.grad)
        net.W.grad = None
    operations = {
        node.target for graph in graphs for node in graph.graph.nodes
    }
    # the user's own lines are compiled, no pairs and no Arnoldi vectors
    assert len(graphs) <= 3
    assert not {torch.bmm, torch.baddbmm, torch.tanh} & operations


# attach


def of_theta(adjoint):
    theta = torch.ones(3, requires_grad=True)
    root = SimpleNamespace(z=torch.ones(3), inverse=None)
    attach(lambda z: 2 * z - theta, root, adjoint, q0=torch.ones(3)).sum(
    ).backward()


@pytest.mark.parametrize("q, error, message", [
    (None, TypeError, "^q is None: .*`return q`"),
    (np.ones(3, "float32"), TypeError, "^q is a numpy.ndarray, not a torch"),
    ([1.0, 1.0, 1.0], TypeError, "^q is a builtins.list, not a torch"),
    (torch.ones(3).double(), ValueError, "float64.*not torch.float32"),
    (torch.ones(3, device="meta"), ValueError, "on meta, not .* on cpu"),
    (torch.ones(1, 3), ValueError, r"^q has shape \(1, 3\), not \(3,\)"),
    (torch.ones(()), ValueError, r"^q has shape \(\), not \(3,\)"),
    (torch.ones(3, requires_grad=True), ValueError, "return q.detach"),
], ids=str)
def test_a_q_of_no_use_is_refused(q, error, message):
    with pytest.raises(error, match=message) as caught:
        of_theta(lambda system: q)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["rhs", "z", "q0"])
def test_changes_in_place_are_refused(name):
    def adjoint(system):
        getattr(system, name).mul_(0.5)
        return 1 * system.rhs

    theta = torch.ones(3, requires_grad=True)
    root = SimpleNamespace(z=torch.ones(3), inverse=None)
    z = attach(lambda z: 2 * z - theta, root, adjoint, q0=torch.ones(3))
    with pytest.raises(ValueError, match=rf"^{name}: .*{name}.clone\(\)"):
        (z ** 2).sum().backward()


@pytest.mark.parametrize(
    "adjoint", [*BATCH.values(), JacobianFree(), Recycled()], ids=str
)
def test_our_adjoints_change_nothing_in_place(adjoint):
    rhs = RHS[0] if isinstance(adjoint, Recycled) else RHS
    problem = system(rhs.clone(), 0 * rhs + 1)
    adjoint(problem)
    assert problem.rhs._version == problem.q0._version == 0
    assert problem.z._version == 0


# a root whose memory was handed on


@pytest.mark.parametrize("finder", [
    *FINDERS[:-1], LBFGS(), LBFGS(keep_pairs=True),
], ids=lambda f: str(f)[:25])
def test_a_spent_root_is_refused(finder):
    net = Net()
    equation = net.equation(net.g)
    if isinstance(finder, LBFGS):
        equation = quadratic(np.geomspace(0.4, 1.6, D)).equation
    first = finder(equation, atol=1e-4)
    second = finder(equation, atol=1e-4, warm_start=first)
    product = second.inverse.T @ second.z
    with pytest.raises(RuntimeError, match="^warm_start: .*handed to another"):
        finder(equation, atol=1e-4, warm_start=first)
    # the newest root has kept its memory
    assert torch.equal(second.inverse.T @ second.z, product)
    for stale in first.inverse, first.inverse.T:  # which SHINE asks for
        with pytest.raises(RuntimeError, match="handed to another solve"):
            stale @ second.z
