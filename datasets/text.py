from dataclasses import replace

from benchmark_shine.bench.dataset import ProblemDataset, named_path
from benchmark_shine.bench.networks import available
from benchmark_shine.checks import check_choice, check_path, check_seed
from benchmark_shine.data.text import (
    SOURCES, Segments, keep, read_text, split, tokenise,
)
from benchmark_shine.problems import DEQTransformer
from benchmark_shine.problems.sequence import CONFIGURATIONS

# Parameters that stand in place of what the network's configuration says, and
# in place of what its recipe says.
OF_NETWORK = (
    "width", "n_heads", "inner", "segment", "memory", "dropout", "pre_norm",
)
OF_RECIPE = (
    "batch_size", "epochs", "unrolled_steps", "rate", "jacobian_weight",
)


class Dataset(ProblemDataset):
    """Any text, token by token, by a deep equilibrium Transformer.

    ``source`` is topics, the language reference within Python (of another
    version, another text), or bible, the World English Bible: pip install
    'benchmark_shine[text]'.  ``path`` names a file in UTF-8 in its place.
    What is held out is the last ``test_share`` of the text, or the file
    ``test_path``; ``n_train`` and ``n_test`` keep so many characters on
    either side of the border.

    ``tokens`` are characters, words (and the marks between them), or spaced
    (what lies between blanks).  All but the ``n_words`` most frequent ones of
    the training part are one unknown token.  ``network`` is small, wt103,
    wt103_reg or wt103_preln; None in any parameter from ``width`` on is what
    the network's configuration says.
    """

    name = "text"
    parameters = {
        "source": ["topics"],
        "path, test_path": [(None, None)],
        "tokens": ["characters"],
        "n_words": [None],
        "test_share": [0.1],
        "n_train, n_test": [(None, 20_000)],
        "network": ["small"],
        "width, n_heads, inner": [(None, None, None)],
        "segment, memory": [(None, None)],
        "dropout": [None],
        "pre_norm": [None],
        "batch_size, epochs, unrolled_steps": [(None, None, None)],
        "rate": [None],
        "jacobian_weight": [None],
        "device": ["cpu"],
        "seed": [0],
    }
    test_parameters = {
        "n_train, n_test": [(2_000, 500)],
        "width, n_heads, inner": [(8, 2, 8)], "segment, memory": [(6, 2)],
        "batch_size, epochs, unrolled_steps": [(8, 1, 0)],
    }
    by_name_only = True

    def sources(self):
        return keep(*self._parts(), self.n_train, self.n_test)

    def _parts(self):
        """Read the training text, and the text that is held out."""
        if self.path is None:
            text = check_choice("source", self.source, SOURCES)()
        else:
            text = self._text_of("path")
        if self.test_path is None:
            return split(text, self.test_share)
        return text, self._text_of("test_path")

    def _text_of(self, name):
        value = getattr(self, name)
        check_path(name, value)
        return read_text(named_path(value), name)

    def build(self, train, test):
        check_seed(self.seed)
        config = self._configuration()
        train_tokens, test_tokens, n_tokens = tokenise(
            train, test, self.tokens, self.n_words)
        parts = (
            Segments(
                tokens, n_tokens, config.segment, config.memory, len(text))
            for tokens, text in ((train_tokens, train), (test_tokens, test))
        )
        return DEQTransformer(
            *parts, config, seed=self.seed, device=available(self.device)
        )

    def _configuration(self):
        config = check_choice("network", self.network, CONFIGURATIONS)
        recipe = replace(config.recipe, **self._given(OF_RECIPE))
        return replace(config, recipe=recipe, **self._given(OF_NETWORK))

    def _given(self, names):
        values = {name: getattr(self, name) for name in names}
        return {name: v for name, v in values.items() if v is not None}
