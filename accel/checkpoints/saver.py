"""When a run is saved, and by whom: the loop waits for a copy of the state, and a thread writes it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from accel.checkpoints import sharded
from accel.checkpoints.batch_sizes import sizes_of
from accel.checkpoints.finite_check import FiniteCheck, finite, tracked_state
from accel.checkpoints.identity import versions
from accel.checkpoints.manifest import SHARDS, Manifest, name_of
from accel.checkpoints.retention import FOLDER, BestMetric, CheckpointFolder
from accel.checkpoints.snapshot import Snapshot
from accel.checkpoints.state import capture
from accel.errors import AccelWarning, ConfigError
from accel.parts import Progress
from accel.system import atomic_files, disk_errors
from accel.system.faults import point

if TYPE_CHECKING:
    from accel.engine.training_run import TrainingRun
    from accel.schema.settings import Settings


class Saver:
    """Saves the run at the end of each epoch, and when it is due, beside the training.

    A checkpoint is two files: `NAME.pt`, the state (tensors and plain values, loaded with `weights_only`), and `NAME.json`,
    what it is of and the sha256 of each file (`Record`). Each is written under another name, flushed to the disk and moved into
    place, the json last: a checkpoint without it, or whose bytes do not match it, is not whole and is never loaded.

    One is written at a time. One that `checkpoint.every` or the end of an epoch asks for waits for the one before it;
    `checkpoint.minutes` asks again after the next update. Where the disk does not take it, the one before is kept, and the
    next is tried when it is due.
    """

    def __init__(self, run: TrainingRun, out: Path, settings: Settings, identity: dict[str, Any], proof: FiniteCheck) -> None:
        self.run, self.identity, self.versions, self.proof = run, identity, versions(run.device), proof
        self.every, minutes = settings.checkpoint_every, settings.checkpoint_minutes
        self.seconds = None if minutes is None else 60 * minutes
        self.best = None if settings.checkpoint_best is None else BestMetric.read(settings.checkpoint_best)
        self.shelf = CheckpointFolder(out / FOLDER, settings.checkpoint_keep, self.best)
        self.snapshot = Snapshot(run.device)
        self.thread: Thread | None = None
        self.error: BaseException | None = None
        """What the thread failed with, until the loop has heard of it."""
        self.since, self.last_tried, self.last_saved = monotonic(), "", ""
        """`begun` and `saved`: the names of the checkpoint tried last, and of the last that is on the disk."""
        self.disk_error = ""
        """What the disk said, since it began to refuse; empty where all is well."""

    def drop_newer(self) -> None:
        """Takes away the checkpoints after the one that this run goes on from, before anything else is written: were it killed
        now, it would go on from one of them, and what the watches have written up to there is about to be cut off."""
        if self.last_saved:
            self.shelf.remove_after(self.last_saved)
            atomic_files.flush_folder(self.shelf.folder)

    def due(self, progress: Progress) -> bool:
        """Whether the last update asks for a checkpoint. Hears of what the thread came to."""
        if self.thread is not None and not self.thread.is_alive():
            self.wait()
        late = self.seconds is not None and self.thread is None and monotonic() - self.since > self.seconds
        if self.seconds is not None:  # the clocks of the ranks differ
            late = self.run.parts.parallel.vote(late, about="save")
        return late or (self.every is not None and progress.step % self.every == 0)

    def save(self, progress: Progress, loss: Tensor | None = None) -> None:
        """Takes a copy of the state consumed so far and begins to write it; nothing where this very state is saved already.

        Args:
            progress: how far the run is.
            loss: of the last update, 0-dim on the device.

        Raises:
            ConfigError: where `checkpoint.best` names no metric; the checkpoint is written all the same.
        """
        self.wait()
        name, parallel = name_of(progress.step, progress.epoch), self.run.parts.parallel
        if parallel.rank == 0:
            self.shelf.remove_temporaries()  # before any rank begins to write
        if not parallel.any(name != self.last_saved):
            return
        point("saving.begun")
        state, pieces = sharded.split_sharded(capture(self.run, progress))
        taken = self.snapshot.take({**(state if parallel.rank == 0 else {}), "pieces": pieces, "loss": loss})
        point("saving.copied")
        metrics = self.metrics(progress)
        self.since, self.last_tried = monotonic(), name
        if parallel.rank == 0:
            self.thread = Thread(
                target=self._write, args=(taken.pop("pieces"), taken.pop("loss"), taken, metrics), name="accel-saver"
            )
        else:
            self.thread = Thread(target=self._hand_over, args=(taken["pieces"],), name="accel-saver")
        self.thread.start()
        if self.best is not None and (wrong := self.best.missing(metrics)):
            raise ConfigError(wrong)

    def wait(self) -> str:
        """Waits until nothing is being written; returns why the last state is not saved, or an empty text where it is.

        Raises:
            Exception: whatever the writing thread failed with, a disk that takes no more excepted: that is a warning.
        """
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        error, self.error = self.error, None
        if isinstance(error, OSError):
            first, self.disk_error = not self.disk_error, disk_errors.disk_reason(error)
            if first:
                kept = f"{self.last_saved} is kept" if self.last_saved else "there is none before it"
                warnings.warn(
                    f"the checkpoint {self.last_tried} could not be saved: {self.disk_error}; {kept}, training goes on, and the "
                    f"next is tried when it is due; {disk_errors.remedy(error)} the disk of {self.shelf.folder}",
                    AccelWarning, stacklevel=3,
                )  # fmt: skip
        elif error is not None:
            raise error
        elif self.last_tried == self.last_saved:
            self.disk_error = ""
        return self.disk_error

    def close(self) -> None:
        """Waits for what is being written, however the run ends."""
        try:
            self.wait()
        except Exception as error:  # where the run itself has ended with an error, that is the one to tell
            warnings.warn(f"the checkpoint {self.last_tried} could not be saved: {error}", AccelWarning, stacklevel=2)

    def newest_finite(self) -> Path | None:
        """The newest checkpoint on the disk that is proven finite, once nothing is being written; None where there is none."""
        self.close()
        finite = CheckpointFolder(self.shelf.folder, 1, None).finite()  # as it lies there: the first rank alone keeps a list
        return self.shelf.folder / f"{finite[-1]}.pt" if finite else None

    def metrics(self, progress: Progress) -> dict[str, float]:
        """Those of the evaluation just made, where one was."""
        last = self.run.history[-1] if self.run.history and progress.batch == 0 else {}
        return {name: value for name, value in last.items() if name != "epoch"} if last.get("epoch") == progress.epoch else {}

    def _hand_over(self, pieces: dict[str, Tensor]) -> None:
        """The thread of a rank above the first: only what it alone has is written."""
        try:
            self.snapshot.wait()
            if pieces:
                self._own(pieces)
            self.last_saved = self.last_tried
        except BaseException as error:
            self.error = error

    def _own(self, pieces: dict[str, Tensor]) -> tuple[Path, bool]:
        """Writes this rank's pieces, and waits for the others: into which folder, and whether those of all ranks are finite."""
        group, temporary = self.run.parts.parallel.saving, self.shelf.folder / f".{self.last_tried}{SHARDS}.tmp"
        sharded.save_sharded(pieces, temporary, group)
        point("saving.shards.written")
        return temporary, sharded.all_agree(all(map(finite, sharded.local_pieces(pieces))), group)

    def _pieces(self, pieces: dict[str, Tensor]) -> tuple[dict[str, dict[str, Any]], bool]:
        """Writes what is spread over the ranks, into place: what is to be known of each file, and whether all of it is finite."""
        name = f"{self.last_tried}{SHARDS}"
        place = self.shelf.folder / name
        temporary, whole = self._own(pieces)
        facts = {f"{name}/{file.name}": atomic_files.checksum(file) for file in sorted(temporary.iterdir())}
        atomic_files.flush_folder(temporary)
        if place.exists():  # of a process that was killed before it was done
            self.shelf.remove(self.last_tried)
        temporary.replace(place)
        point("saving.shards.moved")
        return facts, whole

    def _write(self, pieces: dict[str, Tensor], loss: Tensor | None, state: dict[str, Any], metrics: dict[str, float]) -> None:
        """The thread: copies arrive, are looked through, written, and what need not stay is taken away."""
        try:
            self.snapshot.wait()
            for watch in self.run.watches:
                watch.sync()
            folder = self.shelf.folder
            folder.mkdir(parents=True, exist_ok=True)
            name = self.last_tried
            files, whole = self._pieces(pieces) if pieces else ({}, True)
            with atomic_files.replacing(folder / f"{name}.pt", "saving.state") as stream, without_crc():
                torch.save(state, cast(Any, stream))
            record = Manifest(
                files={f"{name}.pt": stream.checksum(), **files}, progress=state["progress"], identity=self.identity,
                sizes=vars(sizes_of(self.run)), versions=self.versions,
                metrics={key: value if isfinite(value) else None for key, value in metrics.items()},
                finite=whole and self.proof({**state, "loss": loss}, tracked_state(self.run.parts)),
            )  # fmt: skip
            atomic_files.write(folder / f"{name}.json", record.text().encode(), "saving.record")
            self.last_saved = name
            self.shelf.add(record)
            point("saving.done")
        except BaseException as error:
            self.error = error
            if self.last_saved != self.last_tried:
                with suppress(OSError):  # half of it is no checkpoint, and takes room
                    self.shelf.remove(self.last_tried)


@contextmanager
def without_crc() -> Iterator[None]:
    """Without torch.save's own checksums, for which it keeps all other threads from running Python; the sha256 stands for them."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


class NoSaver(Saver):
    """For a run that writes nothing."""

    def __init__(self) -> None: ...

    def due(self, progress: Progress) -> bool:
        return False

    def save(self, progress: Progress, loss: Tensor | None = None) -> None: ...

    def drop_newer(self) -> None: ...

    def wait(self) -> str:
        return ""

    def newest_finite(self) -> Path | None:
        return None
