"""What comes out of a store is what was put in, in any process and any thread."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from accel.data.codecs.image_reader import decode_record
from accel.data.file_names import FileNames
from accel.data.store import Files, Record
from accel.data.stores.packed_store import PackedStore
from tests.data.stores.conftest import Pack

BOTH = pytest.mark.parametrize("format", ["lmdb", "raw"])


def contents(store: PackedStore, queue: multiprocessing.Queue[list[bytes]] | None = None) -> list[bytes]:
    actual = [bytes(record) for record in store.get_many(range(len(store)))]
    if queue is not None:
        queue.put(actual)
    return actual


def pixels(record: Record, encoding: str) -> np.ndarray:
    return np.asarray(decode_record(record, "x", encoding))


def test_originals_are_the_files_bytes(files: Files, pack: Pack) -> None:
    store = pack("lmdb")
    assert [bytes(record) for record in store.get_many(range(40))] == [Path(file).read_bytes() for file in files.files]
    assert [store.label(index) for index in range(40)] == files.labels.tolist()
    assert [store.key(index) for index in range(40)] == [files.key(index) for index in range(40)]
    assert (store.classes, store.encoding, len(store)) == (["cat", "dog"], "original", 40)
    assert store.name(0) == f"cat/0.jpg (record 0 of {store.path})"
    assert store.info.changed == ""


@pytest.mark.parametrize(("format", "encoding"), [("lmdb", "raw"), ("raw", "raw"), ("lmdb", "bmp")])
def test_encodings_that_keep_every_pixel(files: Files, pack: Pack, format: str, encoding: str) -> None:
    store = pack(format, encoding=encoding)
    assert store.info.changed == ""
    for index in range(40):
        record = store.get(index)
        assert isinstance(record, memoryview)
        assert record.readonly, "a view of the file, which nobody may write to"
        assert np.array_equal(pixels(record, encoding), pixels(files.get(index), "original"))


def test_shrinking_keeps_the_shape_and_never_magnifies(files: Files, pack: Pack) -> None:
    short, long = pack("raw", "short", short_side=30), pack("raw", "long", max_side=30)
    for index in range(40):
        height, width, _ = pixels(files.get(index), "original").shape
        assert short.get(index).shape == ((height, width, 3) if height < 30 else shape(height, width, 30 / min(height, width)))  # type: ignore[union-attr]
        assert long.get(index).shape == shape(height, width, 30 / max(height, width))  # type: ignore[union-attr]
    assert short.info.changed == "shrunk to a shorter side of at most 30 pixels"


def shape(height: int, width: int, scale: float) -> tuple[int, int, int]:
    return round(height * scale), round(width * scale), 3


def test_jpeg_is_near_the_original(files: Files, pack: Pack) -> None:
    store = pack("lmdb", encoding="jpeg", quality=95)
    smooth = [index for index in range(40) if "more" not in files.key(index) and int(Path(files.files[index]).stem) % 2 == 0]
    for index in smooth:
        difference = pixels(store.get(index), "jpeg").astype(int) - pixels(files.get(index), "original")
        assert abs(difference).max() <= 3
    assert store.info.changed == "encoded anew as JPEG of quality 95"


@BOTH
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.slow
def test_another_process_reads_the_same(pack: Pack, format: str, method: str, forked_commands: None) -> None:
    store = pack(format)
    before = contents(store)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=contents, args=(store, queue))
    child.start()
    assert queue.get(timeout=60) == before
    child.join()
    assert contents(store) == before, "and the parent is none the worse for it"


@BOTH
def test_a_store_travels_as_its_path(pack: Pack, format: str) -> None:
    store = pack(format)
    before = contents(store)
    twin = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 500
    assert contents(twin) == before, "two stores over one file in one process"


@BOTH
def test_threads_read_at_once(pack: Pack, format: str) -> None:
    store = pack(format)
    before = contents(store)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda index: bytes(store.get(index % 40)), range(800))) == before * 20


@BOTH
def test_there_is_nothing_behind_the_end(pack: Pack, format: str) -> None:
    store = pack(format)
    for index in (40, -1):
        with pytest.raises(IndexError, match="of 40"):
            store.get(index)


@BOTH
def test_a_file_packed_anew_is_read_anew(files: Files, pack: Pack, format: str) -> None:
    store = pack(format)
    first = contents(store)
    store.path.unlink()
    keys = list(files.files.keys())
    files.files, files.labels = FileNames(str(files.folder), [keys[::-1]]), files.labels[::-1]
    assert contents(pack(format)) == first[::-1]
    assert contents(store) == first, "what was open stays what it was"


@BOTH
def test_the_fingerprint_is_that_of_the_records(pack: Pack, format: str) -> None:
    same, other = pack(format, "a"), pack(format, "b")
    assert same.fingerprint() == other.fingerprint()
    assert same.path.read_bytes() == other.path.read_bytes(), "the same pictures make the same file"
    assert pack("lmdb", "c", encoding="bmp").fingerprint() != same.fingerprint()
