"""Saving of a run: the loop waits for a copy of the state, and a thread writes it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import proxy

from torch import Tensor

from accel.checkpoints import sharded
from accel.checkpoints.batch_sizes import sizes_of
from accel.checkpoints.finite_check import FiniteCheck, finite, tracked_state
from accel.checkpoints.identity import versions
from accel.checkpoints.manifest import SHARDS, Manifest, name_of
from accel.checkpoints.retention import FOLDER, CheckpointFolder
from accel.checkpoints.snapshot import Snapshot
from accel.checkpoints.state import capture, moved_bytes
from accel.checkpoints.state_file import write_state
from accel.checkpoints.weights import BEST, BestMetric, BestWeights, evaluated_weights
from accel.device.cuda.device_threads import DeviceThread
from accel.errors import ConfigError
from accel.parts import Progress, Run
from accel.parts.model_shape.model_structure import structure_of
from accel.schema.settings import Settings
from accel.system import atomic_files, disk_errors
from accel.system.call_stack import warn_user
from accel.system.faults import point

__all__ = ["Saver"]


class Saver:
    """Writer of checkpoints: at the end of epochs and when one is due, beside the training.

    A checkpoint is two files: `NAME.pt`, the state (tensors and plain values, loaded with `weights_only`), and `NAME.json`, its
    `Manifest` with the sha256 of each file. Each is written under another name, flushed to the disk and moved into place, the
    json last. A checkpoint without its json, or whose bytes do not match it, is not whole and is never loaded.

    One is written at a time. A checkpoint that `checkpoint.every` or the end of an epoch asks for waits for the one before;
    `checkpoint.minutes` asks again after the next update. If the disk refuses one, the one before is kept until the next is due.

    Args:
        run: the run.
        out: its run directory.
        settings: how often to save and what to keep.
        identity: what a resumed run must have in common with this one.
        finite_check: the check of what is saved.
    """

    def __init__(self, run: Run, out: Path, settings: Settings, identity: dict[str, Any], finite_check: FiniteCheck) -> None:
        self.run, self.finite_check = proxy(run), finite_check  # the run holds the saver
        self.identity, self.versions = identity, versions(run.device)
        self.every, self.epochs, minutes = settings.checkpoint_every, settings.checkpoint_epochs, settings.checkpoint_minutes
        self.seconds = None if minutes is None else 60 * minutes
        self.best = None if settings.checkpoint_best is None else BestMetric.read(settings.checkpoint_best)
        self.folder = CheckpointFolder(out / FOLDER, settings.checkpoint_keep, self.best)
        self.best_weights = BestWeights(out)
        self.unsaved: dict[str, str] = {}  # files beside the checkpoints that the disk did not take, with the reason
        self.snapshot = Snapshot(run.device)
        self.thread, self.error = None, None  # type: DeviceThread | None, BaseException | None  # that of the thread, until it is raised
        self.since, self.last_tried, self.last_saved = monotonic(), "", ""  # names: tried last, and last on the disk
        self.disk_error = ""  # reason of the disk, since it began to refuse

    def drop_newer(self) -> None:
        """Remove the checkpoints after the one that this run goes on from, before anything else is written.

        If the run were killed now, it would go on from one of them, and the watches are about to cut off their files there.
        """
        if self.last_saved:
            self.folder.remove_after(self.last_saved)
            atomic_files.flush_folder(self.folder.path)

    def due(self, progress: Progress) -> bool:
        """Return whether a checkpoint is due after the last update. Raise what the thread failed with, as `wait` does."""
        self.snapshot.prepare(partial(moved_bytes, self.run))
        if self.thread is not None and not self.thread.is_alive():
            self.wait()
        late = self.seconds is not None and self.thread is None and monotonic() - self.since > self.seconds
        if self.seconds is not None:  # the clocks of the ranks differ
            late = self.run.parts.parallel.vote(late, topic="save")
        in_turn = self.every is not None and progress.step % self.every == 0
        return late or in_turn or bool(self.best and self.run.last_evaluation and self.best.is_due(self.run.history))

    def epoch_due(self, progress: Progress) -> bool:
        """Return whether a checkpoint is due at the end of an epoch: in its turn, the last, or the best so far."""
        last, in_turn = progress.epoch >= self.run.epochs, progress.epoch % self.epochs == 0
        return last or in_turn or bool(self.best and self.best.is_due(self.run.history))

    def save(self, progress: Progress, loss: Tensor | None = None, before_evaluation: bool = False) -> None:
        """Copy the state consumed so far and begin to write it. Do nothing if this very state is saved already.

        Args:
            progress: how far the run is.
            loss: the loss of the last update, 0-dim on the device.
            before_evaluation: whether the evaluation after the last update is still to be made: a state with a name of its own.

        Raises:
            ConfigError: if `checkpoint.best` names no metric of any evaluation; the checkpoint is written all the same.
        """
        self.wait()
        name, parallel = name_of(progress.step, progress.epoch, before_evaluation), self.run.parts.parallel
        if parallel.rank == 0:
            with suppress(OSError):  # they are in nobody's way
                self.folder.remove_temporaries()  # before any rank begins to write
        if not parallel.any(name != self.last_saved):
            return
        point("saving.begun")
        state, pieces = sharded.split_sharded(capture(self.run, progress))
        taken = self.snapshot.take({**(state if parallel.rank == 0 else {}), "pieces": pieces, "loss": loss})
        best = self._take_best(metrics := self.run.last_evaluation)
        point("saving.copied")
        self.since, self.last_tried, pieces, loss = monotonic(), name, taken.pop("pieces"), taken.pop("loss")
        moment = {"before_evaluation": before_evaluation, "structure": structure_of(self.run)}
        work = partial(self._write, loss, taken, metrics, best, moment) if parallel.rank == 0 else self._hand_over
        self.thread = DeviceThread(target=work, args=(pieces,), name="accel-saver")
        self.thread.start()
        if self.best is not None and (problem := self.best.missing(metrics, self.run.history)):
            raise ConfigError(problem)

    def wait(self) -> str:
        """Wait until nothing is being written. Return why the last state is not saved; an empty text if it is.

        Raises:
            Exception: whatever the writing thread failed with. A disk that takes no more is a warning instead.
        """
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        error, self.error = self.error, None
        if isinstance(error, OSError):
            first, self.disk_error = not self.disk_error, disk_errors.disk_reason(error)
            if first:
                kept = f"{self.last_saved} is kept" if self.last_saved else "there is none before it"
                state = f"the checkpoint {self.last_tried} could not be saved: {self.disk_error}; {kept}, training goes on, and the"
                state += f" next is tried when it is due; {disk_errors.remedy(error)} the disk of {self.folder.path}"
                warn_user(state, again=True, local=True)
        elif error is not None:
            raise error
        elif self.last_tried == self.last_saved:
            self.disk_error = ""
        return self.disk_error

    def close(self) -> None:
        """Wait for what is being written, however the run ends."""
        try:
            self.wait()
        except Exception as error:  # if the run itself ended with an error, that is the one to report
            warn_user(f"the checkpoint {self.last_tried} could not be saved: {error}", local=True)

    def newest_finite(self) -> Path | None:
        """Return the newest checkpoint that is known to be finite, once nothing is being written; None if there is none."""
        self.close()
        names = CheckpointFolder(self.folder.path, 1, None).finite()  # read from the disk: only the first rank keeps a list
        return self.folder.path / f"{names[-1]}.pt" if names else None

    def write_best(self, state: dict[str, Any], manifest: Manifest) -> None:
        """Write best.safetensors. What the disk does not take is noted in `unsaved`: a run that goes on writes it."""
        assert self.best is not None
        self.unsaved.pop(BEST, None)
        try:
            self.best_weights.write_of(state, manifest, self.best.metric)
        except OSError as error:
            self.unsaved[BEST] = disk_errors.disk_reason(error)

    def outdated_best(self, newest: str) -> str:
        """Return the best checkpoint up to `newest` if best.safetensors is not of it, else an empty text.

        If there is no best, the file is of a course that the run has left, and is removed.
        """
        if self.best is None:
            return ""
        name = self.best.of({name: manifest for name, manifest in self.folder.manifests.items() if name <= newest})
        if name is None and self.run.parts.parallel.rank == 0:
            self.best_weights.remove()
        return name if name is not None and name != self.best_weights.checkpoint() else ""

    def _hand_over(self, pieces: dict[str, Tensor]) -> None:
        """Write what this rank alone has. Runs in the thread of a rank above 0."""
        try:
            self.snapshot.wait()
            if pieces:
                self._write_own_shards(pieces)
            self.last_saved = self.last_tried
        except BaseException as error:
            self.error = error

    def _write_own_shards(self, pieces: dict[str, Tensor]) -> tuple[Path, bool]:
        """Write this rank's shards and wait for the others. Return the folder, and whether the shards of all ranks are finite."""
        group, temporary = self.run.parts.parallel.saving, self.folder.path / f".{self.last_tried}{SHARDS}.tmp"
        sharded.save_sharded(pieces, temporary, group)
        point("saving.shards.written")
        return temporary, sharded.all_agree(all(map(finite, sharded.local_pieces(pieces))), group)

    def _write_shards(self, pieces: dict[str, Tensor]) -> tuple[dict[str, dict[str, Any]], bool]:
        """Write the sharded tensors and move them into place. Return size and sha256 of each file, and whether all are finite."""
        place = self.folder.path / (name := f"{self.last_tried}{SHARDS}")
        temporary, all_finite = self._write_own_shards(pieces)
        facts = {f"{name}/{file.name}": atomic_files.checksum(file) for file in sorted(temporary.iterdir())}
        atomic_files.flush_folder(temporary)
        if place.exists():  # of a process that was killed before it was done
            self.folder.remove(self.last_tried)
        temporary.replace(place)
        point("saving.shards.moved")
        return facts, all_finite

    def _take_best(self, metrics: dict[str, float]) -> dict[str, Any] | None:
        """Return a copy of the evaluated weights if no checkpoint has better ones; None otherwise. Every rank calls it."""
        saved, parallel = [manifest.metrics for manifest in self.folder.manifests.values()], self.run.parts.parallel
        better = self.best is not None and parallel.rank == 0 and self.best.improves(metrics, saved)
        if self.best is None or not metrics or not parallel.any(better):
            return None
        with evaluated_weights(self.run) as weights:
            return dict(self.snapshot.add(weights if parallel.rank == 0 else {}))

    def _write(
        self, loss: Tensor | None, state: dict[str, Any], metrics: dict[str, float], best: dict[str, Any] | None,
        moment: dict[str, Any], pieces: dict[str, Tensor],
    ) -> None:  # fmt: skip
        """Wait for the copies, write them, and remove what need not stay. Runs in the thread of the first rank."""
        try:
            self.snapshot.wait()
            for watch in self.run.watches:
                watch.sync()
            folder, name = self.folder.path, self.last_tried
            folder.mkdir(parents=True, exist_ok=True)
            shards, shards_finite = self._write_shards(pieces) if pieces else ({}, True)
            manifest = Manifest(
                files={f"{name}.pt": write_state(folder / f"{name}.pt", state), **shards}, progress=state["progress"],
                identity=self.identity, sizes=vars(sizes_of(self.run)), versions=self.versions, **moment,
                metrics={key: value if isfinite(value) else None for key, value in metrics.items()},
                finite=shards_finite and self.finite_check({**state, "loss": loss}, tracked_state(self.run.parts)),
            )  # fmt: skip
            atomic_files.write(folder / f"{name}.json", manifest.text().encode(), "saving.record")
            self.last_saved = name
            for watch in self.run.watches:
                watch.saved(state["parts"].get(watch.name, {}))
            if best is not None:
                self.write_best(best, manifest)
            self.folder.add(manifest)
            point("saving.done")
        except BaseException as error:
            self.error = error
            if self.last_saved != self.last_tried:
                with suppress(OSError):  # half of it is no checkpoint, and takes room
                    self.folder.remove(self.last_tried)
