from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from accel.data.batches.structure import count_classes, unpack_pair
from accel.errors import ConfigError
from accel.tasks.digits import Digits


class Named(TensorDataset):
    classes = ("cat", "dog", "cow")


def test_a_number_or_a_list_in_the_data_or_what_it_reads() -> None:
    data = Named(torch.zeros(4, 1))
    assert count_classes(SimpleNamespace(num_classes=7, classes=["a"])) == 7
    assert count_classes(data) == 3
    assert count_classes(DataLoader(Subset(data, [0, 1]))) == 3
    assert count_classes(Digits()) == 10


def test_what_tells_nothing() -> None:
    loop = SimpleNamespace()
    loop.dataset = loop
    for owner in (None, [1, 2], loop, TensorDataset(torch.zeros(1)), SimpleNamespace(num_classes="many", classes="abc")):
        assert count_classes(owner) is None
    assert count_classes(SimpleNamespace(num_classes=None, classes=[])) is None


def test_a_pair_begins_with_two_tensors() -> None:
    first, second = torch.zeros(2), torch.ones(2)
    assert unpack_pair([first, second, "name"]) == (first, second)
    for batch in ((0.5, second), (first, 0.5), (first,), first, {"x": first}):
        with pytest.raises(ConfigError):
            unpack_pair(batch)
