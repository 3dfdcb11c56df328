"""Remote: a source that reads a data set from a URL through a cache on disk.

The URL may be of any file system that fsspec knows: s3://, gs://, az://,
https://, hf://, sftp://. `task.root=URL` reads from there by itself, as do the
paths of `lmdb`, `raw`, `webdataset` and `tfrecord`. This plugin says in which
folder the files are kept, how many gigabytes of them, and how often the network
is asked. At the URL lie class folders (SPLIT/<class>/*), a packed store
(SPLIT.lmdb, SPLIT.raw), or tar or TFRecord shards.

Fetching and decoding are separate. Files come in blocks of 8 MB, under another
name until they are whole. The threads, workers and ranks of one machine fetch
each block once. A file that was changed, by its size or ETag, is fetched anew.

Helps   data that is too large for the disk, or not worth a copy by hand. The
        first epoch fetches it, and the others find it on this disk.
Hurts   small files: each takes a request (pack them, and name the store's URL).
        A budget below the size of the data fetches all of it in every epoch.
Costs   the disk space of `budget_gb`.
Source  mmcv's FileClient kept fetching and decoding apart; file systems by
        fsspec.
Exact   Yes: the same batches as from local files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from accel.data.remote import fsspec_client
from accel.data.remote.block_cache import BlockCache
from accel.data.splits.find_shards import sibling_folder
from accel.data.splits.open_split import open_split
from accel.data.splits.store_match import SplitStore
from accel.errors import ConfigError
from accel.parts.shared.store_source import StoreSource
from accel.system.machine import Need
from accel.values import Count, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Remote"]


@dataclass(eq=False)
class Remote(StoreSource):
    """Source that reads a data set from a URL, through a cache on disk.

    Args:
        path: URL that holds the splits, such as s3://bucket/data; auto: the URL of the data, task.root.
        cache: folder where files are kept; auto: in the user's cache directory.
        budget_gb: gigabytes of files that are kept, at most; auto: half of the free space on the disk.
        tries: requests for one block before the run ends.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:fsspec", extra="remote"),)
    path: str = "auto"
    cache: str = "auto"
    budget_gb: Positive | Literal["auto"] = "auto"
    tries: Count = 5

    def setup(self, run: Run) -> None:
        super().setup(run)
        budget = None if self.budget_gb == "auto" else int(self.budget_gb * 1e9)
        self.block_cache = BlockCache(self.cache, budget, self.tries)

    def store_of(self, data: Any, split: str) -> SplitStore:
        root = sibling_folder(data) if self.path == "auto" else self.path.rstrip("/")
        if not fsspec_client.is_url(root):
            reason = "the data is at no URL" if self.path == "auto" else "that is no URL"
            raise ConfigError(f"remote.path={self.path}: {reason}; say s3://bucket/data, or https://host/data, or leave remote out")
        store = open_split(root, split, self.block_cache)
        if store is None:
            raise ConfigError(
                f"remote: there is no {split} at {root}: neither {split}/<class>/*, nor a store or shards of that name"
            )
        return store

    def identity(self) -> dict[str, Any]:
        """Return the URL. The folder of the cache and its size may change from one start to the next."""
        return {"path": self.path}
