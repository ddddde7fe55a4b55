# %% [markdown]
# # SHINE in your own training loop
#
# A deep equilibrium network in plain PyTorch: the hidden state solves
# z = f(z, x), that is g(z) = z − f(z, x) = 0, with a row of z per picture.
# Broyden's method finds z and leaves B ≈ J⁻¹ behind; `attach` makes z
# differentiable; the adjoint method says how. SHINE's q is Bᵀ ∂ℓ/∂z.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.nn.utils.parametrizations import orthogonal

from benchmark_shine.adjoint import Gmres, JacobianFree, Shine
from benchmark_shine.equation import Equation
from benchmark_shine.implicit import attach
from benchmark_shine.root import Broyden

torch.manual_seed(0)
x, y = (torch.tensor(data[:300]) for data in load_digits(return_X_y=True))
x = x.float() / 16


class TinyDEQ(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.inner = orthogonal(nn.Linear(d, d, bias=False))
        self.inject, self.head = nn.Linear(64, d), nn.Linear(d, 10)

    def f(self, z, x):  # a contraction in z, whatever the weights
        return torch.tanh(0.9 * self.inner(z) + self.inject(x))


# %% [markdown]
# The equation says what is solved, the loss what its root is for. The finder
# runs without gradients and keeps no graph, however many steps it takes.

# %%
find_root = Broyden(memory=30, max_iter=30)


def loss_of(model, adjoint):
    equation = Equation(
        g=lambda z: z - model.f(z, x),
        loss=lambda z: cross_entropy(model.head(z), y),
        start=torch.zeros(len(x), model.inner.in_features),
    )
    root = find_root(equation, atol=1e-5)
    z = attach(equation.g, root, adjoint)  # root.z, with gradients
    return equation.loss(z)


# %% [markdown]
# How good is the gradient? Beside the exact one, by GMRES on Jᵀ q = ∂ℓ/∂z:

# %%
def gradient(model, adjoint):
    parameters = list(model.parameters())
    grads = torch.autograd.grad(loss_of(model, adjoint), parameters)
    return torch.cat([grad.flatten() for grad in grads])


def compare(model):
    exact = gradient(model, Gmres(tol=1e-6))
    for adjoint in Shine(), JacobianFree():
        cosine = cosine_similarity(gradient(model, adjoint), exact, dim=0)
        print(f"{adjoint}: cosine with the exact gradient {cosine:.3f}")


model = TinyDEQ()
compare(model)

# %% [markdown]
# Training is as ever: nothing but `loss_of` knows of an implicit layer.

# %%
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(21):
    loss = loss_of(model, Shine())
    if step % 5 == 0:
        print(f"step {step}: loss {loss:.3f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
compare(model)

# %% [markdown]
# What to know:
#
# - z has shape (B, D), a system per row; flatten pictures and sequences, and
#   reshape inside f. In one of shape (D,) that minimises an energy, `LBFGS`
#   takes the place of `Broyden`; the equation's `energy(z)` then returns the
#   energy, a float, and its gradient g, a tensor.
# - A finder that runs out of steps, or into NaN, says so in `root.converged`
#   and `root.residual`, and returns its best z: look, before you trust q.
# - The result may be differentiated once; `create_graph=True` is refused.
# - g must be one function during a step: draw a dropout mask once, outside g,
#   and compute nothing under `torch.no_grad` that theta's gradient goes
#   through (`torch.nn.utils.parametrize.cached` around `find_root` would).
# - For OPA, `AdjointBroyden(60, 30, opa=Opa(every=lambda k: 5))` asks the
#   equation's `loss` for the direction. Handing it the last root as
#   `warm_start` reuses its memory and makes that root's inverse unusable: the
#   backward pass must be over.
# - `restrict=lambda index: lambda z: z - model.f(z, x[index])` in the equation
#   lets the finder leave out pictures that have converged.
# - Adjoint methods compose: `Refine(Shine(), QuasiNewtonSolve(Broyden(5, 5),
#   transposed, tol=0.0))`, with `transposed` of `benchmark_shine.operators`.
#   All of them: [methods.md](methods.md).
