"""A snapshot is the state as it was, shares nothing with the run, and uses its memory again."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

import pytest
import torch

from accel.checkpoints.snapshot import Snapshot, bytes_of, tensors
from accel.errors import TrainingError

CPU = torch.device("cpu")


def state() -> dict[str, Any]:
    weight = torch.arange(12.0).reshape(3, 4)
    return {
        "model": OrderedDict(weight=weight, tied=weight, part=weight[1], turned=weight.t(), half=weight.bfloat16()),
        "parts": {"optim": {"state": {0: {"step": torch.tensor(3.0)}}, "betas": (0.9, 0.99)}},
        "history": [{"epoch": 1, "loss": 0.5}], "none": None, "empty": torch.empty(0, 3), "format": torch.float16,
        "images": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), "spread": torch.ones(1).expand(5),
        "sparse": torch.eye(3).to_sparse(), "bytes": torch.get_rng_state()[:8], "shape": weight.shape,
    }  # fmt: skip


def same(one: Any, other: Any) -> bool:
    a, b = dict(tensors(one)), dict(tensors(other))
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and torch.equal(a[key].to_dense(), b[key].to_dense()) for key in a
    )  # fmt: skip


def test_it_is_the_state_as_it_was() -> None:
    before, live = state(), state()
    live["images"] = before["images"].clone()
    taken = Snapshot(CPU).take(live)
    for _, tensor in tensors(live):
        if not tensor.is_sparse and tensor.numel() and tensor.stride() != (0,):
            tensor.fill_(7)
    live["history"].append({"epoch": 2})
    live["history"][0]["loss"] = 9
    assert same(taken, before)
    assert taken["history"] == [{"epoch": 1, "loss": 0.5}]
    assert taken["parts"]["optim"]["betas"] == (0.9, 0.99)
    assert taken["model"]["weight"] is taken["model"]["tied"], "two names of one tensor are written once"
    assert taken["images"].is_contiguous(memory_format=torch.channels_last)


def test_it_loads_as_weights_alone() -> None:
    buffer = io.BytesIO()
    torch.save(Snapshot(CPU).take(state() | {"images": torch.ones(2)}), buffer)
    buffer.seek(0)
    assert same(torch.load(buffer, weights_only=True), state() | {"images": torch.ones(2)})


def test_the_next_uses_the_same_memory() -> None:
    snapshot, places = Snapshot(CPU), []
    for number in range(3):
        taken = snapshot.take({"a": torch.full((4, 4), number), "b": torch.full((3,), number / 2)})
        assert float(taken["b"][0]) == number / 2
        places.append([tensor.data_ptr() for _, tensor in tensors(taken)])
    assert places[0] == places[1] == places[2]
    other = snapshot.take({"a": torch.ones(4, 4, dtype=torch.long), "new": torch.ones(5), "b": torch.ones(3)})
    assert other["new"].shape == (5,)
    assert other["b"].shape == (3,)


def test_tensors_without_numbers_keep_their_own_shapes_and_formats() -> None:
    shapes = [(0, 3), (2, 0), (0,)]
    taken = Snapshot(CPU).take([torch.empty(shape, dtype=kind) for shape in shapes for kind in (torch.float32, torch.int64)])
    assert [(tuple(one.shape), one.dtype) for one in taken] == [(s, kind) for s in shapes for kind in (torch.float32, torch.int64)]


def test_what_no_checkpoint_can_hold_is_named_with_its_place() -> None:
    with pytest.raises(TrainingError, match=r"the state of parts\.mine\.0 holds a function, which no checkpoint can; let its"):
        Snapshot(CPU).take({"parts": {"mine": [lambda: None]}})


def test_the_bytes_of_a_state_count_what_is_copied_once() -> None:
    weight = torch.zeros(16)
    assert bytes_of({"a": weight, "b": [weight, weight[:8]], "c": torch.empty(0), "sparse": torch.eye(3).to_sparse()}) == 64 + 64
    assert bytes_of({"odd": torch.zeros(17), "text": "x", "number": torch.tensor(1.0)}) == 128 + 64
