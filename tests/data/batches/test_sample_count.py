"""How many samples a batch has, for batches of every structure."""

from __future__ import annotations

import dataclasses
import warnings
from collections import UserDict, namedtuple
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from accel.data.batches.counted import SampleCounter
from accel.data.batches.make_batches import make_batches
from accel.data.batches.sample_count import sample_count
from accel.data.ranks.rank_share import RankShare
from accel.errors import ConfigError


def reals(*shape: int) -> Tensor:
    return torch.zeros(*shape)


def whole(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.int64)


@dataclasses.dataclass
class Batch:
    x: Tensor
    y: Tensor


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


Point = namedtuple("Point", "x y")
Bag = SimpleNamespace


class Sample:
    """No SimpleNamespace, which compares by value."""

    def __init__(self, **members: Any) -> None:
        vars(self).update(members)


def pictures(count: int) -> tuple[Tensor, ...]:
    return tuple(reals(3, 5 + i, 8) for i in range(count))


def targets(count: int) -> tuple[dict[str, Tensor], ...]:
    return tuple({"boxes": reals(i + 1, 4), "labels": whole(i + 1)} for i in range(count))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch would rather have the other layout
    ragged = torch.nested.nested_tensor([reals(2, 3), reals(4, 3)], layout=torch.strided)
jagged = torch.nested.nested_tensor([reals(2, 3), reals(4, 3)], layout=torch.jagged)

KNOWN = {
    "pair": ((reals(4, 3), whole(4)), 4),
    "one tensor": (reals(4, 3), 4),
    "dataclass": (Batch(reals(4, 3), whole(4)), 4),
    "named tuple": (Point(reals(4, 3), whole(4)), 4),
    "nested dict": ({"x": reals(4, 3), "y": {"z": whole(4)}}, 4),
    "UserDict": (UserDict(x=reals(4, 3)), 4),
    "object": (Bag(x=reals(4, 2), y=whole(4), name="a"), 4),
    "slots": (Slotted(reals(4, 2), whole(4)), 4),
    "detection": ((pictures(4), targets(4)), 4),
    "detection of one size": (((reals(3, 8, 8),) * 2, ({"boxes": reals(3, 4), "labels": whole(3)},) * 2), 2),
    "detection, one picture": ((pictures(1), ({"boxes": reals(3, 4), "labels": whole(3)},)), 1),
    "pictures and labels": ((pictures(4), tuple(torch.tensor(i) for i in range(4))), 4),
    "pictures and numbers": ((list(pictures(4)), [1, 2, 3, 4]), 4),
    "pictures and masks": ((pictures(4), [reals(1, 5, 8)] * 4), 4),
    "DETR": ({"pixels": reals(2, 3, 8, 8), "labels": [{"b": reals(5, 4)}, {"b": reals(1, 4)}]}, 2),
    "list of dicts": ([{"image": reals(3, 8, 8), "label": torch.tensor(1)}] * 5, 5),
    "list of one dict": ([{"image": reals(3, 8, 8), "label": 1}], 1),
    "list of pairs": ([(reals(3, 8, 8), 1)] * 5, 5),
    "list of named tuples": ([Point(reals(3, 8), 1)] * 3, 3),
    "list of objects": ([Sample(x=reals(3, 2)), Sample(x=reals(5, 2))], 2),
    "list of plain objects": ([object()] * 3, 3),
    "list of ragged tensors": ([reals(5, 3), reals(7, 3), reals(6, 3), reals(2, 3)], 4),
    "batch_size": (Sample(batch_size=7, x=reals(100, 3)), 7),
    "batch_size of TensorDict": (Sample(batch_size=torch.Size([7, 2]), x=reals(7, 2, 3)), 7),
    "num_graphs": (Sample(num_graphs=6, x=reals(100, 3)), 6),
    "batch_size of numpy": (Sample(batch_size=np.int64(7), x=reals(100, 3)), 7),
    "batch_size as a tensor": (Sample(batch_size=torch.tensor(7), x=reals(100, 3)), 7),
    "batch_size in a pair": ((Sample(batch_size=7, x=reals(100, 3)), whole(7)), 7),
    "packed": (pack_sequence([reals(5, 2), reals(3, 2)]), 2),
    "packed pair": ((pack_sequence([reals(5, 2), reals(3, 2)]), whole(2)), 2),
    "nested": (ragged, 2),
    "jagged": (jagged, 2),
    "jagged pair": ((jagged, whole(2)), 2),
    "sparse": ((reals(4, 3).to_sparse(), whole(4)), 4),
    "numpy": ((np.zeros((4, 3)), np.zeros(4)), 4),
    "texts": (["a", "b", "c"], 3),
    "texts and labels": ({"text": ["a", "b"], "y": whole(2)}, 2),
    "numbers of the batch": ({"x": reals(4, 3), "t": torch.tensor(5), "w": 0.5, "size": (224, 224), "none": None}, 4),
    "positions of all": ({"x": reals(4, 7), "position": whole(1, 7)}, 4),
    "two inputs": (([reals(32, 8), reals(32, 5)], whole(32)), 32),
    "four tensors": ([reals(32, 8), reals(32, 5), whole(32, 4), whole(32)], 32),
    "two of one kind": ([reals(32, 8), reals(32, 1)], 32),
    "inputs and targets": (({"x": reals(32, 3)}, {"y": whole(32)}), 32),
    "tags": ({"x": reals(4, 3), "tags": [["a"], ["b", "c"], [], ["d"]]}, 4),
    "empty": ([], 0),
}  # fmt: skip


