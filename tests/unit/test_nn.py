"""DEQ: gradients, shapes, masks held per solve, fallback, what it reports."""
import copy
import gc
import pickle
import weakref

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from benchmark_shine import (
    LBFGS, AdjointBroyden, Anderson, Broyden, ConjugateGradient, FixedPoint,
    Gmres, JacobianFree, Opa, Refine, Shine,
)
from benchmark_shine.nn import DEQ, Dropout

EXACT = Gmres(tol=1e-12)


class Conv(nn.Module):
    """A contraction of pictures (B, 2, 4, 4)."""

    def __init__(self, *inside):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.inside = nn.Sequential(*inside)
        self.n_calls, self.rows = 0, []

    def forward(self, z, x):
        self.n_calls += 1
        self.rows.append(len(z))
        return torch.tanh(0.4 * self.conv(self.inside(z)) + x)


class Multiscale(nn.Module):
    """A contraction of a pair, (B, 2, 4, 4) and (B, 3)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.linear = nn.Linear(2, 3)

    def forward(self, z, x):
        fine, coarse = z
        up = 0.3 * coarse.mean(dim=1).view(-1, 1, 1, 1)
        down = self.linear(fine.mean(dim=(2, 3)))
        return type(z)([
            torch.tanh(0.3 * self.conv(fine) + up + x["picture"]),
            torch.tanh(0.5 * down + x["rest"][0]),
        ])


PAIR = ((2, 4, 4), (3,))
PICTURE = 6, 2, 4, 4


def leaf(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def picture(dtype=torch.float64):
    """A cell and its input."""
    return Conv().to(dtype), leaf(*PICTURE, dtype=dtype)


def parts(z):
    return [z] if isinstance(z, torch.Tensor) else list(z)


def loss(z):
    return sum((t.square() * (1 + t)).sum() for t in parts(z))


def gradients(z, cell, *leaves):
    return torch.autograd.grad(loss(z), [*cell.parameters(), *leaves])


# Gradients

@pytest.mark.parametrize("shape", [None, PAIR, list(PAIR)])
@pytest.mark.parametrize(
    "finder", [Broyden(40, 40), AdjointBroyden(40, 40), Anderson(5, 100),
               FixedPoint(100)]
)
def test_gradients_are_those_of_the_unrolled_cell(shape, finder):
    cell, x = picture()
    leaves = [x]
    if shape:
        cell, leaves = Multiscale().double(), [x, leaf(6, 3)]
        x = {"picture": x, "rest": (leaves[1], None)}
    deq = DEQ(cell, finder, EXACT, tol=1e-10, shape=shape)
    z = deq(x)
    assert type(z) is (torch.Tensor if shape is None else type(shape))
    unrolled = type(z)(torch.zeros_like(t) for t in z) if shape else 0 * x
    for _ in range(200):
        unrolled = cell(unrolled, x)
    for ours, theirs in zip(parts(z), parts(unrolled)):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)
    for ours, theirs in zip(
        gradients(z, cell, *leaves), gradients(unrolled, cell, *leaves)
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    assert deq.info.converged.all() and not deq.info.jacobian_free.any()


def test_gradients_of_what_the_cell_closes_over():
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x = torch.rand(3, 2, dtype=torch.float64)
    deq = DEQ(lambda z, x: scale * z + x, adjoint=EXACT, tol=1e-12)
    z = deq(x)  # x / (1 - scale)
    gradient, = torch.autograd.grad(z.sum(), scale)
    torch.testing.assert_close(gradient, (4 * x).sum().detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_z_has_the_dtype_of_the_cell(dtype):
    cell, x = picture(dtype)
    z = DEQ(cell, tol=1e-2)(x)
    assert z.dtype == dtype
    assert all(g.isfinite().all() for g in gradients(z, cell, x))


def test_autocast_is_that_of_the_forward_pass():
    cell, x = picture(torch.float32)
    deq = DEQ(cell, adjoint=Gmres(tol=1e-3), tol=1e-2)
    exact = gradients(deq(x), cell, x)
    seen = []
    cell.conv.register_forward_hook(
        lambda module, given, z: seen.append(z.dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        z = deq(x)
        # a backward pass may be inside, too
        inside = gradients(deq(x), cell, x)
    assert z.dtype == torch.float32
    outside = gradients(z, cell, x)
    torch.testing.assert_close(inside, outside)
    torch.testing.assert_close(outside, exact, rtol=0.1, atol=0.1)
    assert set(seen) == {torch.bfloat16}


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of Dynamo
def test_a_compiled_cell_and_a_compiled_model():
    cell, x = picture()
    adjoint, graphs = Refine(Shine(), EXACT), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    expected = gradients(DEQ(cell, adjoint=adjoint)(x), cell, x)
    for model, compiled in (
        (torch.compile(DEQ(cell, adjoint=adjoint), backend=backend), False),
        (DEQ(torch.compile(cell, backend=backend), adjoint=adjoint), True),
    ):
        found = gradients(model(x), cell, x)
        torch.testing.assert_close(found, expected)
        assert bool(graphs) == compiled  # the cell, never the layer


# The start

def test_a_warm_start_takes_fewer_evaluations():
    cell, x = picture()
    deq = DEQ(cell, tol=1e-6, start="last")
    z = deq(x)
    cold, near = deq.info.n_f, x + 1e-4
    deq(near)
    assert deq.info.n_f < cold - 2
    deq(x, z0=torch.zeros_like(x))
    assert deq.info.n_f == cold
    deq(x, z0=z)
    assert deq.info.n_f == 2  # the start, and the graph
    deq(x[:3])  # of another shape: from zero
    assert deq.info.n_f > 4


# One function during a solve

def test_a_mask_is_held_per_solve():
    drop = Dropout(0.5)
    cell = Conv(drop).double()
    x = torch.randn(6, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    seen = []
    drop.register_forward_hook(
        lambda module, given, z: seen.append(module.held[module])
    )
    deq = DEQ(cell, adjoint=EXACT, tol=1e-10)
    z = deq(x)
    deq(x)
    loss(z).backward()  # with the mask of the first
    masks = {id(mask): mask for mask in seen}
    assert len(masks) == 2 and len(seen) == cell.n_calls
    one, other = masks.values()
    assert seen[-1] is one and (one != other).any()
    assert set(one.unique().tolist()) == {0.0, 2.0}
    assert drop.held is None
    deq.eval()
    torch.testing.assert_close(deq(x), deq(x), rtol=0, atol=0)


def test_dropout_outside_of_a_layer():
    drop, z = Dropout(0.5), torch.ones(10, 40)
    assert (drop(z) != drop(z)).any()
    assert drop.eval()(z).equal(z)
    with pytest.raises(ValueError, match="p: must be a number"):
        Dropout(1.0)


def test_one_mask_serves_one_place():
    drop, x = Dropout(), torch.ones(2, 3)
    cell = DEQ(lambda z, x: 0.1 * drop(drop(z).T).T + x)
    cell.drop = drop
    with pytest.raises(ValueError, match="one module in each place"):
        cell(x)


@pytest.mark.parametrize("module", [
    nn.Dropout(0.1), nn.Dropout2d(0.1), nn.GRU(4, 4, 2, dropout=0.1),
    nn.MultiheadAttention(4, 2, dropout=0.1),
])
def test_fresh_draws_are_refused(module):
    deq, x = DEQ(Conv(module)), torch.zeros(PICTURE)
    with pytest.raises(ValueError, match=r"cell\.inside\.0: .* draws anew"):
        deq(x)
    if isinstance(module, nn.Dropout):
        module.eval()
        deq(x)


def test_samples_that_depend_on_each_other_need_to_be_said_so():
    def cell(z, x):  # the first sample is done at once, the second moves on
        return 0.9 * z * x + x + 0.5 * z.sum(0) * (1 - x)

    x = torch.tensor([[0.0], [1.0]], requires_grad=True)
    with pytest.raises(ValueError, match="set separable=False"):
        DEQ(cell)(x)
    deq = DEQ(cell, adjoint=EXACT, separable=False, tol=1e-6)
    z = deq(x)
    torch.testing.assert_close(z, torch.full((2, 1), 10.0))
    assert deq.info.converged.tolist() == [True]


@pytest.mark.parametrize("grad", [True, False])
def test_running_statistics_move_once_per_call(grad):
    norm = nn.BatchNorm2d(2)
    cell, x = Conv(norm), torch.randn(6, 2, 4, 4)
    deq = DEQ(cell, adjoint=EXACT, fallback=None, tol=1e-5)
    with torch.set_grad_enabled(grad):
        z = deq(x)
    if grad:
        loss(z).backward()
    assert norm.num_batches_tracked == 1 and deq.info.n_f == cell.n_calls
    torch.testing.assert_close(
        norm.running_mean, 0.1 * z.mean(dim=(0, 2, 3)).detach()
    )
    assert norm.track_running_stats and set(cell.rows) == {6}


@pytest.mark.parametrize("parametrise", [weight_norm, spectral_norm])
def test_parametrised_weights_are_computed_once(parametrise):
    cell, x = picture()
    parametrise(cell.conv)
    calls = []
    cell.conv.parametrizations.weight[0].register_forward_hook(
        lambda *_: calls.append(1)
    )
    z = DEQ(cell, tol=1e-8)(x)
    assert len(calls) == 1
    loss(z).backward()
    assert all(p.grad.abs().sum() > 0 for p in cell.parameters())


def test_samples_that_are_done_are_left_out():
    x = torch.randn(6, 2, 4, 4, dtype=torch.float64)
    x[0] = 100.0  # f is constant there
    cell, found = Conv().double(), []
    for separable in True, False:
        cell.rows.clear()
        found.append(DEQ(cell, tol=1e-10, separable=separable)(x))
        assert (min(cell.rows) < 6) == separable
    torch.testing.assert_close(*found)


# Fallback

@pytest.mark.parametrize("fallback", [JacobianFree(), None])
def test_fallback_is_exactly_where_a_sample_did_not_converge(fallback):
    slope = torch.tensor([[0.0], [0.5], [0.9], [-0.9]], dtype=torch.float64)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    deq = DEQ(
        lambda z, x: x[0] * z + x[1], FixedPoint(5), EXACT, tol=0.05,
        fallback=fallback, shape=(3,),
    )
    deq((slope, x)).sum().backward()
    # the residual is slope ** 5 of the first one
    assert deq.info.converged.tolist() == [True, True, False, False]
    expected = 1 / (1 - slope)
    if fallback:
        expected[2:] = 1
    assert deq.info.jacobian_free.equal((expected == 1).flatten())
    torch.testing.assert_close(x.grad, expected.expand(4, 3))


def test_a_q_that_is_too_long_is_turned_down():
    # J = 1 - slope: q is 2 and 1.25 times as long as dl/dz
    slope = torch.tensor([[0.5], [0.2]], dtype=torch.float64).expand(2, 3)
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    deq = DEQ(lambda z, x: x[0] * z + x[1], tol=1e-9, shape=(3,))
    deq((slope, x)).sum().backward()
    assert deq.info.converged.all()
    assert deq.info.jacobian_free.tolist() == [True, False]
    torch.testing.assert_close(x.grad[:, 0].tolist(), [1.0, 1.25])


# What it reports

@pytest.mark.parametrize("finder", [Broyden(9, 9), AdjointBroyden(9, 9)])
@pytest.mark.parametrize("adjoint", [Shine(), Gmres(3, tol=0.0)])
def test_the_record_is_true(finder, adjoint):
    cell, x = picture()
    deq = DEQ(cell, finder, adjoint, tol=1e-4)
    z = deq(x)
    info = deq.info
    assert info.n_f == cell.n_calls and info.jacobian_free is None
    assert info.n_vjp == (finder == AdjointBroyden(9, 9)) * max(info.steps)
    before = info.n_vjp
    gradients(z, cell, x)
    assert info.n_f == cell.n_calls
    assert info.n_vjp - before == (0 if adjoint == Shine() else 3)
    with torch.no_grad():
        residual = (z - cell(z, x)).flatten(1).norm(dim=1)
        first = cell(torch.zeros_like(x), x).flatten(1).norm(dim=1)
    torch.testing.assert_close(info.residual, residual)
    torch.testing.assert_close(info.relative_residual, residual / first)
    assert info.converged.equal(residual <= 1e-4 * first)
    assert not any(
        value.requires_grad for value in vars(info).values()
        if isinstance(value, torch.Tensor)
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_bad_numbers_are_named(value):
    cell, x = picture()
    x = x.detach().clone()
    x[4, 0, 0, 0] = value
    cell.conv.bias.data += 0 if value != value else -value
    with pytest.raises(ValueError, match=r"samples \[.*4.*\]"):
        DEQ(cell)(x)


X = torch.zeros(2, 3)


@pytest.mark.parametrize("settings, given, message", [
    ({"finder": LBFGS()}, (X,), "finder: LBFGS"),
    ({"adjoint": ConjugateGradient()}, (X,), "adjoint: ConjugateGradient"),
    ({"tol": -1.0}, (X,), "tol: must be"),
    ({"start": "warm"}, (X,), "start: 'warm' is not one of zero, last"),
    ({}, ((X, X),), "shape: is needed"),
    ({"shape": (4,)}, (X,), r"cell: returned \[\(2, 3\)\] for .*2, 4"),
    ({}, ((X, X[:1]), X), "x: needs a row per sample"),
    ({}, (X, X.long()), "z0: needs a floating dtype"),
    ({"finder": AdjointBroyden(opa=Opa(lambda k: 1))}, (X,), "use attach"),
])
def test_what_is_unfit_is_refused(settings, given, message):
    def cell(z, x):
        return 0.5 * torch.tanh(X) + 0.1 * z.sum() + 1

    with pytest.raises(ValueError, match=message):
        DEQ(cell, **settings)(*given)


# A module like any other

def test_without_gradients_there_is_no_graph():
    cell, x = picture()
    deq = DEQ(cell).eval()
    with torch.no_grad():
        z = deq(x)
    assert z.grad_fn is None and deq.info.n_f == cell.n_calls
    expected = deq(x)
    assert expected.requires_grad and deq.info.n_f == cell.n_calls / 2 + 0.5
    assert z.equal(expected)


def test_copies_and_pickles():
    cell, x = picture()
    deq = DEQ(cell, start="last")
    deq(x)
    twins = [copy.deepcopy(deq), pickle.loads(pickle.dumps(deq))]
    assert len(deq.state_dict()) == 2  # weight and bias
    expected = deq(x)
    for twin in twins:
        assert twin(x).equal(expected)
        assert twin.cell.conv.weight is not cell.conv.weight


def test_nothing_is_left_of_a_step():
    cell, x = picture()
    deq = DEQ(cell, start="last", adjoint=EXACT)
    gc.disable()  # there are no cycles either
    try:
        injection = 1 * x
        z = deq(injection)
        graph = [weakref.ref(injection), weakref.ref(z)]
        loss(z).backward()
        del injection, z
        assert [ref() for ref in graph] == [None, None]
    finally:
        gc.enable()


# Digits

class Block(nn.Module):
    """Two convolutions with group norm, the injection between them."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(width, width, 3, padding=1, bias=False)
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for _ in range(3))

    def forward(self, z, x):
        one, two, three = self.norms
        u = self.second(one(torch.relu(self.first(z))))
        return three(torch.relu(z + two(x + u)))


def test_a_convolutional_network_learns_digits():
    pictures, labels = load_digits(return_X_y=True)
    x = torch.tensor(pictures).float().view(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    deq = DEQ(Block(16), Broyden(20, 20), tol=1e-2)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.GroupNorm(4, 16), deq,
        nn.Flatten(), nn.Linear(16 * 64, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    some_fell_back = []
    for _ in range(2):
        for batch in torch.randperm(1000).split(50):
            optimizer.zero_grad()
            cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
            some_fell_back.append(deq.info.jacobian_free.any())
    with torch.no_grad():
        accuracy = (model(x[1000:]).argmax(1) == y[1000:]).float().mean()
    assert accuracy > 0.9 and any(some_fell_back)
