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
        ((X, [torch.zeros(3, n) for n in range(5)]), r"a tensor of shape \(3, 0\)"),
    ],
)
def test_what_cannot_be_cut_is_said(batch: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        split_batch(batch, 5, 2)


def test_a_batch_of_two_tensors_is_no_list_of_two_samples() -> None:
    first, second = split_batch([X[:2], ["a", "b"]], 2, 1)
    assert torch.equal(first[0], X[:1])
    assert second[1] == ["b"]
