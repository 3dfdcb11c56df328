"""Advice that makes the pictures of a folder come faster: only options that are not in use and that suit these pictures."""

from __future__ import annotations

from accel.data.cache.caching_store import CachingStore
from accel.data.codecs.image_reader import ImageReader
from accel.data.store import Files, Store
from accel.errors import ConfigError
from accel.system.shell_quoting import quote

__all__ = ["MAX_NAMES", "advice", "base_store", "pack_paths", "shorter_side"]

MAX_NAMES = 64
"""Names of pictures that are looked at, at most."""


def advice(store: Store, reader: ImageReader, side: int, box: bool) -> list[str]:
    """Return suggestions, the best first, each as it is typed on the command line, with its effect.

    Args:
        store: of the pictures, with or without a cache around it.
        reader: decodes them.
        side: of the pictures that come out, in pixels.
        box: whether training shows a box out of a whole picture, of which a tiled one decodes no more.
    """
    base = base_store(store)
    names = [base.name(index) for index in range(min(len(base), MAX_NAMES))]
    if base.encoding in ("raw", "bmp") or not any(".jp" in name.lower() for name in names):
        return []
    suggestions = []
    if reader.decoder == "pillow":
        suggestions.append("task.decoder=simplejpeg, which decodes the same pixels faster")
    source, target = pack_paths(base)
    pack = f"python -m accel pack {source} {target} --encoding"
    use = "'+plugins=[lmdb]'" if isinstance(base, Files) else f"plugins.lmdb.path={target}"
    if box and base.encoding != "tiled":
        suggestions.append(f"{pack} tiled, then {use}: a crop decodes no more than it shows (tiled-lossless keeps every pixel)")
    elif not box and shorter_side(store, reader) >= 2 * side:
        suggestions.append(f"{pack} jpeg --short-side {side}, then {use}: there is less to decode, and the pictures are others")
    return suggestions


def base_store(store: Store) -> Store:
    """Return the store that the records come from, without a cache around it."""
    return store.inner if isinstance(store, CachingStore) else store


def pack_paths(store: Store) -> tuple[str, str]:
    """Return the source and the target of packing: beside the folders, unless there is a store already."""
    if isinstance(store, Files):
        root = quote(str(store.folder.parent))
        return root, root
    return "DIR", "ELSEWHERE"


def shorter_side(store: Store, reader: ImageReader) -> int:
    """Return the shorter side of the first picture, in pixels; 0 if it cannot be read."""
    try:
        return min(reader.open(store.get(0), store.name(0), store.encoding).size)
    except ConfigError:
        return 0
