"""Texts cut to the context of a model, and packed into rows: every token is there, and once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.tasks.language.chunks import Rows, cut, first_chunks, pack
from accel.tasks.language.tokens import TokenisedTexts

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12)
NONE = np.empty(0, np.int64)


def texts_of(sizes: list[int]) -> TokenisedTexts:
    """Texts of so many tokens each, all tokens different."""
    return TokenisedTexts(np.arange(sum(sizes), dtype=np.uint16), np.cumsum(sizes, dtype=np.int64))


@given(SIZES, st.integers(1, 15))
def test_chunks_hold_every_token_once(sizes: list[int], length: int) -> None:
    texts = texts_of(sizes)
    chunks = cut(texts, length, overlap=0, least=1)
    tokens = [
        token for start, size in zip(chunks.starts, chunks.lengths, strict=True) for token in texts.tokens[start : start + size]
    ]
    assert tokens == list(range(sum(sizes)))
    assert all(0 < size <= length for size in chunks.lengths)


@given(SIZES, st.integers(2, 15))
def test_with_an_overlap_every_token_is_predicted_once(sizes: list[int], length: int) -> None:
    """All but the first of each text, from tokens of the same text."""
    texts = texts_of(sizes)
    chunks = cut(texts, length, overlap=1, least=2)
    predicted = [
        token for start, size in zip(chunks.starts, chunks.lengths, strict=True) for token in range(start + 1, start + size)
    ]
    firsts = {end - size for end, size in zip(texts.ends.tolist(), sizes, strict=True)}
    assert predicted == [token for token in range(sum(sizes)) if token not in firsts]
    assert all(2 <= size <= length for size in chunks.lengths)


def test_the_beginnings_of_texts() -> None:
    chunks = first_chunks(texts_of([3, 0, 9]), 4)
    assert (chunks.starts.tolist(), chunks.lengths.tolist()) == ([0, 3, 3], [3, 0, 4])


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(20, 30))
def test_rows_hold_every_sequence_once_and_none_is_too_long(sizes: list[int], room: int) -> None:
    lengths = np.array(sizes, np.int64)
    order, ends = pack(lengths, room)
    assert sorted(order.tolist()) == list(range(len(sizes)))
    rows = np.split(order, ends[:-1])
    fills = [int(lengths[row].sum()) for row in rows]
    assert all(0 < fill <= room for fill in fills)
    assert sum(fill <= room // 2 for fill in fills) <= 1, "two rows that are half empty would be one"


def test_packing_is_the_same_each_time_and_good() -> None:
    lengths = np.random.default_rng(0).integers(2, 129, size=5000)
    order, ends = pack(lengths, 128)
    again, _ = pack(lengths, 128)
    assert np.array_equal(order, again)
    assert lengths.sum() / (len(ends) * 128) > 0.99


def test_a_row_is_its_sequences_with_what_stands_around_them() -> None:
    texts = texts_of([3, 2])
    chunks = first_chunks(texts, 9)
    around = np.array([100]), np.array([101, 102])
    rows = Rows(texts.tokens, chunks, *around, np.array([1, 0]), np.array([2]))
    assert [chunk.tolist() for chunk in rows.read(0)] == [[100, 3, 4, 101, 102], [100, 0, 1, 2, 101, 102]]
    assert (len(rows), rows.size) == (1, 11)
    single = Rows(texts.tokens, chunks, NONE, NONE, np.arange(2), np.arange(1, 3))
    assert [single.read(row)[0].tolist() for row in (0, 1)] == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("length", [8, 1000])
def test_a_long_text_goes_on_in_the_next_row(length: int) -> None:
    chunks = cut(texts_of([length]), 8, overlap=1, least=2)
    assert chunks.starts.tolist() == list(range(0, length - 1, 7))
