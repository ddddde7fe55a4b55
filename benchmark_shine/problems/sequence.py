"""The deep equilibrium Transformer, a language model.

Bai, Kolter and Koltun, *Deep equilibrium models*, NeurIPS 2019, section 4.2:
one block of Transformer-XL (Dai et al., ACL 2019), whose equilibrium takes
the place of a stack of such blocks.  z has one row per sequence: the states
of its memory and of its segment, T = memory + segment tokens of ``width``
numbers, (B, T width).

With e the embedding of the tokens and u = e Wᵤ + bᵤ the injection, f is

    q, k, v = z W + u                          (pre-norm: LN(z) W + u)
    s_ij    = (q_i + a)·k_j + (q_i + b)·r_{i-j},   j ≤ i, for each head
    y       = LN(z + softmax(s / √d) v Wₒ + bₒ)
    f       = LN(y + W₂ relu(W₁ y + b₁) + b₂)  (pre-norm: without LN)

with r_t the product of a matrix with sinusoids of t, and LN the layer
normalisation without parameters, as in the authors' code.

Notes
-----
Published, the memory is the equilibrium of the segment before, kept from an
earlier outer step (so of an older theta) and held fixed.  Then an equation
depends on what ran before, and a method that solves badly spoils the next
method's data.  Here memory and segment are one sequence, solved together from
z = 0, and the segment alone has targets: attention looks back only, so that a
memory does not depend on its segment.  An equation is a function of theta and
of the outer step, the hypergradient is exact in all of theta, and segments may
be drawn in any order.  What it costs is the solve of the memory; what it
lacks is the memory's own memory.
"""
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import layer_norm, pad

from ..checks import check_choice, check_integer, check_number
from .ngrams import bigram_loss, unigram_loss
from .embedding import Embedding, TiedSoftmax
from .equilibrium import EquilibriumNetwork
from .functional import norms, part, rescaled
from .recipe import Recipe


