"""Taking a batch apart, and putting it together again."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from accel.data.batches.structure import flatten, unflatten


class Pair(NamedTuple):
    x: Tensor
    y: Any


BATCH = {"pair": Pair(torch.zeros(2, 3), [torch.ones(2), 5]), "name": ("text", None, True)}


def test_the_same_structure_with_other_tensors() -> None:
    tensors: list[Tensor] = []
    shape = flatten(BATCH, tensors)
    assert [tuple(tensor.shape) for tensor in tensors] == [(2, 3), (2,)]
    others = [tensor + 7 for tensor in tensors]
    again = unflatten(BATCH, iter(others))
    assert type(again["pair"]) is Pair
    assert again["pair"].x is others[0]
    assert again["pair"].y[0] is others[1]
    assert again["pair"].y[1] == 5
    assert again["name"] == BATCH["name"]
    assert flatten(again, []) == shape, "numbers in tensors are no part of the shape"
    assert hash(shape) == hash(flatten(again, []))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2, 2), torch.zeros(2, 2).t()),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64)),
        ([torch.zeros(2)], (torch.zeros(2),)),
        ({"a": torch.zeros(2)}, {"b": torch.zeros(2)}),
        ((torch.zeros(2), 1), (torch.zeros(2), 2)),
        ((torch.zeros(2), 1), (torch.zeros(2), 1.0)),
        ((torch.zeros(2), 1), (torch.zeros(2), True)),
    ],
)
def test_all_but_the_numbers_tells_shapes_apart(one: Any, other: Any) -> None:
    assert flatten(one, []) != flatten(other, [])


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^a set$"):
        flatten([torch.zeros(1), {1}], [])
