"""What a model says of texts: how they go on, what is hidden in them, and what is written for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from accel.tasks.language.tokens import TextTokenizer

__all__ = ["WRITTEN", "continuations", "fillings", "translations"]

WRITTEN = 32
"""Tokens that a continuation has, and a text that is written, at most."""
Logits = Callable[[dict[str, Tensor]], Tensor]
"""Function from `input_ids` and `attention_mask`, (n, length) int64, to logits (n, length, tokens)."""


def continuations(logits: Logits, batch: dict[str, Tensor], tokenizer: TextTokenizer, context: int) -> list[str]:
    """Return how each text goes on: the likeliest token, and the likeliest behind that, until one ends the text.

    Args:
        logits: of the model.
        batch: `input_ids`, (n, length) int64, and `attention_mask`, 1 for a token, which stand before the padding.
        tokenizer: the tokeniser.
        context: tokens that the model looks back on, at most.
    """
    tokens, lengths = batch["input_ids"], batch["attention_mask"].sum(1)
    tokens = torch.nn.functional.pad(tokens, (0, max(0, context - tokens.shape[1])), value=tokenizer.padding or 0)[:, :context]
    rows, following = torch.arange(len(tokens), device=tokens.device), []
    for _ in range(WRITTEN):
        there = (torch.arange(context, device=tokens.device) < lengths[:, None]).long()
        following.append(logits({"input_ids": tokens, "attention_mask": there})[rows, lengths - 1].argmax(1))
        tokens = torch.where((lengths == context)[:, None], tokens.roll(-1, 1), tokens)
        lengths = (lengths + 1).clamp(max=context)
        tokens[rows, lengths - 1] = following[-1]
    return [tokenizer.decode(_until(row, tokenizer.end)) for row in torch.stack(following, 1).tolist()]


def fillings(logits: Tensor, tokens: Tensor, tokenizer: TextTokenizer) -> list[list[str]]:
    """Return the likeliest token for each hidden one of each text.

    Args:
        logits: (n, length, tokens).
        tokens: (n, length) int64.
        tokenizer: the tokeniser.
    """
    hidden: Tensor = tokens == (-1 if tokenizer.mask is None else tokenizer.mask)
    return [
        [tokenizer.decode([token]) for token, is_hidden in zip(*row, strict=True) if is_hidden]
        for row in zip(logits.argmax(2).tolist(), hidden.tolist(), strict=True)
    ]


def translations(model: nn.Module, batch: dict[str, Tensor], tokenizer: TextTokenizer, begin: int) -> list[str]:
    """Return what is written for each text, the likeliest token each.

    Args:
        model: of transformers, with encoder and decoder.
        batch: `input_ids` and `attention_mask`, (n, length) int64.
        tokenizer: the tokeniser.
        begin: token with which the decoder begins.
    """
    inputs: dict[str, Any] = {name: batch[name] for name in ("input_ids", "attention_mask")}
    written = torch.full((len(batch["input_ids"]), 1), begin, dtype=torch.int64, device=batch["input_ids"].device)
    for _ in range(WRITTEN):
        logits = model(**inputs, decoder_input_ids=written).logits
        written = torch.cat([written, logits[:, -1].argmax(1, keepdim=True)], 1)
    return [tokenizer.decode(_until(row[1:], tokenizer.end)) for row in written.tolist()]


def _until(tokens: list[int], end: int | None) -> list[int]:
    """Return tokens up to the one that ends a text."""
    return tokens[: tokens.index(end)] if end is not None and end in tokens else tokens
