"""Stores that someone has crafted, with every checksum right: each is refused in a sentence, or read; nothing else ever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from accel.data.datasets.image_folder import Folder
from accel.data.stores import lmdb_pages
from accel.data.stores.formats import store_at
from accel.data.stores.lmdb_store import HEADER, INDEX, KEY
from accel.data.stores.packed_store import PackedStore
from accel.data.stores.raw_store import HEADER as RAW_HEADER
from accel.data.stores.raw_store import SIGNATURE
from accel.data.stores.record_format import CHECKED, HEAD
from accel.errors import ConfigError, TrainingError
from tests.data.stores.conftest import Pack
from tests.support.crafted_content import mutated, mutated_numbers
from tests.support.drill_length import LONG

ROUNDS = 4000 if LONG else 150


def look(path: Path) -> bool:
    """Read all of a store that can be read; return whether it was refused in a sentence."""
    sentence = ""
    try:
        store = store_at(str(path))
        try:
            for index in range(min(len(store), 3)):
                store.label(index), store.key(index), store.name(index), store.get(index)
            store.describe(), store.fingerprint(), store.skipped, store.encoding
            data = Folder(store, store.classes, 8)
            data.fingerprint()
            data[0]
            if getattr(store, "size", None) is not None:
                store.gather([0])  # type: ignore[attr-defined]
        finally:
            store.close()
    except (ConfigError, TrainingError) as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert len(sentence) < 1000
    return bool(sentence)


def index_bytes(store: PackedStore, random: Random, info: bytes) -> bytes:
    """Return the index with one part of it crafted, and its checksum right."""
    index = store.index
    numbers = [len(index.labels), len(index.offsets), crc32(info)]
    parts = [index.labels.tolist(), index.ends.tolist(), index.offsets.tolist()]
    keys = index.keys
    kind = random.randrange(6)
    if kind == 0:
        numbers[:2] = mutated_numbers(numbers[:2], 64, random)
    elif kind <= 3 and parts[kind - 1]:
        parts[kind - 1] = mutated_numbers(parts[kind - 1], 32 if kind == 1 else 64, random)
    elif kind == 4:
        keys = random.choice([b"", keys[:5], b"\xff" * len(keys), b"/" * len(keys), keys + b"x" * 50])
    else:
        parts[0] = parts[0][: random.randrange(len(parts[0]))]
    body = b"".join(
        np.array(part, dtype).tobytes() for part, dtype in zip([numbers, *parts], ("<u8", "<u4", "<u8", "<u8"), strict=True)
    )
    body += keys
    return body + crc32(body).to_bytes(4, "little")


def info_bytes(store: PackedStore, random: Random) -> bytes:
    return json.dumps(mutated(asdict(store.info), random)).encode()


def record_bytes(store: PackedStore, random: Random, number: int = 0) -> bytes:
    """Return a record with a head of other numbers, and its checksum right."""
    framed = bytes(store.framed_record(number))
    _, label, height, width, index, length = HEAD.unpack_from(framed)
    label, height, width = mutated_numbers([label, height, width], 32, random)
    content = framed[HEAD.size :][: random.choice([None, 0, 1, 10, -1])]
    fields = CHECKED.pack(label, height, width, index, random.choice([len(content), len(content), length, 2**63]))
    return crc32(content, crc32(fields)).to_bytes(4, "little") + fields + content


def craft_raw(store: PackedStore, path: Path, random: Random) -> None:
    data = store.path.read_bytes()
    _, _, at, index_size, info_size, _ = RAW_HEADER.unpack_from(data)
    records, index, info = data[4096:at], data[at : at + index_size], data[at + index_size : at + index_size + info_size]
    kind = random.randrange(4)
    if kind == 0:
        info = info_bytes(store, random)
        index = store.index.dump(info)
    elif kind == 1:
        index = index_bytes(store, random, info)
    elif kind == 2:
        record = record_bytes(store, random)
        records = record + records[len(record) :]
    numbers = [at, len(index), len(info), 4096 + len(records) + len(index) + len(info)]
    if kind == 3:
        numbers = mutated_numbers(numbers[:3], 64, random) + numbers[3:]
    head = RAW_HEADER.pack(SIGNATURE, 0, *numbers)[12:]
    path.write_bytes((SIGNATURE + crc32(head).to_bytes(4, "little") + head).ljust(4096, b"\0") + records + index + info)


def craft_lmdb(store: PackedStore, path: Path, random: Random) -> None:
    import lmdb

    info = asdict(store.info)
    raw_info, kind = json.dumps(info, indent=1).encode(), random.randrange(4)
    entries = {KEY.pack(number): bytes(store.framed_record(number)) for number in range(5)}
    if kind == 0:
        raw_info = info_bytes(store, random)
    entries |= {HEADER: raw_info, INDEX: index_bytes(store, random, raw_info) if kind == 1 else store.index.dump(raw_info)}
    if kind == 2:
        entries[KEY.pack(random.randrange(3))] = record_bytes(store, random)
    with (
        lmdb.open(str(path), subdir=False, lock=False, map_size=1 << 22) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in entries.items():
            transaction.put(key, value)
    lmdb_pages.seal(path)
    if kind == 3:
        craft_pages(path, random)


def craft_pages(path: Path, random: Random) -> None:
    """Write other numbers into a page of the tree, or into the seal itself, and seal the file again."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[-12:-8], "little")
    end = len(data) - 16 - length
    page_size, _, last = lmdb_pages.BODY.unpack_from(data, end)
    runs = np.frombuffer(bytes(data[end : end + length]), "<u8", offset=lmdb_pages.BODY.size).reshape(-1, 2).copy()
    if random.random() < 0.3:
        field = random.randrange(runs.size)
        runs.reshape(-1)[field] = mutated_numbers(runs.reshape(-1).tolist(), 64, random)[field]
    else:
        pages = [page for first, count in runs.tolist() for page in range(first, first + count)]
        page = random.choice(pages)
        place = page * page_size + random.choice([*range(0, 160, 2), *range(page_size - 256, page_size, 2)])
        data[place : place + 2] = random.choice([0, 1, 2, 15, 16, 17, 255, 4095, 4096, 32767, 65535]).to_bytes(2, "little")
    crc = 0
    for first, count in runs.tolist():
        if count < 1 << 20:
            crc = crc32(data[first * page_size : min(len(data), (first + count) * page_size)], crc)
    body = lmdb_pages.BODY.pack(page_size, crc, last) + runs.tobytes()
    path.write_bytes(bytes(data[:end]) + body + lmdb_pages.TAIL.pack(crc32(body), len(body), lmdb_pages.SIGNATURE))


CRAFTS: dict[str, Callable[[PackedStore, Path, Random], None]] = {"raw": craft_raw, "lmdb": craft_lmdb}


@pytest.mark.parametrize("format", CRAFTS)
def test_each_is_read_or_refused_in_a_sentence(pack: Pack, format: str, tmp_path: Path) -> None:
    store, random = pack(format), Random(0)
    refused = 0
    for number in range(ROUNDS):
        path = tmp_path / "crafted" / f"{number}.{format}"
        path.parent.mkdir(exist_ok=True)
        CRAFTS[format](store, path, random)
        refused += look(path)
        path.unlink()
    assert refused > ROUNDS // 3


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_store_is_named_by_text_or_path(pack: Pack, as_type: Any) -> None:
    path = pack("raw").path
    assert len(store_at(as_type(path))) == 40
