"""The same run through each way of reading its data, whole and resumed: losses, weights and batches to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accel import Trainer
from accel.plugins.prefetch import Prefetch
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from accel.testing.toy_run import Spy, Stop

READERS: dict[str, Callable[[], list[Any]]] = {
    "plain": list,
    "workers": lambda: [Workers(count=2)],
    "threads": lambda: [Threads(count=2)],
    "prefetch": lambda: [Prefetch()],
    "workers prefetch": lambda: [Workers(count=2), Prefetch()],
    "threads prefetch": lambda: [Threads(count=2), Prefetch()],
}
MakeTrainer = Callable[..., Trainer]
"""Function that makes the trainer with the settings that it is given: `plugins`, `out`, `resume`."""


def digest_of(value: Any) -> str:
    """Return a digest of a batch: of its structure, its types and its bytes."""
    return hashlib.md5(repr(list(_leaves(value))).encode()).hexdigest()


def _leaves(value: Any) -> Any:
    if isinstance(value, Tensor):
        yield (
            type(value).__name__,
            str(value.dtype),
            tuple(value.shape),
            value.contiguous().flatten().view(torch.uint8).numpy().tobytes(),
        )
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        yield type(value).__name__, len(value)
        for part in value:
            yield from _leaves(part)
    else:
        yield value


class Batches(Spy):
    """Remembers the losses, and a digest of every batch that `loss` hands to it."""

    def __init__(self, stop: int = 0) -> None:
        super().__init__(stop=stop)
        self.seen: list[str] = []

    def begin(self, run: Any) -> None:
        super().begin(run)
        self.seen.clear()

    def see(self, model: torch.nn.Module, batch: Any) -> None:
        """Remember a batch of the training."""
        if model.training:
            self.seen.append(digest_of(batch))


def run_through(make: MakeTrainer, reader: str, stop: int = 0, **settings: Any) -> Batches:
    """Return what was seen of a run whose data is read in one of these ways; `make(spy, **settings)` makes its trainer."""
    spy = Batches(stop)
    torch.manual_seed(0)  # of a model that is passed
    trainer = make(spy, plugins=[*READERS[reader](), spy], watch=(), device="cpu", **settings)
    if stop:
        with pytest.raises(Stop):
            trainer.fit()
    else:
        trainer.fit()
    return spy


def all_equal(make: MakeTrainer, folder: Path, readers: Sequence[str] = tuple(READERS), stop: int = 3) -> Batches:
    """Assert that every way of reading gives the same run, resumed in the middle of an epoch too; return the plain one.

    Args:
        make: makes the trainer.
        folder: of the runs that are resumed.
        readers: ways of reading.
        stop: the update in which a run ends as by a crash, before it is saved.
    """
    plain = run_through(make, "plain")
    assert len(set(plain.seen)) > 1, "every batch is the same: the data is not looked at"
    for reader in readers:
        one = run_through(make, reader) if reader != "plain" else plain
        assert one.seen == plain.seen, f"{reader} reads other batches"
        assert [loss.item() for loss in one.losses] == [loss.item() for loss in plain.losses]
        out = folder / reader.replace(" ", "-")
        run_through(make, reader, stop, out=out, checkpoint_every=1)
        rest = run_through(make, reader, resume=out)
        assert rest.seen == plain.seen[stop - 1 :], f"{reader} goes on with other batches"
        assert [loss.item() for loss in rest.losses] == [loss.item() for loss in plain.losses[stop - 1 :]]
        pairs = zip(rest.states[-1], plain.states[-1], strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), f"{reader} ends with other weights"
    return plain