@dataclass(frozen=True)
class Configuration:
    """One Transformer and how it is trained, in numbers.

    Parameters
    ----------
    width : int
        Numbers per token, even.
    n_heads : int
        Of the attention; each has width / n_heads numbers.
    inner : int
        Width inside the feed-forward part.
    segment, memory : int
        Tokens of a sequence that have a target, and those before them.
    recipe : Recipe
    dropout, attention_dropout : float
        Share of the numbers dropped inside f (one mask for all tokens of a
        sequence), and of the attention's weights.  Both are drawn once a
        solve.
    pre_norm : bool
        Whether attention reads LN(z), and f does not end with LN.
    spread : float
        Standard deviation of the first weights that are not normalised.
    cutoffs : tuple of int
        Tokens, ordered by frequency, are embedded in groups that begin at 0
        and at these numbers.
    division : int
        Group i has width // divisionⁱ numbers per token, which a matrix
        takes to ``width``.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    width: int
    n_heads: int
    inner: int
    segment: int
    memory: int
    recipe: Recipe
    dropout: float = 0.0
    attention_dropout: float = 0.0
    pre_norm: bool = False
    spread: float = 0.01
    cutoffs: tuple[int, ...] = ()
    division: int = 4

    def __post_init__(self):
        for name, least in (
            ("width", 2), ("n_heads", 1), ("inner", 1), ("segment", 1),
            ("memory", 0), ("division", 1),
        ):
            check_integer(name, getattr(self, name), least, most=2 ** 16)
        if self.width % self.n_heads or self.width % 2:
            raise ValueError(
                f"width: must be even and a multiple of the {self.n_heads} "
                f"heads, got {self.width}"
            )
        for name in "dropout", "attention_dropout":
            check_number(name, getattr(self, name), least=0, below=1)
        check_choice("pre_norm", self.pre_norm, {False: None, True: None})

    @property
    def n_positions(self):
        """Tokens of a sequence, memory and segment."""
        return self.memory + self.segment

    @property
    def mask_sizes(self):
        """Entries of a dropout mask: the attention's, then three layers'."""
        weights = self.n_heads * self.n_positions ** 2
        return (
            weights if self.attention_dropout else 0,
            self.width, self.inner, self.width,
        )


# Minutes on one core, on characters or a few thousand words.
SMALL = Configuration(
    width=64, n_heads=4, inner=256, segment=48, memory=16, spread=0.05,
    recipe=Recipe(
        batch_size=16, epochs=1, rate=3e-3, warm_up=50, clip=1.0,
        forward_steps=12, backward_steps=13, tol=1e-3, unrolled_layers=4,
    ),
)


def _published(memory, n_forward, n_backward, **settings):
    """Return a recipe of the authors for WikiText-103, by what differs.

    locuslab/deq, ``DEQ-Sequence/wt103_deq_transformer*.sh``.  24 epochs are
    294,936 of their 300,000 steps.  ``tol`` is their relative 1e-3: with LN at
    the end of f, ‖f‖ = √D.
    """
    of_recipe = {
        name: settings.pop(name) for name in tuple(settings)
        if name.startswith("jacobian")
    }
    return Configuration(
        width=700, n_heads=10, inner=48_000, segment=150, memory=memory,
        cutoffs=(20_000, 40_000, 200_000), recipe=Recipe(
            batch_size=56, epochs=24, rate=2.5e-4, last_rate=0.0,
            warm_up=16_000, clip=0.25, forward_steps=n_forward,
            backward_steps=n_backward, tol=1e-3, unrolled_steps=32_000,
            unrolled_layers=2, **of_recipe,
        ), **settings,
    )


# Perplexity of WikiText-103, published: 23.8, and 23.1 with a memory of 300
# tokens; with Jacobian regularisation 23.8.  Of the recipes, this suite has
# not the increase of the penalty's weight by 0.1 every 35,000 (30,000) steps,
# the forward solves that are shorter by up to two steps at random, and dropout
# of embeddings, of positions and before the softmax.
CONFIGURATIONS = {
    "small": SMALL,
    "wt103": _published(150, 30, 35, dropout=0.05),
    "wt103_reg": _published(
        300, 12, 13, dropout=0.06, attention_dropout=0.01,
        jacobian_weight=1.9, jacobian_frequency=0.35,
    ),
    "wt103_preln": _published(
        300, 14, 14, dropout=0.06, attention_dropout=0.01, pre_norm=True,
        jacobian_weight=2.0, jacobian_frequency=0.4,
    ),
}


class _Stem(nn.Module):
    """Tokens (B, T) to the injection (B, T, 3 width)."""

    def __init__(self, n_tokens, config):
        super().__init__()
        self.embedding = Embedding(n_tokens, config)
        self.inject = nn.Linear(config.width, 3 * config.width)

    def forward(self, x):
        return self.inject(self.embedding(x))


def _normalised(x):
    return layer_norm(x, x.shape[-1:])


def _dropped(x, mask):
    return x if mask is None else x * mask[:, None]


def _shifted(scores):
    """Move scores by distance, T - 1 first, to scores by position.

    scores[…, i, T - 1 - (i - j)] goes to […, i, j], where j ≤ i; the rest has
    no meaning.  (Dai et al. 2019, appendix B.)
    """
    *batch, T, _ = scores.shape
    rows = pad(scores, (1, 0)).reshape(*batch, T + 1, T)
    return rows[..., 1:, :]


class _Cell(nn.Module):
    """f of the module's docstring.

    ``relative`` are the r_t of each head, (n_heads, d, T), T - 1 first: they
    are computed once per equation.
    """

    def __init__(self, config):
        super().__init__()
        width, n_heads = config.width, config.n_heads
        shape = n_heads, 1, width // n_heads
        self.config = config
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.relative = nn.Parameter(
            torch.empty(n_heads, shape[2], config.n_positions)
        )
        self.content = nn.Parameter(torch.empty(shape))
        self.position = nn.Parameter(torch.empty(shape))
        self.join = nn.Linear(width, width)
        self.widen = nn.Linear(width, config.inner)
        self.narrow = nn.Linear(config.inner, width)

    def forward(self, z, injection, mask):
        config = self.config
        x = z.view(len(z), config.n_positions, config.width)
        weights, *masks = (None,) * 4 if mask is None else mask.split(
            config.mask_sizes, dim=1
        )
        read = _normalised(x) if config.pre_norm else x
        y = self._attention(read, injection, weights)
        y = _normalised(x + _dropped(self.join(y), masks[0]))
        inside = _dropped(torch.relu(self.widen(y)), masks[1])
        y = y + _dropped(self.narrow(inside), masks[2])
        return (y if config.pre_norm else _normalised(y)).flatten(1)

    def _attention(self, x, injection, mask):
        B, T, width = x.shape
        q, k, v = (
            part.view(B, T, self.config.n_heads, -1).transpose(1, 2)
            for part in (self.attend(x) + injection).chunk(3, dim=-1)
        )
        scores = (q + self.content) @ k.transpose(-1, -2)
        scores = scores + _shifted((q + self.position) @ self.relative)
        later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
        weights = (scores / q.shape[-1] ** 0.5).softmax(dim=-1)
        if mask is not None and mask.numel():
            weights = weights * mask.view(weights.shape)
        return (weights @ v).transpose(1, 2).reshape(B, T, width)


class _Network(nn.Module):
    def __init__(self, n_tokens, config):
        super().__init__()
        self.stem = _Stem(n_tokens, config)
        self.cell = _Cell(config)
        self.head = TiedSoftmax(n_tokens, config)


def sinusoids(n_positions, width):
    """Compute the sinusoids of the distances T - 1 to 0, (T, width).

    Vaswani et al., *Attention is all you need*, NeurIPS 2017, section 3.5, of
    distances as Dai et al. 2019 have it, first all sines, then the cosines.
    """
    distances = torch.arange(n_positions - 1, -1, -1, dtype=torch.float64)
    powers = torch.arange(0, width, 2, dtype=torch.float64) / width
    angles = distances[:, None] * 1e4 ** -powers
    return torch.cat([angles.sin(), angles.cos()], dim=1)


# The cell's matrices, all of which are weight-normalised.
_MATRICES = ("attend", "positions", "join", "widen", "narrow")
_NORMALISED = {f"cell.{name}.weight" for name in _MATRICES}


class DEQTransformer(EquilibriumNetwork):
    """A deep equilibrium Transformer on segments of text; see the module.

    Parameters
    ----------
    train, test : Segments
        Of one vocabulary and of the configuration's lengths, see
        :mod:`benchmark_shine.data.text`.
    config : Configuration
        Its recipe holds unless another is given.
    recipe : Recipe or None
    seed, dtype, device
        See `EquilibriumNetwork`.

    Attributes
    ----------
    baselines : dict of float
        ``baseline_unigram`` and ``baseline_bigram``, losses on the same
        tokens as the test loss; see :mod:`benchmark_shine.problems.ngrams`.

    Raises
    ------
    ValueError
        Where a setting is out of its range.

    Notes
    -----
    All matrices of f are weight-normalised (gain v / ‖v‖ for each output),
    once per equation; the gains are in theta, named "….gain".
    """

    def __init__(self, train, test, config=SMALL, recipe=None, **settings):
        self.config = config
        super().__init__(
            config.n_positions * config.width, train, test,
            recipe or config.recipe, **settings,
        )
        previous, following = test.pairs()
        self.baselines = {
            "baseline_unigram": unigram_loss(
                train.tokens, following, train.n_tokens),
            "baseline_bigram": bigram_loss(
                train.tokens, previous, following, train.n_tokens),
        }

    def network(self):
        return _Network(self.train.n_tokens, self.config)

    def initial(self, network, generator):
        """Published: normal of deviation 0.01, biases 0.

        As in `MDEQ`, the authors' initialisation does not reach the
        weight-normalised matrices, which keep torch's default, uniform with
        variance 1 / (3 fan-in).
        """
        shapes = {
            name: p.shape for name, p in network.named_parameters()
            if not name.startswith("head.embedding.")
        }
        del shapes["cell.relative"]
        shapes["cell.positions.weight"] = (self.config.width,) * 2
        theta, gains = {}, {}
        for name, shape in shapes.items():
            value = torch.empty(shape)
            if name in _NORMALISED:
                bound = shape[1] ** -0.5
                value.uniform_(-bound, bound, generator=generator)
                gains[f"{name}.gain"] = norms(value)
            elif name.endswith("bias"):
                value.zero_()
            else:
                value.normal_(0, self.config.spread, generator=generator)
            theta[name] = value
        return theta | gains

    def effective(self, weights):
        found = {
            name: rescaled(v, weights.get(f"{name}.gain"))
            for name, v in weights.items() if not name.endswith(".gain")
        }
        matrix, config = found.pop("positions.weight"), self.config
        waves = sinusoids(config.n_positions, config.width).to(matrix)
        found["relative"] = (matrix @ waves.T).view(
            config.n_heads, -1, config.n_positions
        )
        return found

    def head_weights(self, theta):
        tied = {
            f"embedding.{name}": t
            for name, t in part("stem.embedding", theta).items()
        }
        return super().head_weights(theta) | tied

    def placed(self, x, like):
        return x.to(like.device)

    def mask(self, like, generator):
        config = self.config
        rates = config.attention_dropout, *(config.dropout,) * 3
        if not any(rates):
            return None
        return torch.cat([
            (torch.rand(len(like), size, generator=generator) >= p) / (1 - p)
            for size, p in zip(config.mask_sizes, rates)
        ], dim=1).to(like)

    def loss(self, network, z, y):
        return -network.head(z, y).mean()

    def tally(self, network, z, y):
        return -network.head(z, y).sum(), (network.head(z) == y).sum()

    def further_scores(self, test_loss):
        """Return the test loss in other units, and the baselines.

        Returns
        -------
        dict of float
            ``perplexity`` of a token; ``bits_per_character`` of the test
            text; and the ``baselines``, in nats per token as the test loss.
        """
        per_character = len(self.test.tokens) / self.test.n_characters
        return {
            "perplexity": math.exp(min(test_loss, 700.0)),
            "bits_per_character": test_loss / math.log(2) * per_character,
            **self.baselines,
        }
