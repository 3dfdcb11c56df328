"""What is tried out changes nothing but how many read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders import autotune
from accel.parts import Loader
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.system.machine import cores
from accel.testing import fit_toy
from tests.support.sample_datasets import Drawn, Filled, Global, unfinished_readers


@pytest.fixture
def matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "MIN_READ_SECONDS", 0.0)
    monkeypatch.setattr(autotune, "TRIAL_SECONDS", 0.02)


def mapped(data: Any) -> MapBatches:
    batches = make_batches(data, 4)
    assert isinstance(batches, MapBatches)
    return batches


COUNTS = sorted({max(1, cores() // 2), cores(), 2 * cores()})


@pytest.mark.usefixtures("matters")
@pytest.mark.parametrize("by", [autotune.thread_rate, autotune.process_rate])
def test_each_number_is_tried(by: Any) -> None:
    for kind in (Drawn, Filled):
        rates = autotune.measure_rates(mapped(kind()), 1, by)
        assert list(rates) == COUNTS
        assert min(rates.values()) > 0


class Bad(Drawn):
    """A sample that is not among the first."""

    def sample(self, index: int, rng: Any) -> Any:
        if index == 20:
            raise KeyError(index)
        return super().sample(index, rng)


@pytest.mark.usefixtures("matters")
@pytest.mark.parametrize("by", [autotune.thread_rate, autotune.process_rate])
def test_what_draws_or_raises_is_not_tried_and_nothing_has_moved(by: Any) -> None:
    states = random.getstate(), np.random.get_state()[2], torch.get_rng_state()
    for data in (Global(), Bad()):
        assert autotune.measure_rates(mapped(data), 1, by) == {}
    assert states[:2] == (random.getstate(), np.random.get_state()[2])
    assert torch.equal(states[2], torch.get_rng_state())


def test_a_short_run_is_not_kept_waiting() -> None:
    def never(*_: Any) -> float:
        raise AssertionError

    assert autotune.measure_rates(mapped(Drawn()), 1, never) == {}


def test_fewer_that_are_about_as_fast_are_taken() -> None:
    assert autotune.best_count({4: 960.0, 8: 1000.0, 16: 900.0}) == 4
    assert autotune.best_count({4: 940.0, 8: 1000.0, 16: 1040.0}) == 8
    assert autotune.describe_rates({1: 900.4, 2: 1700.0}) == "2, measured: 1 read 900, 2 read 1,700 samples/s"


class Slow(TensorDataset):
    """Not indexed at once."""


@pytest.mark.usefixtures("matters")
@pytest.mark.parametrize("loader", [Threads, Workers])
def test_the_run_is_the_same_and_the_plan_tells(loader: type[Loader], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("accel.testing.toy_run.TensorDataset", Slow)
    plain = fit_toy([])
    plugin: Any = loader()
    actual = fit_toy([plugin])
    assert plain.equals(actual)
    message = actual.spy.run.plan.facts["readers" if loader is Threads else "workers"]
    assert message.startswith(f"{plugin.reader_count}, measured: {COUNTS[0]} read ")
    assert plugin.reader_count in COUNTS
    dry: Any = loader()
    fit_toy([dry], out=tmp_path / "dry", dry_run=True)
    assert not dry.rates, "a dry run waits for nothing"
    assert unfinished_readers() == []
