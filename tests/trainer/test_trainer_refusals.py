"""The Python interface: what is refused, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

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
        ({"device": "cdua"}, r"device must be auto, cpu, cuda or cuda:N, not 'cdua'; did you mean 'cuda'\?"),
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
