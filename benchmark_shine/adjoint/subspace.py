"""Subspaces that live on from one outer step to the next: LancBiO, SubBiO."""
from dataclasses import dataclass

import torch

from ..checks import check_integer, check_number
from ..precision import scale_of
from .base import linear_in_rhs
from .series import spectral_norm


class _Basis:
    """Hold Lanczos vectors, their tridiagonal matrix, origin and image.

    Parameters
    ----------
    origin, image, r : Tensor, shape (d,)
        q, J q, and the residual that the first vector is along.
    """

    def __init__(self, origin, image, r):
        self.origin, self.image = origin, image
        self.rows, self._alphas, self._betas = [], [], []
        self._next = r / r.norm()

    @property
    def exhausted(self):
        """Whether the present J maps the space into itself."""
        return self._next is None

    def rescale(self, factor):
        """Multiply what is linear in rhs."""
        self.origin, self.image = factor * self.origin, factor * self.image

    def extend(self, vjp):
        """Make one step of Lanczos's recursion with the present J."""
        row = self._next
        p = vjp(row)
        # a row of less would be rounding, and not orthogonal to the others
        least = torch.finfo(p.dtype).eps ** 0.5 * p.norm()
        if self.rows:
            p = p - self._betas[-1] * self.rows[-1]
        alpha = row @ p
        p = p - alpha * row
        beta = p.norm()
        self.rows.append(row)
        self._alphas.append(alpha)
        self._betas.append(beta)
        self._next = p / beta if beta > least else None

    def solution(self, rhs):
        """Compute origin + Wᵀ T⁻¹ W (rhs - image)."""
        W, off = torch.stack(self.rows), self._betas[:-1]
        T = torch.diag(torch.stack(self._alphas))
        if off:
            off = torch.diag(torch.stack(off), 1)
            T = T + off + off.T
        if not T.isfinite().all():  # pinv would raise an error; q is NaN
            return self.origin
        T = torch.linalg.pinv(T, hermitian=True)
        return self.origin + W.T @ (T @ (W @ (rhs - self.image)))


class Lanczos:
    r"""Solve J q = rhs in a Krylov space that outer steps share, J symmetric.

    LancBiO: Yang, Gao and Yuan, *LancBiO: dynamic Lanczos-aided bilevel
    optimization via Krylov subspace*, ICLR 2025.  With an origin v and its
    image w = J v, and the rows of W and the tridiagonal T of Lanczos's
    recursion from rhs - w,

        q = v + Wᵀ T⁻¹ W (rhs - w).

    Each step adds a row to W and T by one product with the present J; what
    is there keeps what earlier J have said.  After m rows the method
    restarts: q becomes the origin, which takes one product more.

    With one J, the steps between two restarts are those of conjugate
    gradients, and d steps are exact.

    An instance remembers its basis: each run needs its own.

    Parameters
    ----------
    n_steps : int
        Lanczos steps per outer step, one product each.  Published: 1, in runs
        of 3,000 outer steps.
    longest : int
        Largest m.  Published: 10 for data cleaning.
    growth : float
        m is 1 at first, and grows by this factor at each restart.  Published:
        1.3, at every 50th of 3,000 outer steps.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    def __init__(self, n_steps=1, longest=10, growth=10.0):
        check_integer("backward_steps", n_steps, least=1)
        check_integer("longest", longest, least=1)
        check_number("growth", growth, least=1)
        self.n_steps, self.longest, self.growth = n_steps, longest, growth
        self._basis = self._scale = None
        self._m = 1.0

    def __call__(self, system):
        if system.q0 is None:
            self._basis, self._m = None, 1.0
        scale = scale_of(system.rhs)
        if self._basis is not None:
            self._basis.rescale(self._scale / scale)
        self._scale = scale
        return self._solve(system)

    @linear_in_rhs
    def _solve(self, system):
        rhs = system.rhs
        q = torch.zeros_like(rhs) if system.q0 is None else system.q0
        for _ in range(self.n_steps):
            if self._full and not self._restart(system.vjp, q, rhs):
                return q
            self._basis.extend(system.vjp)
            q = self._basis.solution(rhs)
        return q

    @property
    def _full(self):
        basis = self._basis
        return (
            basis is None or basis.exhausted or len(basis.rows) >= int(self._m)
        )

    def _restart(self, vjp, q, rhs):
        """Begin a basis at the residual of q; say whether there is any."""
        image = vjp(q) if q.any() else torch.zeros_like(q)
        r = rhs - image
        if self._basis is not None:
            self._m = min(self.growth * self._m, float(self.longest))
        self._basis = _Basis(q, image, r) if r.any() else None
        return self._basis is not None


@dataclass(frozen=True)
class TwoDirections:
    r"""Solve J q = rhs in span{rhs, (I - eta J) q}, J symmetric.

    SubBiO: Yang, Gao and Yuan, ICLR 2025.  The new q is the best one of that
    plane in the norm of J, from the last q on; eta is 1 / ‖J‖, with ‖J‖ by
    power iterations as in `Neumann`.

    Parameters
    ----------
    n_steps : int
        Steps, one product each, and two more in all: J rhs, and J q of the
        first q.  From q = 0, the first step takes J rhs alone.  Published: 1.
    n_power : int
        Power iterations; 0 takes ‖J‖ = 1.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    n_steps: int = 1
    n_power: int = 5

    def __post_init__(self):
        check_integer("backward_steps", self.n_steps, least=1)
        check_integer("n_power", self.n_power, least=0)

    @linear_in_rhs
    def __call__(self, system):
        rhs, vjp = system.rhs, system.vjp
        q = torch.zeros_like(rhs) if system.q0 is None else system.q0
        if not rhs.any():
            return q
        norm = spectral_norm(vjp, rhs, self.n_power)
        image = vjp(q) if q.any() else torch.zeros_like(q)
        S, JS = [rhs], [vjp(rhs)]
        for _ in range(self.n_steps):
            moved = q - image / norm
            if moved.any():
                S[1:], JS[1:] = [moved], [vjp(moved)]
            q, image = _best(torch.stack(S), torch.stack(JS), rhs)
        return q


def _best(S, JS, rhs):
    """Find the best q of span(S) in the norm of J, and J q."""
    sizes = S.norm(dim=1, keepdim=True)
    S, JS = S / sizes, JS / sizes
    K = S @ JS.T
    if not K.isfinite().all():  # pinv would raise an error; q is NaN
        return S[0], S[0]
    c = torch.linalg.pinv(0.5 * (K + K.T), hermitian=True) @ (S @ rhs)
    return c @ S, c @ JS
