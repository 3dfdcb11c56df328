"""A data set into one file: in parallel, in order, and whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accel.data.store import Listed
from accel.data.stores.encode_pool import Bad, encoded
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import FORMATS
from accel.data.stores.index import About
from accel.data.stores.lmdb_writer import LMDBWriter
from accel.data.stores.pack_journal import Journal, stamps
from accel.data.stores.packed_store import Packed
from accel.data.stores.raw_writer import RawWriter
from accel.data.stores.record_format import Content
from accel.data.stores.store_writer import Writer
from accel.errors import ConfigError
from accel.system import atomic_files
from accel.system.disk_errors import is_disk_full

__all__ = ["BATCH", "BATCH_BYTES", "WRITERS", "Packing", "readable"]

WRITERS: dict[str, Callable[[Path], Writer]] = {"lmdb": LMDBWriter, "raw": RawWriter}
BATCH, BATCH_BYTES = 1024, 1 << 24
"""Records are written when so many of them, or of their bytes, have come together: never by the clock, so that the same
pictures make the same file."""


@dataclass
class Packing:
    """One store to be made.

    Args:
        source: what to pack.
        path: the file to be; its suffix is the format.
        recipe: what becomes of each picture.
        workers: processes that encode; 1 for this one alone.
        skip: leave out pictures that cannot be read, instead of ending at the first.
        tell: called with what is being done and by how many pictures it has advanced.
    """

    source: Listed
    path: Path
    recipe: Recipe
    workers: int = 1
    skip: bool = False
    tell: Callable[[str, int], None] = lambda what, pictures: None
    kept: int = 0
    """Records that an earlier try had written."""
    bad: list[str] = field(default_factory=list)
    """Why each of the pictures that were left out was."""

    def standing(self) -> About | None:
        """What the store says of itself, where it is finished already; None where it is still to be made.

        Raises:
            ConfigError: where the file is there, and is not what would be made.
        """
        if not self.path.exists():
            return None
        about = FORMATS[self.path.suffix[1:]](self.path).about
        encoding = self.recipe.stored(self.source.encoding)
        if (about.encoding, about.changed, about.source) == (encoding, self.recipe.changed, self.source.fingerprint()):
            return about
        other = "other pictures" if about.source != self.source.fingerprint() else "the same pictures, packed otherwise"
        raise ConfigError(f"{self.path} is there already, with {other}; take it away, or name another place")

    def run(self) -> About:
        """Packs; returns what the store says of itself.

        What was written stays beside it, as `.part`, where this ends early; the next call goes on from there.

        Raises:
            ConfigError: where the file is there already, a picture cannot be read, or nothing more can be written.
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
                about = self._fill(writer, journal)
            finally:
                writer.close()
            self._verify(part)
            os.replace(part, self.path)
            atomic_files.flush_folder(self.path.parent)
            done = True
        except OSError as error:
            raise ConfigError(self._cannot(error)) from None
        finally:
            journal.close(done)
        return about

    def _fill(self, writer: Writer, journal: Journal) -> About:
        """Writes every record, and what stands around them."""
        recipe, marks = {**asdict(self.recipe), "version": 1}, stamps(self.source)
        most, skipped = journal.records(recipe, marks, self.skip)
        writer.keep(most)
        self.kept = len(writer.crcs)
        rest = [number for number in range(len(marks)) if number not in set(skipped)][self.kept :]
        journal.begin(recipe, marks, skipped)
        self.tell("packing", self.kept + len(skipped))
        self._write(writer, journal, rest)
        left_out = set(journal.skipped)
        packed = [number for number in range(len(marks)) if number not in left_out]
        about = About(
            self.recipe.stored(self.source.encoding), self.source.classes, 0, 0, "",
            self.source.fingerprint(), self.recipe.changed, [self.source.key(number) for number in sorted(left_out)],
        )  # fmt: skip
        labels, keys = map(self.source.label, packed), map(self.source.key, packed)
        return writer.finish(about, list(labels), list(keys))

    def _write(self, writer: Writer, journal: Journal, numbers: Sequence[int]) -> None:
        waiting: list[Content] = []
        size = 0
        try:
            for number, found in encoded(self.source, self.recipe, numbers, self.workers):
                if isinstance(found, Bad):
                    if not self.skip:
                        raise ConfigError(f"{found.why}, or leave out what cannot be read with --on-error skip")
                    journal.skip(number)
                    self.bad.append(found.why)
                else:
                    waiting.append(found)
                    size += len(found.content)
                self.tell("packing", 1)
                if len(waiting) == BATCH or size >= BATCH_BYTES:
                    ready, waiting, size = waiting, [], 0
                    writer.add(ready)
        finally:  # also what was ready when a picture could not be read, or the user had enough
            if waiting:
                writer.add(waiting)

    def _verify(self, part: Path) -> None:
        """Reads every record back."""
        store = FORMATS[self.path.suffix[1:]](part)
        try:
            for number, sound in readable(store):
                if not sound:
                    raise ConfigError(f"{store.name(number)} came back from the disk with other bytes than were written")
                self.tell("verifying", 1)
        finally:
            store.close()

    def _cannot(self, error: OSError) -> str:
        why = "there is no room left" if is_disk_full(error) else error.strerror or str(error)
        return (
            f"cannot write {self.path}.part: {why}; make room and give the same command again, which goes on from there, "
            f"or take {self.path.name}.part and {self.path.name}.plan away"
        )


def readable(store: Packed) -> Iterator[tuple[int, bool]]:
    """Every record of a store, and whether it is as it was written."""
    for index in range(len(store)):
        try:
            store.get(index)
            yield index, True
        except ConfigError:
            yield index, False
