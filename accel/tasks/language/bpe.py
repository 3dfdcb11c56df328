"""Tokenisers of byte pairs (BPE), trained on texts by the package tokenizers.

Source: Sennrich, Haddow and Birch, arXiv 1508.07909; over bytes: Radford et al., Language Models are Unsupervised Multitask
Learners, 2019.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from accel.errors import ConfigError

__all__ = ["LEAST", "SPECIAL", "train_bpe"]

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "mask_token": "<mask>"}
"""Tokens that are no text, by what they are for; a text stands between the first and the third."""
LEAST = 256 + len(SPECIAL)
"""The smallest vocabulary: every byte, and these."""


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
        texts,
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
