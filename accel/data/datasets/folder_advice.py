"""What would make the pictures of a folder come faster: only what is not in use, and works for these."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from accel.data.cache.caching_store import Keeping
from accel.data.store import Files, Store
from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.data.datasets.image_folder import Folder

__all__ = ["LOOK", "advice", "base_store", "pack_paths", "shorter_side"]

LOOK = 64
"""So many names are looked at."""


def advice(folder: Folder, box: bool) -> list[str]:
    """The best first; each as it is typed on the command line, with what it does.

    Args:
        folder: the pictures.
        box: whether training shows a box out of the whole of a picture, of which a tiled one decodes no more.
    """
    store = base_store(folder)
    names = [store.name(index) for index in range(min(len(folder), LOOK))]
    if store.encoding in ("raw", "bmp") or not any(".jp" in name.lower() for name in names):
        return []
    found = []
    if folder.reader.decoder == "pillow":
        found.append("task.decoder=simplejpeg, which decodes the same pixels faster")
    source, target = pack_paths(folder)
    pack = f"python -m accel pack {source} {target} --encoding"
    use = "'+plugins=[lmdb]'" if isinstance(store, Files) else f"plugins.lmdb.path={target}"
    if box and store.encoding != "tiled":
        found.append(f"{pack} tiled, then {use}: a crop decodes no more than it shows (tiled-lossless keeps every pixel)")
    elif not box and shorter_side(folder) >= 2 * folder.side:
        found.append(f"{pack} jpeg --short-side {folder.side}, then {use}: there is less to decode, and the pictures are others")
    return found


def base_store(folder: Folder) -> Store:
    """The store that the pictures come from, whatever is kept of it."""
    return folder.store.inner if isinstance(folder.store, Keeping) else folder.store


def pack_paths(folder: Folder) -> tuple[str, str]:
    """What to pack, and where to put it: beside the folders, unless there is a store already."""
    store = base_store(folder)
    if isinstance(store, Files):
        root = shlex.quote(str(store.folder.parent))
        return root, root
    return "DIR", "ELSEWHERE"


def shorter_side(folder: Folder) -> int:
    """The shorter side of the first picture, in pixels; 0 where it cannot be read."""
    try:
        return min(folder.picture(0).size)
    except ConfigError:
        return 0
