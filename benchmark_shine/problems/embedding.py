"""Embed tokens, and give tokens probabilities, with the same tables.

Tokens are numbered by frequency.  Where there are ``cutoffs``, they are in
groups that begin at 0 and at these numbers, and the rarer a group is, the
fewer numbers a token has in its table: a matrix takes them to the model's
width.  Without cutoffs there is one table, and there are no matrices.

The modules take a `benchmark_shine.problems.sequence.Configuration`.
"""
import torch
from torch import nn
from torch.nn.functional import embedding, linear, log_softmax


def groups_of(n_tokens, cutoffs):
    """Return where each group of tokens begins and ends."""
    edges = [0, *(c for c in cutoffs if c < n_tokens), n_tokens]
    return list(zip(edges, edges[1:]))


class Embedding(nn.Module):
    """Tables of the groups of tokens, and matrices to the model's width.

    Baevski and Auli, *Adaptive input representations*, ICLR 2019, section 3.
    """

    def __init__(self, n_tokens, config):
        super().__init__()
        self.groups = groups_of(n_tokens, config.cutoffs)
        self.width = config.width
        widths = [
            max(1, config.width // config.division ** i)
            for i in range(len(self.groups))
        ]
        self.tables = nn.ParameterList(
            torch.empty(high - low, n)
            for (low, high), n in zip(self.groups, widths)
        )
        self.projections = nn.ParameterList(
            torch.empty(config.width, n) for n in widths if config.cutoffs
        )

    def forward(self, x):
        """Embed tokens (...,) to (..., width)."""
        if not self.projections:
            return self.width ** 0.5 * embedding(x, self.tables[0])
        found = self.tables[0].new_zeros(*x.shape, self.width)
        for i, (low, high) in enumerate(self.groups):
            inside = (low <= x) & (x < high)
            found[inside] = linear(
                embedding(x[inside] - low, self.tables[i]),
                self.projections[i],
            )
        return self.width ** 0.5 * found


class TiedSoftmax(nn.Module):
    """Log-probabilities of tokens by a softmax tied to the embedding.

    Where the tokens are in groups, a token of the first competes with the
    other groups as a whole, and within its group with the rest of it (Grave
    et al., *Efficient softmax approximation for GPUs*, ICML 2017, section 4).
    """

    def __init__(self, n_tokens, config):
        super().__init__()
        self.config = config
        self.embedding = Embedding(n_tokens, config)
        n_clusters, width = len(self.embedding.groups) - 1, config.width
        self._n_tokens = n_tokens
        self.bias = nn.Parameter(torch.empty(n_tokens + n_clusters))
        self.clusters = self.projection = None
        if n_clusters:
            self.clusters = nn.Parameter(torch.empty(n_clusters, width))
        if config.cutoffs:
            self.projection = nn.Parameter(torch.empty(width, width))

    def forward(self, z, y=None):
        """Compute log p of tokens y (B, segment), or find the likeliest.

        Without y the result is the most likely token at each place.
        """
        config = self.config
        h = z.view(len(z), config.n_positions, config.width)
        h = h[:, config.memory:].flatten(0, 1)
        found = self._best(h) if y is None else self._log_p(h, y.flatten())
        return found.view(len(z), config.segment)

    def _first(self, h):
        """Compute log p of the tokens of group 0, then of other groups."""
        (_, size), *_ = self.embedding.groups
        if self.projection is not None:
            h = h @ self.projection
        scores = h @ self.embedding.tables[0].T + self.bias[:size]
        if self.clusters is not None:
            others = h @ self.clusters.T + self.bias[self._n_tokens:]
            scores = torch.cat([scores, others], dim=1)
        return log_softmax(scores, dim=1)

    def _within(self, h, i):
        """Compute log p of the tokens of group i, given that group."""
        low, high = self.embedding.groups[i]
        scores = h @ self.embedding.projections[i]
        scores = scores @ self.embedding.tables[i].T
        return log_softmax(scores + self.bias[low:high], dim=1)

    def _log_p(self, h, y):
        first, (_, *others) = self._first(h), self.embedding.groups
        size = first.shape[1] - len(others)
        column = y
        for i, (low, _) in enumerate(others):
            column = column.where(y < low, size + i)
        found = first.gather(1, column[:, None])[:, 0]
        for i, (low, high) in enumerate(others, 1):
            rows = ((low <= y) & (y < high)).nonzero()[:, 0]
            inside = self._within(h[rows], i)
            found = found.index_add(
                0, rows, inside.gather(1, (y[rows] - low)[:, None])[:, 0]
            )
        return found

    def _best(self, h):
        first, (_, *others) = self._first(h), self.embedding.groups
        size = first.shape[1] - len(others)
        top, token = first[:, :size].max(dim=1)
        for i, (low, _) in enumerate(others, 1):
            value, index = self._within(h, i).max(dim=1)
            value = value + first[:, size + i - 1]
            token = token.where(top >= value, index + low)
            top = top.maximum(value)
        return token
