"""LMDB files as other tools write them, of the pictures of class folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accel.data.store import Files
from tests.support.shard_writer import files

__all__ = ["LAYOUTS", "write_lmdb"]

Write = Callable[[Files, Path], dict[str, str]]


def write_lmdb(path: Path, entries: Mapping[str, bytes], folder: bool = True, **settings: Any) -> Path:
    """As py-lmdb writes: a folder with data.mdb and lock.mdb, or a file."""
    import lmdb

    with (
        lmdb.open(str(path), map_size=1 << 24, subdir=folder, **settings) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in entries.items():
            transaction.put(key.encode(errors="surrogateescape"), value)
    return path


def by_folder(store: Files, target: Path) -> dict[str, str]:
    """`n01440764/x.JPEG` -> bytes."""
    write_lmdb(target.with_name(f"{target.name}.lmdb"), {store.key(number): store.get(number) for number in range(len(store))})
    return {}


def below_root(store: Files, target: Path) -> dict[str, str]:
    """`train/n01440764/x.JPEG` -> bytes, in a file without a folder."""
    entries = {f"imagenet/{target.name}/{store.key(number)}": store.get(number) for number in range(len(store))}
    write_lmdb(target.with_name(f"{target.name}.lmdb"), entries | {"__len__": b"\x80\x04K\x0c."}, folder=False)
    return {}


def listed(store: Files, target: Path) -> dict[str, str]:
    """Keys of no meaning, and a list of keys and numbers of classes; Caffe's name of the folder."""
    write_lmdb(
        target.with_name(f"{target.name}_lmdb"), {f"{number * 7 % 10000:05}": store.get(number) for number in range(len(store))}
    )
    lines = [f"{number * 7 % 10000:05} {store.label(number)}\n" for number in range(len(store))]
    target.with_name(f"{target.name}-list.txt").write_text("".join(lines))
    return {"labels": str(target.with_name("SPLIT-list.txt"))}


def listed_names(store: Files, target: Path) -> dict[str, str]:
    """A list of keys with suffix and names of classes, apart by commas; the keys have no suffix."""
    entries = {store.key(number).rpartition(".")[0]: store.get(number) for number in range(len(store))}
    write_lmdb(target.with_name(f"{target.name}.lmdb"), entries)
    lines = [f"{store.key(number)},{store.classes[store.label(number)]}\n" for number in range(len(store))]
    target.with_name(f"{target.name}.csv").write_text("".join(lines))
    return {"labels": str(target.with_name("SPLIT.csv"))}


def mmcv(store: Files, target: Path) -> dict[str, str]:
    """Keys without suffix, and meta_info.txt beside data.mdb."""
    entries = {store.key(number).rpartition(".")[0]: store.get(number) for number in range(len(store))}
    folder = write_lmdb(target.with_name(f"{target.name}.lmdb"), entries)
    lines = [f"{store.key(number)} (24,24,3) 1\n" for number in range(len(store))]
    (folder / "meta_info.txt").write_text("".join(lines))
    return {}


def recognition(store: Files, target: Path) -> dict[str, str]:
    """`image-000000001`, `label-000000001` and `num-samples`, with data.mdb in a folder SPLIT."""
    entries = {"num-samples": str(len(store)).encode()}
    for number in range(len(store)):
        entries |= {
            f"image-{number + 1:09}": store.get(number),
            f"label-{number + 1:09}": store.classes[store.label(number)].encode(),
        }
    write_lmdb(target, entries)
    return {}


def numbered(store: Files, target: Path) -> dict[str, str]:
    """Numbers from 0 under keys of one's own."""
    entries = {}
    for number in range(len(store)):
        entries |= {f"img_{number}": store.get(number), f"cls_{number}": b"%d\n" % store.label(number)}
    write_lmdb(target.with_name(f"{target.name}.lmdb"), entries)
    return {"keys": "img_%d", "labels": "cls_%d"}


LAYOUTS: dict[str, Write] = {
    write.__name__: write for write in (by_folder, below_root, listed, listed_names, mmcv, recognition, numbered)
}
"""Each writes the LMDB of one split, at a path that ends in the split's name, and returns the settings that read it."""


def write_splits(layout: str, data: Path, target: Path) -> dict[str, str]:
    """Write `train` and `val` of class folders in `data`; return the settings."""
    target.mkdir(exist_ok=True)
    settings = {split: LAYOUTS[layout](files(data / split), target / split) for split in ("train", "val")}
    return settings["train"]
