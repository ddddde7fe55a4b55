"""Losses of counting models of text: what a network has to be better than."""
import torch


def unigram_loss(train, following, n_tokens):
    """Compute the loss of a model that knows the tokens' frequencies alone.

    A token that was counted c times among n has (c + 1) / (n + n_tokens).

    Parameters
    ----------
    train : Tensor of int64, shape (n,)
        Tokens that are counted.
    following : Tensor of int64, shape (m,)
        Tokens whose probabilities are asked for.
    n_tokens : int
        Size of the vocabulary.

    Returns
    -------
    float
        Mean of -log p, in nats per token.
    """
    counts = torch.bincount(train, minlength=n_tokens).double() + 1
    return -float((counts[following] / counts.sum()).log().mean())


def bigram_probabilities(train, previous, following, n_tokens):
    """Compute p(following | previous) by interpolated Kneser-Ney smoothing.

    Chen and Goodman, *An empirical study of smoothing techniques for language
    modeling*, Computer Speech and Language 13, 1999, section 2.7, with one
    discount, D = n₁ / (n₁ + 2 n₂).  The number of tokens after which another
    has been seen, of which the lower order is made, is one too high, so that
    nothing is impossible.

    Parameters and units are those of `bigram_loss`.

    Returns
    -------
    Tensor of float64, shape (m,)
    """
    kinds, counts = torch.unique(
        train[:-1] * n_tokens + train[1:], return_counts=True
    )
    once, twice = (int((counts == n).sum()) for n in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    first, second = kinds // n_tokens, kinds % n_tokens
    total = torch.bincount(
        first, weights=counts.double(), minlength=n_tokens
    )[previous]
    followers = torch.bincount(first, minlength=n_tokens)[previous]
    lower = torch.bincount(second, minlength=n_tokens).double() + 1
    lower = (lower / lower.sum())[following]
    asked = previous * n_tokens + following
    at = torch.searchsorted(kinds, asked).clamp(max=len(kinds) - 1)
    seen = torch.where(kinds[at] == asked, counts[at] - discount, 0.0)
    mixed = (seen + discount * followers * lower) / total
    return torch.where(total > 0, mixed, lower)


def bigram_loss(train, previous, following, n_tokens):
    """Compute the loss of a smoothed bigram model of tokens.

    Parameters
    ----------
    train : Tensor of int64, shape (n,)
        Tokens whose pairs are counted; at least two.
    previous, following : Tensor of int64, shape (m,)
        The token before, and the token whose probability is asked for.
    n_tokens : int
        Size of the vocabulary.

    Returns
    -------
    float
        Mean of -log p, in nats per token.
    """
    p = bigram_probabilities(train, previous, following, n_tokens)
    return -float(p.log().mean())
