"""Shards as their own tools write them, made of the pictures of a folder."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

from accel.data.store import Files, class_names


def files(folder: Path) -> Files:
    return Files(folder, class_names(folder))


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    item = tarfile.TarInfo(name)
    item.size = len(content)
    tar.addfile(item, BytesIO(content))


def write_tars(folder: Path, target: Path, shards: int = 3, named: bool = True, extra: bool = False) -> list[Path]:
    """`target-000.tar` and so on: `class/name.jpg` (or `000012.jpg`) beside its `.cls`, in the order of the folder."""
    store = files(folder)
    paths = [target.with_name(f"{target.name}-{shard:03}.tar") for shard in range(shards)]
    for shard, path in enumerate(paths):
        with tarfile.open(path, "w") as tar:
            for index in range(shard * len(store) // shards, (shard + 1) * len(store) // shards):
                key, _, suffix = store.key(index).rpartition(".")
                key = key if named else f"{index:06}"
                if extra:
                    add(tar, f"{key}.json", b'{"any": "thing"}')
                add(tar, f"{key}.{suffix}", store.get(index))
                add(tar, f"{key}.cls", str(store.label(index)).encode())
    return paths
