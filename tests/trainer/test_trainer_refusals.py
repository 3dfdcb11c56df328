"""The Python interface: what is refused, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from accel import Trainer
from accel.errors import ConfigError
from accel.plugins.adamw import AdamW
from accel.plugins.sgd import SGD
from tests.support.stream_datasets import POINTS, fit


class Endless(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return POINTS[0]


class Once:
    """Says that it can be iterated over, and gives the same iterator each time."""

    def __init__(self) -> None:
        self.iterator = iter([POINTS])

    def __iter__(self) -> Any:
        return self.iterator


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"plugins": ["adamv"]}, r"no plugin is called 'adamv'; did you mean 'adamw'\?"),
        ({"plugins": [AdamW(), SGD()]}, r"plugins adamw and sgd both provide Optim; keep one: '~plugins.adamw'"),
        ({"plugins": [AdamW]}, r"AdamW is not a plugin: .*; write AdamW\(\)"),
        ({"plugins": [nn.Linear(1, 1)]}, r"Linear is a model, and no plugin; pass it by its own argument"),
        ({"epochs": 0}, r"epochs must be a number above 0, or null, not 0"),
        ({"updates": 0}, r"updates must be a whole number from 1, or null, not 0"),
        ({"batch_size": -1}, r"batch_size must be a whole number from 1, or null, not -1"),
        ({"device": "cdua"}, r"device must be auto, cpu, cuda, cuda:N, mps or xpu, not 'cdua'; did you mean 'cuda'\?"),
        ({"seed": -1}, r"seed must be a whole number from 0"),
        ({"resume": "auto"}, r"resume=auto needs the run directory to look in"),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        fit([POINTS], **settings)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"device=cuda: torch finds no CUDA device here; use device=cpu or device=auto"):
        fit([POINTS], device="cuda")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (iter([POINTS]), "can be read only once, and every epoch reads it anew"),
        ((x for x in [POINTS]), "can be read only once"),
        (3, "data is a int, which is neither a data set nor an iterable of batches"),
        ([], "the training data is empty"),
        (Endless(), "data is a Endless without __len__; say there how many samples it has"),
        (Once(), "epoch 2 found no training data; it must begin anew whenever it is iterated over"),
        (TensorDataset(POINTS[:0]), "the training data is empty"),
        (None, r"Trainer has no data: pass data=\.\.\., or define data\(\) in a subclass"),
    ],
)
def test_data_that_cannot_work(data: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        fit(data, epochs=2)


def test_held_out_data_that_is_empty() -> None:
    with pytest.raises(ConfigError, match="the val data is empty"):
        fit([POINTS], val=TensorDataset(POINTS[:0]))


class Asked(Trainer):
    """Has held-out data under the names in `sets`, and none under others."""

    def __init__(self, evaluates: Any, sets: Any, **run: Any) -> None:
        super().__init__(watch=(), device="cpu", batch_size=4, **run)
        self.evaluates, self.sets = evaluates, sets

    def model(self) -> nn.Module:
        return nn.Linear(2, 1)

    def data(self, split: str) -> Any:
        return TensorDataset(POINTS) if split == "train" else self.sets.get(split)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        out: Tensor = model(batch[0]).square().mean()
        return out


class NoBatch:
    """Ready batches, of which there are none, or none any more after `times` passes."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __iter__(self) -> Any:
        self.times -= 1
        return iter([[POINTS]] if self.times >= 0 else [])


SET = TensorDataset(POINTS)


@pytest.mark.parametrize(
    ("evaluates", "sets", "sentence"),
    [
        ("val", {"val": {"a": SET, "b": None}}, r"the data to evaluate on is None under the name 'b'; give data, or leave"),
        ("val", {"val": {"a": None}}, r"is None under the name 'a'"),
        ("val", {"val": {}}, r"the val data is an empty dict; give \{name: data set\}, or None for no evaluation"),
        ("val", {"val": {"a": SET, "b": TensorDataset(POINTS[:0])}}, r"the b data is empty"),
        ("val", {"val": {"a": SET, "b": NoBatch(0)}}, r"the b data gave no batch; it must have samples, and begin anew whenever"),
        ("val", {"val": NoBatch(1)}, r"the val data gave no batch"),
        ("val", {"val": {"a": SET, 3: SET}}, r"3 is no name of data to evaluate on"),
        ("val", {"val": {"a": SET, "": SET}}, r"'' is no name of data to evaluate on"),
        ("val", {"val": {"a": SET, "\n": SET}}, r"'\\n' is no name of data to evaluate on"),
        (("val", "test"), {"val": SET}, r"is None under the name 'test'"),
        (("val", "val"), {"val": SET}, r"evaluates is \('val', 'val'\); name what data\(split\) is asked for"),
        ((), {}, r"evaluates is \(\); name what data\(split\) is asked for, such as 'val'"),
        (None, {}, r"evaluates is None; name what"),
        (3, {}, r"evaluates is 3; name what"),
        ((None,), {}, r"None is no name of data to evaluate on"),
        ("train", {}, r"'train' is no name of data to evaluate on"),
    ],
)
def test_held_out_data_that_is_not_there_is_never_passed_over(evaluates: Any, sets: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Asked(evaluates, sets, epochs=2).fit()


@pytest.mark.parametrize(("evaluates", "sets"), [("val", {}), (("val", "test"), {}), (["val"], {"val": None})])
def test_without_any_held_out_data_nothing_is_evaluated(evaluates: Any, sets: Any) -> None:
    assert Asked(evaluates, sets).fit().metrics == {}
