"""Whole runs on data of which some samples cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Part
from accel.plugins.prefetch import Prefetch
from accel.plugins.resident import Resident
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.testing.toy_run import Stop
from tests.support.sample_datasets import SAMPLES
from tests.support.spoilt_datasets import POLICIES, SPOILT, Bytes, train

LOADERS: dict[str, Callable[[], list[Part]]] = {
    "plain": list,
    "workers": lambda: [Workers(count=2), Prefetch()],
    "threads": lambda: [Threads(count=2), Prefetch(depth=4)],
    "resident": lambda: [Resident()],
}


@POLICIES
@pytest.mark.slow
def test_a_run_is_the_same_by_every_loader_and_goes_on_where_it_was(policy: str, tmp_path: Path) -> None:
    whole = train(policy, [])
    assert whole.samples == 2 * (SAMPLES - (len(SPOILT) if policy == "skip" else 0))
    assert whole.bad == {"train": 4, "val": 4}
    for name, plugins in LOADERS.items():
        out = tmp_path / name
        with pytest.raises(Stop):
            train(policy, plugins(), stop=8, out=out, checkpoint_every=1)
        rest = train(policy, plugins(), resume=out)
        assert all(map(torch.equal, whole.model.state_dict().values(), rest.model.state_dict().values())), name
        assert (rest.history, rest.bad, rest.samples) == (whole.history, whole.bad, whole.samples), name
        section = json.loads((out / "summary.json").read_text())["sections"]["bad_data"]
        done = "left out" if policy == "skip" else "replaced by others"
        assert section["title"] == (
            f"bad data: 4 of 23 train samples could not be read and were {done}; "
            "4 of 23 val samples could not be read and were left out"
        )
        assert {row["why"] for row in section["rows"]} == {f"ValueError: number {index}" for index in SPOILT}


def test_too_many_are_a_training_error_of_the_run() -> None:
    for plugins in LOADERS.values():
        with pytest.raises(TrainingError, match=r"1 of 23 (train|val) samples .*bad_limit=0.01"):
            train("skip", plugins(), limit=0.01, data=One)


class One(Bytes):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 5:
            raise ValueError("one")
        return torch.full((2, 3), index, dtype=torch.uint8), index % 2


def test_data_that_is_not_read_by_us_is_told() -> None:
    batches = [(torch.ones(4, 2, 3), torch.zeros(4, dtype=torch.long))]
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with pytest.warns(AccelWarning, match="bad_data has no effect: the data is in memory, or comes in ready batches"):
        Trainer(net, batches, loss=lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]), watch=(), bad_data="skip").fit()


def test_nothing_can_be_bad_of_tensors_in_memory() -> None:
    with pytest.warns(AccelWarning, match="bad_data has no effect: the data is in memory"):
        train("skip", [], data=lambda: TensorDataset(torch.ones(8, 2, 3), torch.zeros(8, dtype=torch.long)))


def test_a_mistyped_policy() -> None:
    with pytest.raises(ConfigError, match=r"bad_data must be raise or skip or substitute, not 'skp'; did you mean 'skip'"):
        train("skp", [])
    with pytest.raises(ConfigError, match="bad_limit must be a number from 0 to 1"):
        train("skip", [], limit=2.0)


def test_nothing_is_said_where_nothing_is_bad() -> None:
    result = train("skip", [], data=lambda: Good())
    assert result.bad == {"train": 0, "val": 0}
    assert "bad_data" not in result.sections


class Good(Bytes):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((2, 3), index, dtype=torch.uint8), index % 2
