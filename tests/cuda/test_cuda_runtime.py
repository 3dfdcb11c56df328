"""CUDA's runtime as accel meets it: pinned memory, its refusal, memory that is short in a capture, devices asked for in time."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accel import Trainer
from accel.checkpoints.snapshot import SLACK, Snapshot, bytes_of
from accel.data.loaders.device_copy import DeviceCopier
from accel.device.cuda import pinned_memory
from accel.device.cuda.pinned_arena import PinnedArena
from accel.device.cuda.pinned_memory import PinnedMemory
from accel.device.cuda_graphs import CudaRecorder
from accel.errors import AccelWarning, TrainingError
from accel.plugins.adamw import AdamW
from accel.plugins.stream import Stream
from accel.plugins.workers import Workers
from tests.support.sample_datasets import Filled

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
CUDA = torch.device("cuda")


def test_a_refusal_to_pin_leaves_no_error_behind() -> None:
    pinned, memory = PinnedMemory("tests"), np.empty(0, np.uint8)  # of no size
    with pytest.warns(AccelWarning, match="CUDA refuses to pin memory of the host"):
        pinned.register(memory)
    assert pinned.refused
    assert float(torch.ones(4, device=CUDA).sum()) == 4
    pinned_memory._unregister(torch.cuda.cudart(), 4096, 0)  # type: ignore[no-untyped-call]
    assert float(torch.ones(4, device=CUDA).sum()) == 4


@pytest.fixture
def _refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA refuses: what it is asked to pin has no size."""
    register = pinned_memory._register
    monkeypatch.setattr(pinned_memory, "_register", lambda memory: register(memory[:0]))


@pytest.mark.usefixtures("_refused")
def test_workers_go_on_unpinned_and_say_so() -> None:
    plugins = [Workers(count=1), Stream()]
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    with pytest.warns(AccelWarning, match="CUDA refuses to pin memory of the host") as warned:
        result = Trainer(
            net, Filled(), loss=lambda m, b: m(b[0]).mean(), plugins=plugins, watch=(), device="cuda", batch_size=4, epochs=2
        ).fit()
    assert len(warned) == 1
    assert result.updates == 12
    assert result.remarks == ["copies were waited for where CUDA refused to pin memory: workers"]


@pytest.mark.usefixtures("_refused")
def test_a_snapshot_goes_on_unpinned_and_says_so() -> None:
    snapshot, live = Snapshot(CUDA), torch.arange(1000.0, device=CUDA)
    with pytest.warns(AccelWarning, match="CUDA refuses to pin memory of the host"):
        taken = snapshot.take({"live": live})
    snapshot.wait()
    assert torch.equal(taken["live"], torch.arange(1000.0))


def state() -> dict[str, Any]:
    weight = torch.randn(3, 5, device=CUDA)
    return {
        "weight": weight,
        "tied": weight,
        "turned": torch.randn(7, 9, device=CUDA).t(),
        "half": torch.randn(11, device=CUDA).half(),
        "flags": torch.ones(3, dtype=torch.bool, device=CUDA),
        "images": torch.randn(2, 3, 4, 4, device=CUDA).to(memory_format=torch.channels_last),
        "host": torch.arange(5),
        "empty": torch.empty(0, 3, device=CUDA),
        "number": torch.tensor(2.5, device=CUDA),
    }


def test_a_snapshot_is_one_stretch_of_exact_size_used_again() -> None:
    snapshot, live = Snapshot(CUDA), state()
    places = []
    for _ in range(3):
        taken = snapshot.take(live)
        snapshot.wait()
        places.append([value.data_ptr() for value in taken.values() if value.numel()])
        for name, value in taken.items():
            assert torch.equal(value, live[name].cpu()), name
            assert value.is_pinned() or not value.numel()
            assert value.untyped_storage().nbytes() == value.nbytes, "it is saved without the others"
    assert taken["images"].is_contiguous(memory_format=torch.channels_last)
    assert taken["weight"] is taken["tied"]
    assert places[0] == places[1] == places[2]
    assert [arena.size for arena in snapshot.arenas] == [4096]
    big = {"a": torch.zeros(1 << 20, device=CUDA), "b": torch.zeros(1000, 1001, device=CUDA)}
    snapshot.take(big)
    assert snapshot.arenas[0].size <= 1.02 * sum(value.nbytes for value in big.values())
    more = snapshot.add({"c": torch.ones(100, device=CUDA)})
    snapshot.wait()
    assert len(snapshot.arenas) == 2
    assert torch.equal(more["c"], torch.ones(100))


