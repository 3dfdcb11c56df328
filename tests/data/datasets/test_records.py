from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from accel.data import Records, Ring
from accel.data.batches.make_batches import make_batches
from accel.data.store import Record
from accel.errors import ConfigError
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.trainer import Trainer
from tests.support.sample_datasets import md5


class Rows:
    """Rows of a memory-mapped file, handed out without a copy."""

    def __init__(self, path: Path) -> None:
        np.save(path, np.arange(230, dtype=np.int32).reshape(23, 10))
        self.rows = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, index: int) -> memoryview:
        return memoryview(self.rows[index]).cast("B")


class Labelled(Rows):
    def label(self, index: int) -> int:
        return index % 3


def decode(buffer: Record, out: NDArray[Any], rng: np.random.Generator) -> None:
    out[...] = np.frombuffer(buffer, np.int32)
    out += rng.random(out.shape)


@pytest.mark.parametrize("store", [Rows, Labelled])
def test_the_ring_gives_the_batches_of_the_plain_loader(store: type[Rows], tmp_path: Path) -> None:
    data = Records(store(tmp_path / "rows.npy"), decode, (10,), np.float64)
    plain = make_batches(data, 4, seed=5, shuffle=True)
    expected = [md5(plain.epoch(epoch)) for epoch in range(2)]
    for threads in (1, 3):
        with Ring(data, 4, seed=5, shuffle=True, threads=threads) as ring:
            assert [md5(ring.epoch(epoch)) for epoch in range(2)] == expected
    assert expected[0] != expected[1]


def test_what_comes_out_is_what_was_decoded(tmp_path: Path) -> None:
    def exact(buffer: Record, out: NDArray[Any], rng: np.random.Generator) -> None:
        out[...] = np.frombuffer(buffer, np.int32)

    with Ring(Records(Labelled(tmp_path / "rows.npy"), exact, (10,), np.int32), 23, threads=2) as ring:
        ((rows, labels),) = ring.epoch(0)
    assert torch.equal(rows, torch.arange(230, dtype=torch.int32).reshape(23, 10))
    assert labels.tolist() == [index % 3 for index in range(23)]


def test_a_run_is_the_same_by_any_loader(tmp_path: Path) -> None:
    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        rows, labels = batch
        return nn.functional.cross_entropy(model(rows), labels)

    def fit(*plugins: Any) -> list[Any]:
        torch.manual_seed(0)
        data = Records(Labelled(tmp_path / "rows.npy"), scaled, (10,), np.float32)
        result = Trainer(
            model=nn.Linear(10, 3), data=data, loss=loss, plugins=plugins, watch=(), epochs=2, batch_size=4, device="cpu"
        ).fit()
        return [param.tolist() for param in result.model.parameters()]

    assert fit() == fit(Threads(count=2)) == fit(Workers(count=1))


def scaled(buffer: Record, out: NDArray[Any], rng: np.random.Generator) -> None:
    out[...] = np.frombuffer(buffer, np.int32) / 230 + rng.random(out.shape)


@pytest.mark.parametrize(
    ("store", "decode", "message"),
    [
        (object(), decode, r"Records: store is a object without __len__ and get; a store has __len__ and get\(index\)"),
        ([1, 2], decode, "store is a list without get"),
        (Rows, None, "Records: decode cannot be called"),
    ],
)
def test_what_is_no_store(store: Any, decode: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Records(store, decode, (1,), np.float32)
