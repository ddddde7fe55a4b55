"""Anderson acceleration, whose multisecant matrix estimates J⁻¹."""
from dataclasses import dataclass

from ..checks import check_number
from ..operators import rows_times
from .pairs import Pairs, PairsFinder, PairsState


class AndersonState(PairsState):
    """Hold Anderson's state: B is the multisecant matrix of the pairs."""

    def __init__(self, pairs, ridge):
        super().__init__(pairs)
        self.ridge = ridge

    def step(self):
        Rg = rows_times(self.pairs.R(), self.g)
        return self.pairs.step(self.g, Rg)

    def update(self, samples, z, s):
        before, self.g = self.g, samples.g(z)
        self.pairs.push_multisecant(s, before, self.g, self.ridge)
        return self.g


@dataclass(frozen=True)
class Anderson(PairsFinder):
    r"""Solve g(z) = 0 by Anderson acceleration of type II, by sample.

    With f = z - g and the newest m steps S and changes Y of g as columns
    (Walker and Ni, *Anderson acceleration for fixed-point iterations*, SIAM
    J. Numer. Anal. 2011, section 2; their f is our -g),

        gamma = argmin ‖g - Y gamma‖,   z+ = z - beta g - (S - beta Y) gamma.

    As gamma = Y⁺ g, this is a quasi-Newton step z+ = z - B g with

        B = beta I + (S - beta Y) Y⁺,   Y⁺ = (YᵀY)⁻¹ Yᵀ,

    the matrix nearest to beta I (Frobenius norm) that satisfies all m secant
    conditions B Y = S (Fang and Saad, *Two classes of multisecant methods for
    nonlinear acceleration*, Numer. Linear Algebra Appl. 2009, section 2.3).
    So SHINE works from Anderson acceleration too: its q is Bᵀ dl/dz.

    Parameters
    ----------
    memory : int
        m, the window; 2 m B D numbers.
    max_iter : int
        Most steps.
    beta : float
        Mixing.
    ridge : float
        Added to the diagonal of YᵀY, whose columns have been given unit norm.
        It keeps gamma bounded where they are nearly dependent, and violates
        the secant conditions by about as much.

    Raises
    ------
    ValueError
        Where a setting is out of its range, or (on a call) the start is not
        of shape (B, D), float32 or float64.
    """

    memory: int = 5
    max_iter: int = 50
    beta: float = 1.0
    ridge: float = 1e-8

    def __post_init__(self):
        super().__post_init__()
        check_number("beta", self.beta, above=0, most=1)
        check_number("ridge", self.ridge, least=0)

    def init_state(self, equation, warm_start):
        memory = max(1, min(self.memory, self.max_iter))
        pairs = Pairs.reuse(warm_start, memory, equation.start, self.beta)
        return AndersonState(pairs, self.ridge)
