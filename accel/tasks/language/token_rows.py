"""Data sets of rows of tokens, with what a model is to say of each."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from accel.data.sampling import sample_rng
from accel.errors import BadSample
from accel.tasks.language.chunks import Chunks, Rows, Whole, pack
from accel.tasks.language.tokens import TextTokenizer, TokenisedTexts

__all__ = ["IGNORED", "CausalRows", "LabelledRows", "MaskedRows", "Sample", "TokenRows", "TranslatedRows", "rows_of"]

Sample = dict[str, Any]
"""`input_ids` (n,) int64; `labels`, (n,) int64 or a number; `position_ids` (n,) int64 where chunks are packed."""
IGNORED = -100
"""Label of a token that does not count, as of `F.cross_entropy`."""


def rows_of(texts: TokenisedTexts, chunks: Chunks, tokenizer: TextTokenizer, wraps: bool, room: int | None) -> Rows:
    """Return chunks as rows.

    Args:
        texts: whose chunks they are.
        chunks: the chunks.
        tokenizer: says what stands around a text.
        wraps: whether that stands around each chunk, and not in the tokens already.
        room: tokens of a row into which several chunks go; None for a row for each chunk.
    """
    prefix, suffix = (tokenizer.prefix, tokenizer.suffix) if wraps else (tokenizer.prefix[:0], tokenizer.suffix[:0])
    if room is None:
        order = np.arange(len(chunks))
        ends = order + 1
    else:
        order, ends = pack(chunks.lengths + len(prefix) + len(suffix), room)
    return Rows(texts.tokens, chunks, prefix, suffix, order, ends)


class TokenRows(Dataset[Sample]):
    """Rows of tokens.

    Args:
        rows: the rows.
        packed: whether a row may have several chunks, so that each token's place in its chunk is told.
    """

    kind = "tokens"

    def __init__(self, rows: Rows, packed: bool = False) -> None:
        self.rows, self.packed = rows, packed
        self.tokens_per_sample = max(1, round(rows.size / max(1, len(rows))))
        """Tokens of a row on average, which `max_tokens` counts."""

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self, index: int) -> Sample:
        """Return the tokens of a row, and each one's place in its chunk if it is packed."""
        chunks = self.rows.read(index)
        sample: Sample = {"input_ids": np.concatenate(chunks)}
        if self.packed:
            sample["position_ids"] = np.concatenate([np.arange(len(chunk)) for chunk in chunks])
        return sample

    def targets(self) -> Sequence[Any]:
        """Return what is said of the rows beside their tokens, as far as that is data."""
        return ()

    def fingerprint(self) -> str:
        """Return a digest of all rows and of what is said of them."""
        digest = sha256(repr(list(self.targets())).encode())
        for array in (self.rows.tokens, self.rows.chunks.starts, self.rows.chunks.lengths, self.rows.order, self.rows.ends):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def plan_notes(self) -> dict[str, str]:
        """Return the amount of text for the plan, and how full packed rows are."""
        rows, chunks, size = len(self.rows), len(self.rows.chunks), self.rows.size
        if not self.packed:
            return {"text": f"{size:,} tokens in {rows:,} rows"}
        full = f"{size / rows:,.1f} tokens each"
        return {"text": f"{size:,} tokens of {chunks:,} sequences, packed in {rows:,} rows of {full}"}


class CausalRows(TokenRows):
    """Rows of which each token is predicted from those before it in its chunk; the model itself moves the labels by one."""

    def __getitem__(self, index: int) -> Sample:
        sample = self.chunks(index)
        labels = sample["input_ids"]
        if self.packed:
            labels = np.where(sample["position_ids"] == 0, IGNORED, labels)  # nothing before it tells what a text begins with
        return sample | {"labels": labels}


class MaskedRows(TokenRows):
    """Rows of which some tokens are hidden and predicted from all others in their chunk.

    Of the tokens that are chosen, 80 % are replaced by the mask, 10 % by a random token, and 10 % stay. Which they are is a
    function of seed, epoch and row in training, and of the row alone in evaluation.

    Source: Devlin et al., BERT, arXiv 1810.04805, section 3.1.

    Args:
        rows: the rows.
        packed: as of `TokenRows`.
        tokenizer: has the mask, and knows the tokens that are no text.
        share: the share of the tokens that is chosen.
    """

    def __init__(self, rows: Rows, packed: bool, tokenizer: TextTokenizer, share: float) -> None:
        super().__init__(rows, packed)
        assert tokenizer.mask is not None
        self.mask, self.special, self.size, self.share = tokenizer.mask, tokenizer.special, tokenizer.size, share

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a row, with the random numbers of its own."""
        sample = self.chunks(index)
        tokens: NDArray[np.int64] = sample["input_ids"]
        draws = rng.random((2, len(tokens)))
        others = rng.integers(self.size, size=len(tokens))
        chosen = (draws[0] < self.share) & ~np.isin(tokens, self.special)
        hidden = np.where(draws[1] < 0.8, self.mask, np.where(draws[1] < 0.9, others, tokens))
        return sample | {"input_ids": np.where(chosen, hidden, tokens), "labels": np.where(chosen, tokens, IGNORED)}


class HeldOutMaskedRows(MaskedRows):
    """Rows of which the same tokens are hidden whenever one is read, whatever the seed of the run: evaluations can be compared."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        return super().sample(index, sample_rng(0, 0, index))


class LabelledRows(TokenRows):
    """Rows of one text each, with its class.

    Args:
        rows: the rows.
        labels: number of the class of each, (rows,).
    """

    def __init__(self, rows: Rows, labels: Whole) -> None:
        super().__init__(rows)
        self.labels = labels

    def __getitem__(self, index: int) -> Sample:
        sample = self.chunks(index)
        if not len(sample["input_ids"]):
            raise BadSample(
                f"the text of row {index} is empty, and a model needs a token; take it out, or bad_data=skip leaves it out"
            )
        return sample | {"labels": int(self.labels[index])}

    def targets(self) -> Sequence[Any]:
        return [int(label) for label in self.labels]


class TranslatedRows(TokenRows):
    """Rows of one text each, with the text that is to be written for it.

    Args:
        rows: the rows.
        targets: the rows of what is to be written.
    """

    def __init__(self, rows: Rows, targets: Rows) -> None:
        super().__init__(rows)
        self.written = targets

    def __getitem__(self, index: int) -> Sample:
        return self.chunks(index) | {"labels": self.written.read(index)[0]}

    def targets(self) -> Sequence[Any]:
        return [TokenRows(self.written).fingerprint()]
