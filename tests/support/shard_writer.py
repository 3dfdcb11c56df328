"""Shards as their own tools write them, made of the pictures of a folder."""

from __future__ import annotations

import tarfile
from hashlib import md5
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from accel.data.batches.make_batches import make_batches
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


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    actual = b""
    while value >= 0x80:
        actual += bytes([value & 0x7F | 0x80])
        value >>= 7
    return actual + bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(packed: bool = True, **features: bytes | str | int) -> bytes:
    """A tf.train.Example of one value per feature; `__` in a name stands for a slash."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, int):
            held = field(3, field(1, varint(value)) if packed else varint(1 << 3) + varint(value))
        else:
            held = field(1, field(1, value.encode() if isinstance(value, str) else value))
        entries += field(1, field(1, name.replace("__", "/").encode()) + field(2, held))
    return field(1, entries)


def slow_crc32c(data: bytes) -> int:
    """Bit by bit, as it is defined."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def frame(content: bytes) -> bytes:
    """A record as it lies in a TFRecord file."""

    def crc(data: bytes) -> bytes:
        state = slow_crc32c(data)
        return (((state >> 15 | state << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    length = len(content).to_bytes(8, "little")
    return length + crc(length) + content + crc(content)


def write_records(folder: Path, target: Path, shards: int = 2, first: int = 0, named: bool = True) -> list[Path]:
    """`target.tfrecord-00000-of-00002` and so on, in the order of the folder."""
    store = files(folder)
    paths = [target.with_name(f"{target.name}.tfrecord-{shard:05}-of-{shards:05}") for shard in range(shards)]
    for shard, path in enumerate(paths):
        numbers = range(shard * len(store) // shards, (shard + 1) * len(store) // shards)
        path.write_bytes(
            b"".join(
                frame(
                    example(
                        packed=number % 2 == 0,
                        image__class__label=store.label(number) + first,
                        **{"image__filename": store.key(number)} if named else {},
                        image__encoded=store.get(number),
                        image__class__text=store.classes[store.label(number)],
                    )
                )
                for number in numbers
            )
        )
    return paths


def draw_folder(folder: Path, counts: dict[str, int], names: tuple[str, str], more: str = "") -> Path:
    """Class folders of pictures of several formats and sizes: of each split so many in each class, called NUMBER and `more`."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for name in names:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(256, size=(20 + number, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}{more}.{('png', 'jpg')[number % 2]}")
    return folder


def digests(data: Any, train: bool) -> list[str]:
    """Of every batch of two epochs."""
    batches = make_batches(data, 4, seed=1, shuffle=train)
    return [
        md5(pictures.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
        for epoch in range(2)
        for pictures, labels in batches.epoch(epoch)
    ]
