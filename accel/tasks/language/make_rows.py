"""From documents to the rows that a model of some kind is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accel.errors import ConfigError, nearest
from accel.tasks.language.chunks import cut, first_chunks
from accel.tasks.language.documents import Documents
from accel.tasks.language.pretrained import Kind
from accel.tasks.language.token_rows import (
    CausalRows,
    HeldOutMaskedRows,
    LabelledRows,
    MaskedRows,
    TokenRows,
    TranslatedRows,
    rows_of,
)
from accel.tasks.language.tokens import TextTokenizer, TokenisedTexts

__all__ = ["RowSettings", "class_names", "make_rows"]

SHORTEST = 2
"""Tokens of the shortest row of which one can be predicted from another."""


@dataclass(frozen=True)
class RowSettings:
    """What rows are made for.

    Args:
        kind: what the model is for.
        context: tokens of a row, at most.
        masking: share of the tokens that is hidden in masked rows.
        packed: whether several sequences go into a row of training.
    """

    kind: Kind
    context: int
    masking: float
    packed: bool


def make_rows(
    documents: Documents, tokenizer: TextTokenizer, settings: RowSettings, classes: Sequence[str], train: bool
) -> TokenRows:
    """Return the rows of documents. Only those of training are packed: an evaluation is the same either way.

    Raises:
        ConfigError: if there is no token to predict, or a label is none of the classes.
    """
    kind, packed = settings.kind, settings.packed and train
    texts = TokenisedTexts.of(tokenizer, documents.texts, wrapped=kind == "causal")
    room = settings.context if kind == "causal" else settings.context - tokenizer.room
    if kind == "causal":
        chunks = cut(texts, room, overlap=1, least=SHORTEST)
    else:
        chunks = cut(texts, room, overlap=0, least=1) if kind == "masked" else first_chunks(texts, room)
    if not len(chunks):
        raise ConfigError(f"the {'text' if train else 'text that is held out'} has no token to predict; take a longer one")
    rows = rows_of(texts, chunks, tokenizer, kind != "causal", settings.context if packed else None)
    if kind == "causal":
        return CausalRows(rows, packed)
    if kind == "masked":
        return (MaskedRows if train else HeldOutMaskedRows)(rows, packed, tokenizer, settings.masking)
    assert documents.labels is not None
    if kind == "classification":
        return LabelledRows(rows, np.array([_number(label, classes) for label in documents.labels], np.int64))
    targets = TokenisedTexts.of(tokenizer, [_written(label) for label in documents.labels], wrapped=False)
    return TranslatedRows(rows, rows_of(targets, first_chunks(targets, room), tokenizer, True, None))


def class_names(labels: Sequence[Any]) -> list[str]:
    """Return the names of the classes in labels: in the order of the numbers where they are numbers, else of the alphabet.

    Raises:
        ConfigError: for labels that are neither, and if there are less than two classes.
    """
    odd = [label for label in labels if isinstance(label, bool) or not isinstance(label, int | str)]
    if odd:
        raise ConfigError(f"a label is {odd[0]!r}; classes are names or whole numbers (task.label=NAME says where they are)")
    names = list(dict.fromkeys(str(label).strip() for label in labels))
    if len(names) < 2:
        raise ConfigError(f"the labels have {len(names)} class; it takes two or more (task.label=NAME says where they are)")
    numbers = all(name.removeprefix("-").isdecimal() for name in names)
    return sorted(names, key=int) if numbers else sorted(names)


def _number(label: Any, classes: Sequence[str]) -> int:
    """Return the number of a label's class. Raise ConfigError if it is none."""
    name = str(label).strip()
    if name not in classes:
        hint = nearest(name, classes) or f"; there are {', '.join(classes[:8])}"
        raise ConfigError(f"the label {name!r} is no class of the text to train on{hint}")
    return classes.index(name)


def _written(label: Any) -> str:
    """Return a text to write. Raise ConfigError if it is none."""
    if not isinstance(label, str):
        raise ConfigError(f"a text to write is {label!r}; task.label=NAME says where they are")
    return label
