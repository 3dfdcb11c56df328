"""Tokens of texts: a tokeniser, and all documents as one row of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TextTokenizer", "TokenisedTexts"]

TOGETHER = 1024
"""Texts that are handed to the tokeniser at once; its threads divide them."""


class TextTokenizer:
    """A fast tokeniser of transformers, and what it puts around each text.

    Args:
        tokenizer: the tokeniser; one that has a `backend_tokenizer`.
        ends_texts: whether a text ends in the token for that if the tokeniser itself puts nothing behind it, as for GPT-2.
    """

    def __init__(self, tokenizer: Any, ends_texts: bool) -> None:
        self.tokenizer, self.backend = tokenizer, tokenizer.backend_tokenizer
        self.backend.no_truncation()
        self.backend.no_padding()
        self.size: int = self.backend.get_vocab_size(with_added_tokens=True)
        self.mask: int | None = tokenizer.mask_token_id
        self.end: int | None = tokenizer.eos_token_id
        self.padding: int | None = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end
        self.special = np.array(sorted(set(tokenizer.all_special_ids)), np.int64)
        self.prefix, self.suffix = self._around()
        if ends_texts and not len(self.suffix) and self.end is not None:
            self.suffix = np.array([self.end], np.int64)

    def _around(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tokens that the tokeniser puts before and behind a text."""
        encoded = self.backend.encode("a", add_special_tokens=True)
        tokens, text = np.array(encoded.ids, np.int64), np.flatnonzero(np.array(encoded.special_tokens_mask) == 0)
        return (tokens[: text[0]], tokens[text[-1] + 1 :]) if len(text) else (tokens[:0], tokens[:0])

    @property
    def room(self) -> int:
        """Tokens that stand around a text."""
        return len(self.prefix) + len(self.suffix)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of a text, (n,) int64, with nothing around them."""
        return np.array(self.backend.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        text: str = self.backend.decode(list(tokens), skip_special_tokens=True)
        return text

    def wrapped(self, tokens: NDArray[Any]) -> NDArray[np.int64]:
        """Return the tokens of a text, (n,), with what stands around them, int64."""
        return np.concatenate([self.prefix, tokens, self.suffix], dtype=np.int64)

    def ordinary(self, count: int) -> NDArray[np.int64]:
        """Return tokens that are text, (count,) int64: many different ones, and always the same."""
        text = np.setdiff1d(np.arange(self.size), self.special)
        return text[(np.arange(count) * 7 + 1) % len(text)]

    def digest(self) -> str:
        """Return a digest of all that it does to a text."""
        return sha256(self.backend.to_str().encode()).hexdigest()[:16]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs: it reads tokens, and makes none."""
        return vars(self) | {"tokenizer": None, "backend": None}


@dataclass
class TokenisedTexts:
    """The tokens of several texts, one behind the other."""

    tokens: NDArray[Any]
    """(n,) uint16, or uint32 where there are more than that can tell."""
    ends: NDArray[np.int64]
    """Where each text ends, (texts,)."""

    @classmethod
    def of(cls, tokenizer: TextTokenizer, texts: Sequence[str], wrapped: bool) -> TokenisedTexts:
        """Return the tokens of texts.

        Args:
            tokenizer: makes them.
            texts: the texts.
            wrapped: whether each has the tokens that stand around a text.
        """
        dtype = np.uint16 if tokenizer.size <= 1 << 16 else np.uint32
        parts: list[NDArray[Any]] = []
        for start in range(0, len(texts), TOGETHER):
            for encoded in tokenizer.backend.encode_batch_fast(list(texts[start : start + TOGETHER]), add_special_tokens=False):
                tokens = np.array(encoded.ids, dtype)
                parts.append(tokenizer.wrapped(tokens).astype(dtype) if wrapped else tokens)
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return cls(np.concatenate(parts) if parts else np.empty(0, dtype), ends)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each text begins, (texts,)."""
        return np.concatenate([np.zeros(1, np.int64), self.ends])[:-1]
