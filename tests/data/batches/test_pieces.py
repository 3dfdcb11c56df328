from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch

from accel.data.batches.structure import split_batch

Pair = namedtuple("Pair", "x y")
X = torch.arange(10.0).view(5, 2)


def test_tensors_are_views_and_the_last_piece_may_be_short() -> None:
    actual = split_batch(X, 5, 2)
    assert [piece.tolist() for piece in actual] == [X[:2].tolist(), X[2:4].tolist(), X[4:].tolist()]
    assert all(piece.untyped_storage().data_ptr() == X.untyped_storage().data_ptr() for piece in actual)
    assert split_batch(X, 5, 5)[0] is X


def test_the_structure_is_kept() -> None:
    names = ["a", "b", "c", "d", "e"]
    boxes = [{"box": torch.zeros(n, 4)} for n in range(5)]
    batch = {
        "pair": Pair(X, (X + 1, [X, np.arange(5)])),
        "names": names,
        "boxes": boxes,
        "scale": torch.tensor(3.0),
        "size": 7,
        "no": None,
    }
    first, second = split_batch(batch, 5, 3)
    assert isinstance(first["pair"], Pair)
    assert torch.equal(second["pair"].y[0], X[3:] + 1)
    assert second["pair"].y[1][1].tolist() == [3, 4]
    assert (first["names"], second["names"]) == (names[:3], names[3:])
    assert [len(each["box"]) for each in second["boxes"]] == [3, 4]
    assert (float(second["scale"]), second["size"], second["no"]) == (3.0, 7, None)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((X, torch.zeros(4, 2)), r"a tensor of shape \(4, 2\) in a batch of 5 samples"),
        ((X, object()), "a object in a batch of 5"),
        ((X, X.to_sparse()), r"a tensor of shape \(5, 2\)"),
        ((X, (1, 2, 3, 4, 5)), "a tuple of 5 numbers, which may be of the samples or of the batch"),
        ((X, [torch.zeros(3, n) for n in range(4)]), r"a tensor of shape \(3, 0\)"),
        ((X, [torch.zeros(3), "a", 1, None, 2.0]), r"a tensor of shape \(3,\)"),
        ((torch.zeros(2, 3), object()), "a tensor of shape"),
    ],
)
def test_what_cannot_be_cut_is_said(batch: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        split_batch(batch, 5, 2)


def test_a_batch_of_two_tensors_is_no_list_of_two_samples() -> None:
    first, second = split_batch([X[:2], ["a", "b"]], 2, 1)
    assert torch.equal(first[0], X[:1])
    assert second[1] == ["b"]


PICTURES = [torch.full((3, 4, 5 + number), float(number)) for number in range(3)]
BOXES = [{"boxes": torch.zeros(number, 4)} for number in range(3)]
ALIKE = [torch.full((3, 4, 4), float(number)) for number in range(3)]


@pytest.mark.parametrize(
    "batch",
    [
        (PICTURES, BOXES),
        (tuple(PICTURES), tuple(BOXES)),
        (ALIKE, BOXES),  # as many channels as samples: the dicts beside them tell
        {"pictures": ALIKE, "targets": BOXES},
        {"pictures": PICTURES, "sizes": torch.arange(3)},
        list(zip(PICTURES, BOXES, strict=True)),
        [{"picture": picture, **boxes} for picture, boxes in zip(PICTURES, BOXES, strict=True)],
        [picture[:2] for picture in PICTURES],
    ],
)
def test_lists_of_samples_are_cut_between_samples(batch: Any) -> None:
    pieces = split_batch(batch, 3, 2)
    assert len(pieces) == 2
    kept = [id(leaf) for piece in pieces for leaf in tensors_of(piece)]
    whole = [id(leaf) for leaf in tensors_of(batch)]
    if not isinstance(batch, dict) or "sizes" not in batch:
        assert sorted(kept) == sorted(whole), "each tensor is in one piece, as it is"
    first = tensors_of(pieces[0])
    assert len(first) == 2 * len(tensors_of(pieces[1])) or "sizes" in batch


def test_columns_go_before_samples() -> None:
    """Two columns of two samples are no two samples."""
    x, y = torch.zeros(2, 3), torch.ones(2, 3)
    first, second = split_batch((x, y), 2, 1)
    assert [part.shape[0] for part in (*first, *second)] == [1] * 4
    views = split_batch({"views": [x, y]}, 2, 1)[0]["views"]
    assert [len(view) for view in views] == [1, 1]


def tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_of(part)]
