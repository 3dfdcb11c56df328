"""Readers, depth and threads are tuned by windows of updates, on a clock that only work moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import torch

from accel.compare import Limits
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.trial_request import trial_request
from accel.diagnose.machine.host_memory import HostMemory
from accel.diagnose.trials import reader_tuning
from accel.diagnose.trials.count_search import MODEL_IS_THE_LIMIT
from accel.diagnose.trials.reader_tuning import TunedReaders, tune_readers
from accel.parts import Part
from accel.plugins import Backend
from accel.system.cpu.processor import Processor
from accel.system.stop_signals import StopSignals
from tests.support.worked_time import CLOCK, Readers, Timed, time_by_work

LIMITS = Limits(min_rounds=2, max_rounds=2, step=1)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores, and more memory than anything takes."""
    time_by_work(monkeypatch)
    monkeypatch.setattr(reader_tuning, "read_processor", lambda: Processor("a processor", 4, 4, None, ()))
    monkeypatch.setattr(reader_tuning, "read_memory", lambda: HostMemory(None, 2**40, None, None, 2**40))
    monkeypatch.setitem(reader_tuning.DEPTHS, "readers", "depth")


@contextmanager
def arm(*plugins: Part) -> Iterator[Arm]:
    trainer = Timed(plugins=plugins, watch=(), batch_size=4, device="cpu")
    request = trainer._request()
    with StopSignals() as signals, closing(Arm(trial_request(request, [plugin.name for plugin in plugins]), signals)) as made:
        made.calibrate()
        yield made


def tuned(*plugins: Part) -> TunedReaders:
    with arm(*plugins) as made:
        return tune_readers(made, "readers", LIMITS)


def test_readers_are_added_until_the_model_is_the_limit() -> None:
    found = tuned(Readers(seconds=7.5))
    assert dict(found.settings) == {"plugins.readers.count": 8}
    assert found.searches["count"].end == MODEL_IS_THE_LIMIT
    assert [(step.base, step.other) for step in found.searches["count"].steps] == [(1, 2), (2, 4), (4, 8)]


def test_readers_that_hurt_the_model_are_taken_away() -> None:
    found = tuned(Readers(seconds=1.0, hurt=0.5, count=4))
    assert dict(found.settings)["plugins.readers.count"] == 1


def test_more_are_read_ahead_where_that_helps() -> None:
    found = tuned(Readers(seconds=1.0, gain=0.5))
    assert dict(found.settings) == {"plugins.readers.count": 1, "plugins.readers.depth": 6}


def test_bounds_of_memory_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of the toy takes 4 x 6 floats and 4 labels: 128 bytes."""
    monkeypatch.setattr(reader_tuning, "read_memory", lambda: HostMemory(None, 2 * 4 * 128, None, None, 0))
    found = tuned(Readers(seconds=1.0, gain=0.5))
    assert dict(found.settings)["plugins.readers.depth"] == 4
    assert [step.other for step in found.searches["depth"].steps] == [4], "six do not fit"


def test_no_more_readers_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_tuning, "most_readers", lambda *args: (3, "the test says so"))
    found = tuned(Readers(seconds=1000.0))
    assert dict(found.settings)["plugins.readers.count"] == 3
    assert found.searches["count"].end == "more than 3 are not possible: the test says so"


class Crowded(Readers):
    """Readers beside which each of torch's threads costs an update half a second."""

    def epoch(self, batches: Any, epoch: int, start: int) -> Any:
        for batch in super().epoch(batches, epoch, start):
            CLOCK.advance(0.5 * torch.get_num_threads())
            yield batch


@pytest.mark.parametrize(("plugins", "chosen"), [([], 1), ([Backend()], 1), ([Backend(threads=4)], None)])
def test_torchs_threads_are_chosen_too_unless_the_user_has(
    plugins: list[Part], chosen: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = [4]  # real ones would wait for each other where tests have one core
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setitem(reader_tuning.DEPTHS, "crowded", "depth")
    with arm(Crowded(seconds=1.0), *plugins) as made:
        settings = dict(tune_readers(made, "crowded", LIMITS).settings)
        assert settings.get("plugins.backend.threads") == chosen
        assert threads[-1] == 4, "afterwards there are as many as before"
