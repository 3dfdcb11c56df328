"""Packing of a data set into one file: in parallel, in order, and whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accel.data.codecs.image_reader import sniff
from accel.data.codecs.jpeg_header import is_jpeg
from accel.data.picture_names import PassedOver
from accel.data.store import KeyedStore
from accel.data.stores.encode_pool import UnreadablePicture, encode_all
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import FORMATS
from accel.data.stores.lmdb_writer import LMDBWriter
from accel.data.stores.pack_journal import Journal, picture_stamps
from accel.data.stores.packed_store import PackedStore
from accel.data.stores.raw_writer import RawWriter
from accel.data.stores.record_format import EncodedPicture
from accel.data.stores.store_info import StoreInfo
from accel.data.stores.store_writer import StoreWriter
from accel.errors import ConfigError
from accel.system import atomic_files, disk_errors

__all__ = ["BATCH", "BATCH_BYTES", "WRITERS", "Packing", "check_records"]

WRITERS: dict[str, Callable[[Path], StoreWriter]] = {"lmdb": LMDBWriter, "raw": RawWriter}
BATCH, BATCH_BYTES = 1024, 1 << 24
"""Records, and bytes of them, that are written together: never by the clock, so that the same pictures make the same file."""


@dataclass
class Packing:
    """Job that makes one store.

    Args:
        source: Store to pack.
        path: File to make; its suffix is the format.
        recipe: How pictures are encoded.
        workers: Processes that encode; 1 for this one alone.
        skip: Leave out pictures that cannot be read, instead of ending at the first.
        on_progress: Called with the phase (packing, verifying) and the number of pictures done since the last call.
        resumed: Records that an earlier attempt had written.
        skip_reasons: Why each picture that was left out could not be read.
        kept_as_is: Pictures of a tiled store that could not be tiled without loss, and are stored as their files were.
    """

    source: KeyedStore
    path: Path
    recipe: Recipe
    workers: int = 1
    skip: bool = False
    on_progress: Callable[[str, int], None] = lambda phase, pictures: None
    resumed: int = 0
    skip_reasons: list[str] = field(default_factory=list)
    kept_as_is: PassedOver = field(default_factory=PassedOver)

    def existing(self) -> StoreInfo | None:
        """Return the metadata of the store if it is finished already; None if it is still to be made.

        Raises:
            ConfigError: If the file exists with another content.
        """
        if not self.path.exists():
            return None
        info = FORMATS[self.path.suffix[1:]](self.path).info
        encoding = self.recipe.stored(self.source.encoding)
        if (info.encoding, info.changed, info.source) == (encoding, self.recipe.changed, self.source.fingerprint()):
            return info
        other = "other pictures" if info.source != self.source.fingerprint() else "the same pictures, packed otherwise"
        raise ConfigError(f"{self.path} is there already, with {other}; take it away, or name another place")

    def run(self) -> StoreInfo:
        """Pack, and return the metadata of the store.

        If this ends early, the records written so far stay in `<path>.part`, and the next call goes on from there.

        Raises:
            ConfigError: If the file exists already, a picture cannot be read, or the disk takes no more.
        """
        if self.path.exists():
            raise ConfigError(f"{self.path} is there already; take it away, or name another place")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.part")
        journal = Journal(self.path.with_name(f"{self.path.name}.plan"))
        done = False
        try:
            writer = WRITERS[self.path.suffix[1:]](part)
            try:
                info = self._fill(writer, journal)
            finally:
                writer.close()
            self._verify(part)
            os.replace(part, self.path)
            atomic_files.flush_folder(self.path.parent)
            done = True
        except OSError as error:
            raise ConfigError(self._write_error(error)) from None
        finally:
            journal.close(done)
        return info

    def _fill(self, writer: StoreWriter, journal: Journal) -> StoreInfo:
        """Write every record, the index and the metadata."""
        recipe, stamps = {**asdict(self.recipe), "version": 1}, picture_stamps(self.source)
        limit, skipped = journal.resumable(recipe, stamps, self.skip)
        writer.truncate(limit)
        self.resumed = len(writer.crcs)
        rest = [number for number in range(len(stamps)) if number not in set(skipped)][self.resumed :]
        journal.begin(recipe, stamps, skipped)
        self.on_progress("packing", self.resumed + len(skipped))
        self._write(writer, journal, rest)
        left_out = set(journal.skipped)
        packed = [number for number in range(len(stamps)) if number not in left_out]
        info = StoreInfo(
            self.recipe.stored(self.source.encoding), self.source.classes, 0, 0, "",
            self.source.fingerprint(), self.recipe.changed, [self.source.key(number) for number in sorted(left_out)],
        )  # fmt: skip
        labels, keys = map(self.source.label, packed), map(self.source.key, packed)
        return writer.finish(info, list(labels), list(keys))

    def _write(self, writer: StoreWriter, journal: Journal, numbers: Sequence[int]) -> None:
        """Write the records of `numbers`, in batches."""
        waiting: list[EncodedPicture] = []
        size = 0
        try:
            for number, result in encode_all(self.source, self.recipe, numbers, self.workers):
                if isinstance(result, UnreadablePicture):
                    if not self.skip:
                        raise ConfigError(f"{result.reason}, or leave out what cannot be read with --on-error skip")
                    journal.skip(number)
                    self.skip_reasons.append(result.reason)
                else:
                    waiting.append(result)
                    size += len(result.content)
                self.on_progress("packing", 1)
                if len(waiting) == BATCH or size >= BATCH_BYTES:
                    ready, waiting, size = waiting, [], 0
                    writer.add(ready)
        finally:  # also what was ready when a picture could not be read, or the user had enough
            if waiting:
                writer.add(waiting)

    def _verify(self, part: Path) -> None:
        """Read every record back."""
        store = FORMATS[self.path.suffix[1:]](part)
        try:
            for number, sound in check_records(store):
                if not sound:
                    raise ConfigError(f"{store.name(number)} came back from the disk with other bytes than were written")
                if store.encoding == "tiled" and sniff(record := store.get(number)) != "tiled":
                    reason = "JPEGs that are not of one sequential scan" if is_jpeg(memoryview(record)) else "no JPEGs"
                    self.kept_as_is.add(reason, store.key(number))
                self.on_progress("verifying", 1)
        finally:
            store.close()

    def _write_error(self, error: OSError) -> str:
        """Return the sentence for a disk that takes no more."""
        reason = "there is no room left" if disk_errors.is_disk_full(error) else error.strerror or str(error)
        return (
            f"cannot write {self.path}.part: {reason}; make room and give the same command again, which goes on from there, "
            f"or take {self.path.name}.part and {self.path.name}.plan away"
        )


def check_records(store: PackedStore) -> Iterator[tuple[int, bool]]:
    """Yield the number of every record of a store, and whether it is as it was written."""
    for index in range(len(store)):
        try:
            store.get(index)
            yield index, True
        except ConfigError:
            yield index, False
