"""CUDA refuses to pin memory: each run goes on without, has the same numbers, and says so once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from nullcuda import devices

from accel.data import Ring
from accel.data.loaders.device_copy import DeviceCopier
from accel.device.async_readback import AsyncReadback
from accel.device.cuda.pinned_memory import refusal_remarks
from tests.rehearsal import races
from tests.support.sample_datasets import Filled

USERS = {
    "plain": {"numbers to read"},
    "pinned": {"batches"},
    "stream": {"batches"},
    "threads": {"batches", "threads"},
    "workers": {"batches", "workers"},
    "resident": {"indices"},
    "augment": {"batches", "boxes to erase"},
}
"""Whose memory would be pinned beside the checkpoints, in runs that show it."""


@contextmanager
def refused() -> Iterator[None]:
    """Nothing can be pinned but the single numbers that torch itself reads."""
    torch.cuda.synchronize()
    torch._C._host_emptyCache()
    with devices.configured(registers=0, pinned_kb=0):
        yield


@pytest.mark.parametrize("name", [*races.BATCHES, *races.SAMPLES])
def test_a_run_goes_on_and_says_so_once(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expected = races.fit(name, tmp_path / "pinned")
        with devices.configured(lazy=1), refused():
            assert races.fit(name, tmp_path / "refused") == expected
    messages = [str(warning.message) for warning in caught if "CUDA refuses" in str(warning.message)]
    assert len(messages) == 1
    assert messages[0].startswith("CUDA refuses to pin memory of the host (out of memory); ")
    (remark,) = refusal_remarks()
    assert set(remark.partition(": ")[2].split(", ")) >= {"checkpoints"} | USERS.get(name, set())


def test_numbers_are_read_without() -> None:
    with refused():
        with pytest.warns(match="CUDA refuses to pin"):
            readback = AsyncReadback(1000, torch.device("cuda"))
        readback.row.fill_(3.0)
        readback.start()
        assert readback.poll(wait=True) == [3.0] * 1000


def read(pin: bool) -> list[torch.Tensor]:
    """Return the batches of an epoch, read and copied to the device without a run."""
    with Ring(Filled(), 8, threads=2, pin=pin) as ring:
        copies = DeviceCopier(torch.device("cuda"), beside=True)
        there = [copies.finish(copies.start(batch))[0] for batch in ring.epoch(0)]
        copies.close()
        assert not any(batch[0].is_pinned() for batch in ring.epoch(1))
    return there


def test_what_is_used_without_a_run_goes_on_too() -> None:
    with refused(), pytest.warns(match="CUDA refuses to pin"):
        there = read(pin=True)
    assert all(torch.equal(*pair) for pair in zip(read(pin=False), there, strict=True))
