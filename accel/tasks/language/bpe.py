"""Tokenisers of byte pairs (BPE), trained on texts by the package tokenizers.

Source: Sennrich, Haddow and Birch, arXiv 1508.07909; over bytes: Radford et al., Language Models are Unsupervised Multitask
Learners, 2019.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from accel.errors import ConfigError

__all__ = ["LEAST", "SPECIAL", "cut_words", "train_bpe"]

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "mask_token": "<mask>"}
"""Tokens that are no text, by what they are for; a text stands between the first and the third."""
LEAST = 256 + len(SPECIAL)
"""The smallest vocabulary: every byte, and these."""
LONGEST = 1000
"""Characters of a word. One that is longer (base64, a script without spaces) is cut: merging its pairs takes the square of them."""
LONG_WORD = re.compile(rf"\S{{{LONGEST}}}(?=\S)|\s{{{LONGEST}}}(?=\s)")


def train_bpe(texts: Iterable[str], size: int) -> Any:
    """Return a tokeniser (`tokenizers.Tokenizer`) whose tokens are the commonest sequences of bytes. Equal texts give equal ones.

    Args:
        texts: that it is trained on.
        size: tokens at most, `LEAST` or more; short texts have fewer.

    Raises:
        ConfigError: if the package is not installed.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    except ModuleNotFoundError:
        raise ConfigError(
            "task=hf trains its tokeniser with tokenizers, which is not installed: pip install 'accel-train[hf]'"
        ) from None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # said at all, so that a fork warns of nothing
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        (piece for text in texts for piece in cut_words(text)),
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL.values()),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    first, last = SPECIAL["bos_token"], SPECIAL["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, last)],
    )
    return tokenizer


def cut_words(text: str) -> Iterator[str]:
    """Yield a text in pieces, so that no word of one is longer than `LONGEST`; together they are the text.

    >>> [len(piece) for piece in cut_words("a word " + 2500 * "z")]
    [1007, 1000, 500]
    """
    start = 0
    for match in LONG_WORD.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]
