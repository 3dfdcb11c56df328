"""Copies to a CUDA device, snapshots of it, and decoding on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.checkpoints.snapshot import Snapshot
from accel.data import DataLoaderX, Ring
from accel.data.datasets.image_folder import AugmentedFolder
from accel.data.loaders.device_copy import DeviceCopier
from accel.errors import AccelWarning
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.dali import DALI
from accel.plugins.ema import EMA
from accel.plugins.oom import OOM
from accel.plugins.pinned import Pinned
from accel.plugins.prefetch import Prefetch
from accel.plugins.stream import Stream
from accel.plugins.threads import Threads
from accel.system.machine import importable
from accel.tasks.images import Images
from accel.testing import fit_toy
from tests.plugins import test_dali
from tests.support import sample_datasets
from tests.support.cuda_runs import peaks
from tests.support.sample_datasets import Drawn, Filled, md5
from tests.support.sync_error_watch import Strict
from tests.support.wide_model import BYTES, SAMPLES, batches, in_pieces, trained

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


WAYS: list[Callable[[], list[Part]]] = [
    lambda: [Pinned()],
    lambda: [Stream()],
    lambda: [Threads(), Stream()],
    lambda: [Threads(depth=1), Prefetch(), Pinned(), Accumulate(steps=3)],
]


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("data", [Filled, Drawn])
def test_what_reaches_the_device_is_what_was_read(way: int, data: type) -> None:
    def seen(plugins: list[Part]) -> list[str]:
        actual: list[Tensor] = []

        def loss(model: nn.Module, batch: Any) -> Tensor:
            x, y = batch
            assert x.device.type == y.device.type == "cuda"
            torch.cuda._sleep(20_000_000)  # the device is behind: a batch that is written over too soon shows
            actual.append(x.clone())
            return model(x.float()).mean()

        Trainer(
            nn.Sequential(nn.Flatten(), nn.Linear(6, 1)), data(), loss=loss, plugins=plugins, watch=(), epochs=3, batch_size=4,
            device="cuda",
        ).fit()  # fmt: skip
        return md5(x.cpu() for x in actual)

    assert seen(WAYS[way]()) == seen([part for part in WAYS[way]() if isinstance(part, Accumulate)])


@pytest.mark.parametrize("plugin", [Pinned, Stream])
def test_no_copy_is_waited_for(plugin: type[Part]) -> None:
    data = [(torch.randn(64, 4), torch.zeros(64)) for _ in range(12)]
    Trainer(
        nn.Linear(4, 1), data, loss=lambda m, b: m(b[0]).square().mean(), plugins=[plugin()], watch=(Strict(),), device="cuda"
    ).fit()


def test_the_source_of_a_copy_is_held_until_the_copy_is_done() -> None:
    for beside in (False, True):
        copies = DeviceCopier(torch.device("cuda"), beside)
        torch.cuda._sleep(200_000_000)
        source = torch.ones(1 << 20)
        there = copies.finish(copies.start((source, "text")))
        assert len(copies.pending) == 1
        assert there[0].device.type == "cuda"
        assert float(there[0].sum()) == 1 << 20
        torch.cuda.synchronize()
        copies.start(source)
        assert len(copies.pending) == 1, "what is done is let go of"
        copies.close()
        assert not copies.pending


def test_a_slot_of_the_ring_is_pinned_and_not_written_over_while_it_is_read() -> None:
    with Ring(sample_datasets.Wide(), 8, threads=2, depth=2, pin=True) as ring:
        expected = md5(ring.epoch(0))
        copies = DeviceCopier(torch.device("cuda"), beside=False)
        torch.cuda._sleep(200_000_000)
        there = []
        for batch in ring.epoch(0):
            assert batch[0].is_pinned()
            there.append(copies.finish(copies.start(batch)))
            del batch
        assert md5([[part.cpu() for part in batch] for batch in there]) == expected
        copies.close()


def test_dataloaderx_brings_batches_to_the_device() -> None:
    data = torch.utils.data.TensorDataset(torch.arange(40.0).reshape(20, 2))
    actual = [batch[0] for batch in DataLoaderX(data, batch_size=4, device="cuda")]
    assert all(part.device.type == "cuda" for part in actual)
    assert torch.cat(actual).cpu().flatten().tolist() == list(range(40))


def test_the_copy_runs_beside_the_computation() -> None:
    """By events: the copy begins before the computation that was queued first has ended."""
    copies = DeviceCopier(torch.device("cuda"), beside=True)
    source = torch.empty(1 << 26).pin_memory()
    copies.start(source)  # the first allocates
    copies.close()
    done = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    done.record()
    arriving = copies.start(source)
    arriving.event.synchronize()
    assert not done.query()
    copies.close()


def test_a_snapshot_is_of_the_moment_it_was_taken_and_the_host_does_not_wait() -> None:
    """The device is kept busy, the copy queued behind that, and the tensor written to behind the copy."""
    device = torch.device("cuda")
    snapshot, live = Snapshot(device), torch.zeros(1 << 22, device=device)
    for number in range(3):
        live.fill_(number)
        torch.cuda.synchronize()
        torch.cuda._sleep(200_000_000)
        taken = snapshot.take({"live": live, "host": torch.ones(3)})
        live.fill_(-1)
        assert number == 0 or not snapshot.event.query(), "the host went on before the copy was made; the first allocates"
        snapshot.wait()
        assert taken["live"].is_pinned()
        assert torch.equal(taken["live"], torch.full((1 << 22,), float(number)))


def test_a_run_saved_beside_the_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit_toy([AdamW(), EMA()], epochs=2, device="cuda")
    fit_toy([AdamW(), EMA()], epochs=2, device="cuda", out=tmp_path / "run", checkpoint_every=1, stop=8)
    rest = fit_toy([AdamW(), EMA()], epochs=2, device="cuda", resume=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, rest.weights, strict=True))


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Of the device's memory no more than so many bytes beside those that are taken."""
    torch.cuda.empty_cache()
    taken, whole = torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((taken + count) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_memory_of_the_device_that_is_really_short(where: str) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    forward, backward = peaks(batches(1)[0])
    assert backward > forward + BYTES
    update, seen = OOM(), list[int]()
    room = forward - BYTES // 2 if where == "forward" else (forward + backward) // 2
    with room_for(room), pytest.warns(AccelWarning, match="oom: memory was short in update 1"):
        short = trained(batches(1), update, device="cuda", seen=seen)
    assert (SAMPLES in seen) == (where == "backward"), "the forward pass went well, and the backward pass did not"
    assert 1 < update.size < SAMPLES
    assert torch.equal(short, in_pieces(1, update.size, device="cuda"))
    assert not torch.equal(short, torch.ones_like(short))


@pytest.mark.skipif(not importable("nvidia.dali"), reason="NVIDIA DALI is not installed: the extra dali")
def test_dali_decodes_on_the_gpu(tmp_path: Path) -> None:
    root = test_dali.pictures(tmp_path)
    data = AugmentedFolder(root / "train", test_dali.CLASSES, 32, "resized", flip=True)
    plain = test_dali.batches(data, epoch=1)
    actual = test_dali.batches(data, epoch=1, device="mixed")
    assert all(batch[0].is_cuda and batch[0].dtype == torch.uint8 for batch in actual)
    assert [batch[1].tolist() for batch in actual] == [batch[1].tolist() for batch in plain]
    near = [value for batch_a, theirs in zip(actual, plain, strict=True) for value in test_dali.psnr(batch_a[0].cpu(), theirs[0])]
    assert min(near) > 25, "those that are mirrored, or another picture's, are at 15 at most"
    plugin = DALI()
    result = Images(
        root=str(root), size=32, crop="resized", plugins=[plugin], watch=(), batch_size=5, epochs=1, device="cuda"
    ).fit()
    assert plugin.decode_device == "mixed"
    assert result.samples == 12
