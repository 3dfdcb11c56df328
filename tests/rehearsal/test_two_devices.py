"""Everything works on `cuda:1` while the current device is `cuda:0`, and from any thread."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import torch
from nullcuda import devices

from accel.device.async_readback import AsyncReadback
from tests.rehearsal import races

pytestmark = [
    pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning"),
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices"),
]
RUNS = [*races.BATCHES, *races.SAMPLES]


@pytest.fixture(autouse=True)
def first_device_is_current() -> Iterator[None]:
    torch.cuda.set_device(0)
    torch.cuda.empty_cache()
    yield
    assert torch.cuda.current_device() == 0, "the run has left another device current"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_on_the_second_device_is_that_on_the_first(name: str, tmp_path: Any) -> None:
    expected = races.fit(name, tmp_path / "first", device="cuda:0")
    reserved = torch.cuda.memory_allocated(0)
    torch.cuda.reset_peak_memory_stats(0)
    assert races.fit(name, tmp_path / "second", device="cuda:1") == expected
    assert torch.cuda.max_memory_allocated(0) == reserved, "something was made on the current device"


@pytest.mark.parametrize("lazy", [0, 1])
def test_a_number_is_read_when_it_has_arrived(lazy: int) -> None:
    with devices.configured(lazy=lazy):
        readback = AsyncReadback(1, torch.device("cuda:1"))
        devices.drain_all()
        for number in range(1, 4):
            readback.slots[0].fill_(float(number))
            readback.start()
            row = readback.poll()
            while row is None:
                row = readback.poll()
            assert row == [float(number)]


@pytest.mark.parametrize("name", ["threads prefetch", "workers", "graph"])
def test_a_run_in_a_thread_is_that_of_the_main_thread(name: str) -> None:
    losses: list[Any] = []
    thread = Thread(target=lambda: losses.append(races.fit(name, device="cuda:1")))
    thread.start()
    thread.join()
    assert losses == [races.fit(name, device="cuda:0")]


def test_threads_of_the_loader_have_the_device_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank whose main thread has set its device: what a data set makes on "cuda" in a thread lands there too."""
    places: set[int] = set()
    fill = races.Samples.fill

    def fill_and_look(self: Any, *args: Any) -> int:
        places.add(torch.cuda.current_device())
        return fill(self, *args)

    monkeypatch.setattr(races.Samples, "fill", fill_and_look)
    races.fit("threads prefetch", device="cuda:1")
    assert places == {1}