def test_the_memory_of_a_snapshot_can_be_made_ahead() -> None:
    snapshot, live = Snapshot(CUDA), {"a": torch.zeros(1 << 20, device=CUDA)}
    snapshot.prepare(lambda: bytes_of(live))
    assert snapshot.preparation is not None
    snapshot.preparation.join()
    ahead = snapshot.arenas[0]
    assert bytes_of(live) <= ahead.size <= bytes_of(live) + 2 * SLACK
    snapshot.take(live | {"small": torch.zeros(3, device=CUDA)})
    assert snapshot.arenas == [ahead]


def test_memory_that_is_gone_is_unpinned() -> None:
    arena = PinnedArena(1 << 20, PinnedMemory("tests"))
    room, whole = arena.place(torch.empty(100)), weakref.ref(arena.memory)
    del arena
    assert room.is_pinned(), "a tensor in it is held"
    del room
    assert whole() is None
    assert float(torch.ones(4, device=CUDA).sum()) == 4, "and no error is left"


def test_memory_that_is_gone_is_unpinned_when_the_copies_are_done() -> None:
    live = torch.ones(1 << 18, device=CUDA)
    torch.cuda._sleep(200_000_000)
    arena = PinnedArena(live.nbytes, PinnedMemory("tests"))
    arena.place(live).copy_(live, non_blocking=True)
    done = torch.cuda.Event()
    done.record()
    del arena
    assert done.query()


class Broken(dict[str, Any]):
    """Part of a batch that cannot be walked through."""

    def items(self) -> Any:
        raise KeyError("mine")


def test_the_sources_of_copies_are_held_where_a_later_one_fails() -> None:
    copies = DeviceCopier(CUDA, beside=False)
    torch.cuda._sleep(200_000_000)
    with pytest.raises(KeyError):
        copies.start([torch.ones(1 << 18), Broken()])
    event, sources = copies.pending[0]
    assert not event.query()
    assert [source.is_pinned() for source in sources] == [True]
    copies.close()


def test_a_snapshot_that_fails_has_no_copies_under_way() -> None:
    snapshot, live = Snapshot(CUDA), torch.ones(1 << 18, device=CUDA)
    torch.cuda._sleep(200_000_000)
    with pytest.raises(TrainingError, match=r"the state of b holds a object"):
        snapshot.take({"a": live, "b": object()})
    assert torch.cuda.current_stream().query()


def test_what_fails_on_the_capture_stream_is_waited_for_by_the_computation() -> None:
    recorder, weight = CudaRecorder(CUDA), torch.zeros(4, device=CUDA)

    def work() -> None:
        torch.cuda._sleep(200_000_000)
        weight.add_(1)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        recorder.run_on_capture_stream(work)
    assert weight.tolist() == [1, 1, 1, 1]


def test_the_model_of_a_run_frees_its_memory_at_once() -> None:
    def fit() -> None:
        net, batches = nn.Linear(256, 256), [torch.randn(8, 256) for _ in range(5)]
        Trainer(net, batches, loss=lambda m, x: m(x).square().mean(), plugins=[AdamW()], watch=(), device="cuda").fit()

    fit()
    gc.collect()
    gc.disable()
    try:
        before = torch.cuda.memory_allocated()
        fit()
        assert torch.cuda.memory_allocated() - before < 256 * 256 * 4
    finally:
        gc.enable()


SHORT = """
import torch
from accel import Trainer
from accel.plugins import CudaGraph

def loss(model, x):
    out = model(x)
    if torch.cuda.is_current_stream_capturing():
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    return out.mean()

torch.backends.cudnn.enabled = False
Trainer(torch.nn.Linear(4, 1), [torch.ones(2, 4)] * 5, loss=loss, plugins=[CudaGraph(warmup=1)], watch=()).fit()
"""

COMPOSED = """
from accel.system import machine
import torch
assert machine.has_cuda() and machine.resolve_device("auto") == "cuda"
assert not torch.cuda.is_initialized()
"""


def test_memory_that_is_short_in_a_capture_is_called_so() -> None:
    """In a process of its own: a capture that failed may leave torch's generator as if it went on."""
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=False)
    assert "TrainingError: cuda_graph: memory is short in the capture" in done.stderr
    assert "out of memory" in done.stderr


def test_asking_for_devices_initialises_nothing() -> None:
    subprocess.run([sys.executable, "-c", COMPOSED], check=True)
