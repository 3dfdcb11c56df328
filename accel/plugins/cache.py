"""Cache: what the first epoch decodes is kept, and later ones do not decode it again.

Nothing is packed beforehand: a picture is kept when it is first read, while the
model trains. Where the task shows the same part of each picture in every epoch
(crop=pad or none, and evaluation), that part in its final size is kept; else
the whole picture's pixels. All threads, processes and ranks of one machine may
fill one cache.

Helps   small and large pictures that are read more than once, from a folder as
        it is. The guide on data has the figures.
Hurts   a single epoch: nothing is read twice. Data that draws its own samples,
        and tensors in memory, have nothing to keep.
Costs   memory, and disk for what does not fit there: 3 bytes a pixel. Where
        both budgets are used up, or the disk is full, the rest is read from the
        files, and a warning says so once. On disk the next run finds it; what
        lies in the folder `path` may be deleted at any time.
Source  tf.data's cache(), Murray et al., arXiv 2101.12127. Tiles without loss,
        which keep more pictures in the same room, take 78 ms a photograph to
        make and save 0.3 ms an epoch, so that is left to `accel pack`.
Exact   The same bits in every epoch, also after a kill -9: a record is there as
        a whole or not at all, and has a crc32. The name of a file on disk is a
        function of all sizes, times and names of the pictures, of how they are
        decoded and by which versions: other data is another cache.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from accel.data.cache import tensor_cache
from accel.data.cache.caching_store import Keep, Keeping
from accel.data.codecs.image_reader import PLAIN
from accel.data.codecs.pillow_decoder import measure
from accel.errors import AccelWarning, ConfigError
from accel.parts import Source
from accel.system import free_space
from accel.values import NonNegative

if TYPE_CHECKING:
    from accel.data.cache.record_cache import RecordCache
    from accel.parts import Run

__all__ = ["LOOKED_AT", "MARGIN", "WHAT", "Cache", "words"]

LOOKED_AT = 64
"""Pictures whose size tells that of the rest."""
MARGIN = 1.1
"""Of what they all are expected to take."""
WHAT: dict[Keep, str] = {"shown": "squares as they are shown", "pixels": "decoded pictures", "files": "bytes of files"}


@dataclass(eq=False)
class Cache(Source):
    """Keeps what was read.

    Args:
        keep: shown (the square of a fixed size), pixels (of the whole picture), files (their bytes), or auto: what helps most.
        memory: gigabytes of memory, at most; auto is half of what is free.
        disk: gigabytes of disk, at most, for what does not fit into memory; auto is a quarter of what is free there.
        path: the folder on that disk; auto is in the user's own cache directory.
    """

    keep: Literal["auto", "shown", "pixels", "files"] = "auto"
    memory: NonNegative | Literal["auto"] = "auto"
    disk: NonNegative | Literal["auto"] = "auto"
    path: str = "auto"

    def setup(self, run: Run) -> None:
        self.dry, self.found, self.foreign = run.dry_run, dict[str, str](), ""
        self.folder = tensor_cache.cache_directory(self.path) / "pictures"
        free = free_space.free_memory()
        ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # each has a memory of its own
        self.in_memory = (0 if free is None else free // 2 // ranks) if self.memory == "auto" else int(1e9 * self.memory)

    def open(self, data: Any, split: str) -> Any:
        if not hasattr(data, "over") or not hasattr(data, "store"):
            self.foreign = self.foreign or type(data).__name__
            return data
        reader, count = getattr(data, "reader", PLAIN), len(data.store)
        keep = self._keep(data)
        each = self._each(data, keep)
        shelves = self._shelves(data, keep, count, int(count * each * MARGIN) + 64 * count, split)
        parts = [self._say(shelf) for shelf in shelves]
        share = min(1.0, sum(shelf.max_bytes for shelf in shelves) / max(1, count * each))
        much = f"{WHAT[keep]}, some {words(count * each)}" + (f"; there is room for about {share:.0%}" if share < 1 else "")
        self.found[f"{split} cache"] = f"{much}; in {' and then in '.join(parts)}" if parts else "none: there is no room for it"
        return data.over(Keeping(data.store, keep, reader, shelves)) if shelves else data

    def _keep(self, data: Any) -> Keep:
        """What is kept.

        Raises:
            ConfigError: for something that would show other pixels.
        """
        fixed = getattr(data, "fixed", False)
        scaled = getattr(getattr(data, "reader", None), "decoder", "scaled") == "scaled"
        if self.keep == "auto":
            return "shown" if fixed else "files" if scaled else "pixels"
        if self.keep == "shown" and not fixed:
            raise ConfigError("cache.keep=shown: the task shows another part in every epoch; use cache.keep=pixels")
        if self.keep == "pixels" and scaled:
            raise ConfigError("cache.keep=pixels: task.decoder=scaled decodes each crop in its own size; use cache.keep=files")
        return self.keep

    def _each(self, data: Any, keep: Keep) -> float:
        """Bytes of a record, on average: of some of them, or exactly."""
        if keep == "shown":
            return float(3 * data.side * data.side)
        store, sizes = data.store, []
        for index in range(0, len(store), -(-len(store) // LOOKED_AT)):
            try:
                record = store.get(index)
                wide, high = (0, 0) if keep == "files" else measure(record, store.name(index))
                sizes.append(3 * wide * high or len(record))
            except ConfigError:  # whoever is shown it says what is wrong with it
                continue
        return sum(sizes) / max(1, len(sizes))

    def _shelves(self, data: Any, keep: Keep, count: int, needed: int, split: str) -> list[RecordCache]:
        """Where there is room: in memory where all of it fits there; else on disk, and in memory what the disk does not take."""
        from accel.data.cache.record_cache import RecordCache  # which needs a POSIX system

        least = needed // max(1, count) + 64 * count
        memory = self.in_memory
        shelves = []
        if memory < needed and self.disk != 0 and not self.dry and hasattr(data, "fingerprint"):
            try:
                of = sha256(f"{split} {keep} {data.fingerprint()}".encode()).hexdigest()
                budget = free_space.free_disk(self.folder) // 4 if self.disk == "auto" else int(1e9 * self.disk)
                file = self.folder / f"{split}-{keep}-{of[:32]}.kept"
                budget += file.stat().st_size if file.exists() and self.disk == "auto" else 0
                if budget > least:
                    shelves.append(RecordCache(count, budget, file, of))
            except OSError as error:
                warnings.warn(f"cache: nothing is kept on disk ({error})", AccelWarning, stacklevel=2)
        if memory > least and (not shelves or shelves[0].max_bytes < needed):
            shelves.append(RecordCache(count, memory))
            self.in_memory = max(0, memory - needed)
        return shelves

    def _say(self, shelf: RecordCache) -> str:
        """Where, and how much at most, in words."""
        there = f", {shelf.found:,} of {shelf.count:,} there already" if shelf.found else ""
        where = "memory" if shelf.path is None else str(shelf.path.parent)
        return f"{where} (up to {words(shelf.max_bytes)}){there}"

    def plan_notes(self) -> Mapping[str, str]:
        return self.found

    def identity(self) -> None:
        """Nothing: a resumed run may have it, or not."""

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.foreign and not self.found:
            return [f"cache has no effect: the data is a {self.foreign}, which reads from no store"]
        if run.epochs == 1 and all("there already" not in said for said in self.found.values()):
            return ["cache has no effect in a single epoch: nothing is read twice"]
        return []


def words(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:,.2g} GB" if size >= 1e8 else f"{size / 1e6:,.2g} MB"
