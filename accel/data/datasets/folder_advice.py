"""Advice that makes the pictures of a folder come faster: only options that are not in use and that suit these pictures."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from accel.data.cache.caching_store import CachingStore
from accel.data.store import Files, Store
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.datasets.image_folder import Folder

__all__ = ["MAX_NAMES", "advice", "base_store", "pack_paths", "shorter_side"]

MAX_NAMES = 64
"""Names of pictures that are looked at, at most."""


def advice(folder: Folder, box: bool) -> list[str]:
    """Return suggestions, the best first, each as it is typed on the command line, with its effect.

    Args:
        folder: the pictures.
        box: whether training shows a box out of a whole picture, of which a tiled one decodes no more.
    """
    store = base_store(folder)
    names = [store.name(index) for index in range(min(len(folder), MAX_NAMES))]
    if store.encoding in ("raw", "bmp") or not any(".jp" in name.lower() for name in names):
        return []
    suggestions = []
    if folder.reader.decoder == "pillow":
        suggestions.append("task.decoder=simplejpeg, which decodes the same pixels faster")
    source, target = pack_paths(folder)
    pack = f"python -m accel pack {source} {target} --encoding"
    use = "'+plugins=[lmdb]'" if isinstance(store, Files) else f"plugins.lmdb.path={target}"
    if box and store.encoding != "tiled":
        suggestions.append(f"{pack} tiled, then {use}: a crop decodes no more than it shows (tiled-lossless keeps every pixel)")
    elif not box and shorter_side(folder) >= 2 * folder.side:
        suggestions.append(
            f"{pack} jpeg --short-side {folder.side}, then {use}: there is less to decode, and the pictures are others"
        )
    return suggestions


def base_store(folder: Folder) -> Store:
    """Return the store that the pictures come from, without a cache around it."""
    return folder.store.inner if isinstance(folder.store, CachingStore) else folder.store


def pack_paths(folder: Folder) -> tuple[str, str]:
    """Return the source and the target of packing: beside the folders, unless there is a store already."""
    store = base_store(folder)
    if isinstance(store, Files):
        root = shlex.quote(str(store.folder.parent))
        return root, root
    return "DIR", "ELSEWHERE"


def shorter_side(folder: Folder) -> int:
    """Return the shorter side of the first picture, in pixels; 0 if it cannot be read."""
    try:
        return min(folder.picture(0).size)
    except ConfigError:
        return 0
