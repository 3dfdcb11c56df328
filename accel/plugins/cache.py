"""Cache: a cache of decoded pictures, so that later epochs do not decode again.

Nothing is packed beforehand: a picture is kept when it is first read, while the
model trains. Some tasks show the same part of each picture in every epoch
(crop=pad or none, and evaluation). That part is then kept in its final size.
Otherwise the whole picture's pixels are kept. All threads, processes and ranks
of one machine may fill one cache.

Helps   small and large pictures that are read more than once, from a folder as
        it is. The guide on data has the figures.
Hurts   a single epoch: nothing is read twice. Data that draws its own samples,
        and tensors in memory, have nothing to keep.
Costs   memory, and disk for the pictures that do not fit there: 3 bytes a
        pixel. If both budgets are used up, or the disk is full, other pictures
        are read from the files, and one warning says so. The next run finds the
        cache on disk; files in the folder `path` may be deleted at any time.
Source  tf.data's cache(), Murray et al., arXiv 2101.12127. Tiles without loss
        keep more pictures in the same room. They take 78 ms a photograph to
        make and save 0.3 ms an epoch, so that is left to `accel pack`.
Exact   The same bits in every epoch, also after a kill -9. A record is written
        as a whole or not at all, and has a crc32. The name of a file on disk is
        a function of the pictures' sizes, times and names, of the decoder's
        settings and of versions. Other data is another cache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from accel.data.cache import tensor_cache
from accel.data.cache.caching_store import CachingStore, Keep
from accel.data.codecs.image_reader import PILLOW_READER
from accel.data.codecs.pillow_decoder import read_size
from accel.errors import ConfigError
from accel.parts import Source
from accel.system import free_space
from accel.values import NonNegative

if TYPE_CHECKING:
    from accel.data.cache.record_cache import RecordCache
    from accel.parts import Run
from accel.system.call_stack import warn_user

__all__ = ["KIND_TEXTS", "MARGIN", "MEASURED_RECORDS", "Cache", "format_bytes"]

MEASURED_RECORDS = 64
"""Pictures that are measured, at most, to estimate the size of all."""
MARGIN = 1.1
"""Factor on the estimated size of all records."""
KIND_TEXTS: dict[Keep, str] = {"shown": "squares as they are shown", "pixels": "decoded pictures", "files": "bytes of files"}


@dataclass(eq=False)
class Cache(Source):
    """Source that keeps records once they were read.

    Args:
        keep: kind of record: shown (the square of a fixed size), pixels (of the whole picture), files (their bytes), or auto.
        memory: gigabytes of memory, at most; auto is half of the free memory.
        disk: gigabytes of disk, at most, for records that do not fit into memory; auto is a quarter of the free space there.
        path: folder on that disk; auto is in the user's own cache directory.
    """

    keep: Literal["auto", "shown", "pixels", "files"] = "auto"
    memory: NonNegative | Literal["auto"] = "auto"
    disk: NonNegative | Literal["auto"] = "auto"
    path: str = "auto"

    def setup(self, run: Run) -> None:
        self.dry_run, self.unsupported = run.dry_run, ""
        self.split_notes: dict[str, str] = {}
        self.folder = tensor_cache.cache_directory(self.path) / "pictures"
        free = free_space.free_memory()
        ranks = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # each keeps a cache in memory of its own
        self.memory_budget = (0 if free is None else free // 2 // ranks) if self.memory == "auto" else int(1e9 * self.memory)

    def open(self, data: Any, split: str) -> Any:
        if not hasattr(data, "over") or not hasattr(data, "store"):
            self.unsupported = self.unsupported or type(data).__name__
            return data
        reader, count = getattr(data, "reader", PILLOW_READER), len(data.store)
        keep = self._record_kind(data)
        total = count * self._mean_record_bytes(data, keep)
        caches = self._make_caches(data, keep, count, int(total * MARGIN) + 64 * count, split)
        share = min(1.0, sum(cache.max_bytes for cache in caches) / max(1, total))
        self.split_notes[f"{split} cache"] = self._note(keep, total, share, caches)
        return data.over(CachingStore(data.store, keep, reader, caches)) if caches else data

    def _record_kind(self, data: Any) -> Keep:
        """Return the kind of record to keep.

        Raises:
            ConfigError: for a setting that would show other pixels.
        """
        fixed = getattr(data, "shows_fixed_square", False)
        scaled = getattr(getattr(data, "reader", None), "decoder", "scaled") == "scaled"
        if self.keep == "auto":
            return "shown" if fixed else "files" if scaled else "pixels"
        if self.keep == "shown" and not fixed:
            raise ConfigError("cache.keep=shown: the task shows another part in every epoch; use cache.keep=pixels")
        if self.keep == "pixels" and scaled:
            raise ConfigError("cache.keep=pixels: task.decoder=scaled decodes each crop in its own size; use cache.keep=files")
        return self.keep

    def _mean_record_bytes(self, data: Any, keep: Keep) -> float:
        """Return the mean size of a record in bytes, exactly or from a sample of the records."""
        if keep == "shown":
            return float(3 * data.side * data.side)
        store, sizes = data.store, []
        for index in range(0, len(store), -(-len(store) // MEASURED_RECORDS)):
            try:
                record = store.get(index)
                width, height = (0, 0) if keep == "files" else read_size(record, store.name(index))
                sizes.append(3 * width * height or len(record))
            except ConfigError:  # the loader that decodes it reports it
                continue
        return sum(sizes) / max(1, len(sizes))

    def _make_caches(self, data: Any, keep: Keep, count: int, needed: int, split: str) -> list[RecordCache]:
        """Return the caches: in memory if all `needed` bytes fit there; else on disk, and the rest in memory."""
        from accel.data.cache.record_cache import RecordCache  # which needs a POSIX system

        least = needed // max(1, count) + 64 * count
        memory = self.memory_budget
        caches = []
        if memory < needed and self.disk != 0 and not self.dry_run and hasattr(data, "fingerprint"):
            try:
                key = sha256(f"{split} {keep} {data.fingerprint()}".encode()).hexdigest()
                budget = free_space.free_disk(self.folder) // 4 if self.disk == "auto" else int(1e9 * self.disk)
                file = self.folder / f"{split}-{keep}-{key[:32]}.kept"
                budget += file.stat().st_size if file.exists() and self.disk == "auto" else 0
                if budget > least:
                    caches.append(RecordCache(count, budget, file, key))
            except OSError as error:
                warn_user(f"cache: nothing is kept on disk ({error})")
        if memory > least and (not caches or caches[0].max_bytes < needed):
            caches.append(RecordCache(count, memory))
            self.memory_budget = max(0, memory - needed)
        return caches

    def _note(self, keep: Keep, total: float, share: float, caches: list[RecordCache]) -> str:
        """Return the plan's note: kind and size in bytes of all records, the `share` that fits, and each cache."""
        if not caches:
            return "none: there is no room for it"
        room = f"; there is room for about {share:.0%}" if share < 1 else ""
        places = " and then in ".join(self._describe(cache) for cache in caches)
        return f"{KIND_TEXTS[keep]}, some {format_bytes(total)}{room}; in {places}"

    def _describe(self, cache: RecordCache) -> str:
        """Return a cache's place and largest size, in words."""
        present = f", {cache.restored:,} of {cache.count:,} there already" if cache.restored else ""
        place = "memory" if cache.path is None else str(cache.path.parent)
        return f"{place} (up to {format_bytes(cache.max_bytes)}){present}"

    def plan_notes(self) -> Mapping[str, str]:
        return self.split_notes

    def identity(self) -> None:
        """Return None: a resumed run may have the cache, or not."""

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.unsupported and not self.split_notes:
            return [f"cache has no effect: the data is a {self.unsupported}, which reads from no store"]
        if run.epochs == 1 and all("there already" not in note for note in self.split_notes.values()):
            return ["cache has no effect in a single epoch: nothing is read twice"]
        return []


def format_bytes(size: float) -> str:
    """Return a number of bytes in words: `1.2 GB`, `35 MB`."""
    return f"{size / 1e9:,.2g} GB" if size >= 1e8 else f"{size / 1e6:,.2g} MB"
