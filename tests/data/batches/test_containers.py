"""Batches in mappings of every kind and in data classes: moved, cut and taken apart, with their type and what else they have."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from accel.data.batches.containers import members, rebuilt, tensors_in
from accel.data.batches.sample_count import sample_count
from accel.data.batches.structure import flatten, split_batch, unflatten
from accel.data.loaders.device_copy import map_tensors
from accel.diagnose.advise import batch_text
from accel.diagnose.layers.model_pass import own_batch


class Encoded(UserDict[str, Any]):
    """As BatchEncoding of transformers: it moves itself, and has more than its items."""

    def __init__(self, data: Any = None, origin: str = "") -> None:
        super().__init__(data)
        self.origin = origin

    def to(self, device: Any) -> Encoded:
        raise AssertionError("its tensors are moved one by one, through pinned memory")


@dataclass
class Labelled:
    x: Tensor
    name: str = "a"
    missing: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Tensor


class Output(OrderedDict[str, Any]):
    """As ModelOutput of transformers: items are attributes too."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class ReadOnly(Mapping[str, Any]):
    def __init__(self, items: dict[str, Any]) -> None:
        self._items = items

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def output() -> Output:
    one = Output()
    one["x"] = torch.arange(4.0)
    return one


BATCHES: dict[str, Callable[[], Any]] = {
    "dict": lambda: {"x": torch.arange(4.0)},
    "ordered": lambda: OrderedDict(x=torch.arange(4.0)),
    "default": lambda: defaultdict(list, x=torch.arange(4.0)),
    "user dict": lambda: UserDict(x=torch.arange(4.0)),
    "encoding": lambda: Encoded({"x": torch.arange(4.0)}, "here"),
    "output": output,
    "data class": lambda: Labelled(torch.arange(4.0)),
    "frozen": lambda: Frozen(torch.arange(4.0)),
    "within": lambda: [UserDict(x=torch.arange(4.0)), (Frozen(torch.arange(4.0)),)],
}


def x_of(batch: Any) -> Tensor:
    batch = batch[0] if isinstance(batch, list) else batch
    value: Tensor = batch["x"] if isinstance(batch, Mapping) else batch.x
    return value


@pytest.mark.parametrize("make", BATCHES.values(), ids=BATCHES)
def test_every_tensor_is_moved_and_the_type_is_kept(make: Callable[[], Any]) -> None:
    batch = make()
    moved = map_tensors(batch, lambda tensor: tensor + 1)
    assert type(moved) is type(batch)
    assert x_of(moved).tolist() == [1, 2, 3, 4]
    assert x_of(batch).tolist() == [0, 1, 2, 3], "the batch itself stays as it is"
    assert [len(tensor) for tensor in tensors_in(moved)] == [len(tensor) for tensor in tensors_in(batch)]


@pytest.mark.parametrize("make", BATCHES.values(), ids=BATCHES)
def test_a_batch_is_cut_and_taken_apart(make: Callable[[], Any]) -> None:
    batch = make()
    assert sample_count(batch).samples == 4
    first, second = split_batch(batch, 4, 3)
    assert type(first) is type(second) is type(batch)
    assert (x_of(first).tolist(), x_of(second).tolist()) == ([0, 1, 2], [3])
    tensors: list[Tensor] = []
    shape = flatten(batch, tensors)
    again = unflatten(batch, iter([tensor + 7 for tensor in tensors]))
    assert (type(again), x_of(again).tolist()) == (type(batch), [7, 8, 9, 10])
    assert flatten(again, []) == shape
    assert flatten(first, []) != shape


@pytest.mark.parametrize("make", BATCHES.values(), ids=BATCHES)
def test_it_is_looked_at_on_its_own(make: Callable[[], Any]) -> None:
    batch = make()
    own = own_batch(batch)
    assert x_of(own).data_ptr() != x_of(batch).data_ptr()
    assert batch_text(batch).startswith("float32 4")


def test_what_else_it_has_is_kept() -> None:
    assert map_tensors(BATCHES["encoding"](), torch.neg).origin == "here"
    moved = map_tensors(BATCHES["output"](), torch.neg)
    assert moved.x is moved["x"]
    labelled = map_tensors(Labelled(torch.ones(1), "b"), torch.neg)
    assert (labelled.name, labelled.missing) == ("b", None)
    assert map_tensors(BATCHES["default"](), torch.neg)["other"] == []


def test_a_mapping_that_cannot_be_written_to_becomes_a_dict() -> None:
    for batch in (ReadOnly({"x": torch.ones(2)}), MappingProxyType({"x": torch.ones(2)})):
        assert map_tensors(batch, torch.neg) == {"x": pytest.approx(-torch.ones(2))}


def test_what_moves_itself_is_left_to_do_so() -> None:
    class Graph:
        moved = False

        def to(self, device: Any) -> Graph:
            self.moved = True
            return self

    graph = Graph()
    assert members(graph) is None
    assert map_tensors({"graph": graph}, lambda value: value.to("cpu"))["graph"].moved
    assert members(Labelled) is None, "a class is no object of it"
    assert rebuilt({"a": 1}, {"a": 2}) == {"a": 2}