@pytest.mark.parametrize(("batch", "samples"), KNOWN.values(), ids=KNOWN)
def test_what_can_be_known(batch: Any, samples: int) -> None:
    count = sample_count(batch)
    assert (count.samples, count.doubt) == (samples, "")


DOUBTFUL = {
    "time first": (reals(64, 4, 3), whole(4)),
    "time first, twice": (whole(7, 4), whole(9, 4)),
    "time first, dict": {"x": reals(64, 4, 3), "y": whole(4)},
    "a list of pictures": [reals(3, 8, 8)] * 5,
    "samples or columns": [[reals(3, 8, 8), reals(3, 8, 8)]] * 4,
    "two batches": ((reals(32, 3), whole(32)), (reals(16, 3), whole(16))),
    "an object": object(),
    "a picture without batch": torch.tensor(1.0),
}


@pytest.mark.parametrize("batch", DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_stays_a_guess(batch: Any) -> None:
    assert sample_count(batch).doubt


def test_the_users_word_goes_before_all() -> None:
    counter = SampleCounter(lambda batch: batch[0].shape[1] if batch[0].dim() == 3 else None)
    assert counter.count_batch((reals(64, 4, 3), whole(4))).samples == 4
    assert counter.count_batch((reals(5, 4), whole(5))).samples == 5
    assert SampleCounter(lambda batch: torch.tensor(3)).count_batch(0).samples == 3
    for wrong in (-1, 2.5, True, "x", torch.ones(2)):
        with pytest.raises(ConfigError, match=r"count_samples\(batch\) returned .*; return a whole number from 0 on, or None"):
            SampleCounter(lambda batch, wrong=wrong: wrong).count_batch((reals(5, 4),))  # type: ignore[misc]


class Counting(torch.utils.data.Dataset[Any]):
    """Sequences that a collate function puts behind the time, or samples without a tensor."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> Any:
        return torch.full((6, 2), float(index)), index

    def collate(self, samples: Any) -> Any:
        return torch.stack([x for x, _ in samples], 1), torch.tensor([y for _, y in samples])


class Opaque(Counting):
    def collate(self, samples: Any) -> Any:
        return Opaque


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([Counting()[i] for i in range(11)])

    collate = Counting.collate


def loaded(data: Any) -> Any:
    return DataLoader(data, 4, collate_fn=data.collate)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    "data", [Counting(), Opaque(), Stream(), TensorDataset(torch.arange(11))], ids=["time first", "opaque", "stream", "tensors"]
)
def test_who_makes_a_batch_knows(data: Any, ranks: int) -> None:
    seen, per_rank = [], []
    for rank in range(ranks):
        batches = make_batches(data, 4, share=RankShare(rank, ranks))
        counted = list(batches.counted(batches.epoch(0), 0))
        assert not any(batch.doubt for batch in counted)
        per_rank.append([batch.samples for batch in counted])
        seen.append([batch.global_samples for batch in counted])
        resumed = list(batches.counted(batches.epoch(0, 1), 1))
        assert [batch.samples for batch in resumed] == per_rank[-1][1:]
    assert seen[0] == ([4, 4, 3] if ranks == 1 else [8, 3])
    assert [sum(counts) for counts in zip(*per_rank, strict=True)] == seen[0]


@pytest.mark.parametrize("data", [Counting(), Opaque()], ids=["time first", "opaque"])
def test_a_loader_of_the_users_knows_too(data: Any) -> None:
    batches = make_batches(loaded(data), 99)
    assert [(batch.samples, batch.doubt) for batch in batches.counted(batches.epoch(0), 0)] == [(4, ""), (4, ""), (3, "")]
    shared = [make_batches(loaded(data), 99, share=RankShare(rank, 2)) for rank in range(2)]
    counts = [[batch.samples for batch in one.counted(one.epoch(0), 0)] for one in shared]
    assert counts == [[4, 3], [4, 0]]


def test_a_collate_that_drops_samples_is_a_guess() -> None:
    def collate(samples: Any) -> Any:
        return torch.tensor([y for _, y in samples if y != 5])

    batches = make_batches(DataLoader(Counting(), 4, collate_fn=collate), 99)
    counted = list(batches.counted(batches.epoch(0), 0))
    assert [batch.samples for batch in counted] == [4, 3, 3]
    assert [bool(batch.doubt) for batch in counted] == [False, True, False]


def test_a_batch_of_which_nothing_is_left_counts_for_nothing() -> None:
    batches = make_batches(DataLoader(Counting(), 4, collate_fn=lambda samples: reals(0, 3)), 99)
    assert [batch.samples for batch in batches.counted(batches.epoch(0), 0)] == [0, 0, 0]


def test_a_sampler_that_lies_about_its_length() -> None:
    class Sampler(list[int]):
        def __len__(self) -> int:
            return 12

    batches = make_batches(DataLoader(Counting(), 4, sampler=Sampler(range(10))), 99)
    assert [batch.samples for batch in batches.counted(batches.epoch(0), 0)] == [4, 4, 2]


def test_views_of_a_sample_are_one_sample() -> None:
    batches = make_batches(DataLoader(Counting(), 4, collate_fn=lambda samples: reals(2 * len(samples), 3)), 99)
    assert [(batch.samples, batch.doubt) for batch in batches.counted(batches.epoch(0), 0)] == [(4, ""), (4, ""), (3, "")]


@dataclasses.dataclass
class Names:
    names: list[str]


def test_names_count_in_a_dataclass_and_say_nothing_in_any_other_object() -> None:
    names = ["a", "b", "c"]
    assert sample_count(Names(names)).samples == sample_count({"names": names}).samples == 3
    assert not sample_count(Names(names)).doubt
    assert sample_count(SimpleNamespace(names=names)).doubt.endswith("has no tensors to count by")


def test_four_pairs_are_samples_or_columns_or_groups_and_named_pairs_are_no_groups() -> None:
    pair = namedtuple("pair", "x y")
    assert sample_count([(reals(5), reals(5))] * 4).doubt.endswith("can be read as 5 or 2 or 4 samples")
    assert sample_count([pair(reals(5), reals(5))] * 4).doubt.endswith("can be read as 5 or 4 samples")
    assert sample_count({"a": [(reals(5), reals(5))] * 4}).doubt.endswith("can be read as 5 or 2 or 4 samples")
    assert sample_count({"a": [pair(reals(5), reals(5))] * 4}) == (4, "", None)


def test_what_holds_itself_is_looked_into_so_far_only() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert sample_count(loop).samples == 1
    around: list[Any] = [reals(3, 1), None]
    around[1] = around
    assert sample_count((reals(2), reals(3), around)).doubt.endswith("leading dimensions of 2, 3")
    table: dict[str, Any] = {}
    table["a"] = table
    assert sample_count(table).doubt


def test_guesses_of_one_outline_rest_on_the_same_lengths() -> None:
    outlines = {sample_count(batch).outline for batch in ((reals(4, 2), reals(3)), (reals(4, 7), reals(3)), (reals(4), reals(3)))}
    assert len(outlines) == 3
    assert sample_count((reals(4, 2), reals(3))).outline == sample_count((whole(4, 2), whole(3))).outline
    ragged = torch.nested.nested_tensor([reals(2), reals(3)])
    assert sample_count((ragged, reals(3))).doubt.endswith("leading dimensions of 2, 3")
