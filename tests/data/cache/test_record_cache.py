"""Records that are kept as they come: each there as a whole, or not at all."""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from accel.data.cache.record_cache import CHUNK, ENTRY, HEAD, RecordCache
from accel.errors import AccelWarning
from tests.support.waiting import wait_until


def record(index: int) -> bytes:
    return bytes([index % 251]) * (100 + 7 * index)


def fill(kept: RecordCache, numbers: range) -> None:
    for index in numbers:
        assert kept.put(index, record(index), index, 7)


def right(kept: RecordCache, index: int) -> bool:
    actual = kept.get(index)
    return actual is not None and (bytes(actual[0]), *actual[1:]) == (record(index), index, 7)


@pytest.fixture(params=["memory", "disk"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> RecordCache:
    return RecordCache(60, 10**6, None if request.param == "memory" else tmp_path / "new" / "a.kept", "x")


def test_what_is_put_is_found(kept: RecordCache) -> None:
    assert kept.get(3) is None
    fill(kept, range(60))
    assert all(right(kept, index) for index in range(60))
    assert kept.put(0, np.arange(6, dtype=np.uint8).reshape(2, 3))
    actual = kept.get(0)
    assert actual is not None
    assert actual[0].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(TypeError, match="read-only"):
        actual[0][0] = 1


def test_threads_and_processes_fill_it_together(kept: RecordCache) -> None:
    def some(first: int) -> None:
        threads = [threading.Thread(target=fill, args=(kept, range(first + part, 60, 4))) for part in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    processes = [mp.get_context("fork").Process(target=some, args=(first,)) for first in (0, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        process.close()
    assert all(right(kept, index) for index in range(60))


def put_one(kept: RecordCache) -> None:
    fill(kept, range(1))


def test_it_can_be_sent_to_a_spawned_process(kept: RecordCache) -> None:
    process = mp.get_context("spawn").Process(target=put_one, args=(kept,))
    process.start()
    process.join()
    process.close()
    assert right(kept, 0)


def test_killed_while_it_writes_each_record_is_whole_or_absent(tmp_path: Path) -> None:
    path, size = tmp_path / "a.kept", 400_000

    def write() -> None:
        kept = RecordCache(60, 10**9, path, "x")
        (tmp_path / "begun").touch()
        for number in range(10**6):
            kept.put(number % 60, bytes([number % 60]) * size)

    process = mp.get_context("fork").Process(target=write)
    process.start()
    wait_until(lambda: path.exists() and path.stat().st_size > 3 * CHUNK, "two parts that are written, and the table")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    process.close()
    again = RecordCache(60, 10**9, path, "x")
    assert again.restored >= 1
    for index in range(60):
        actual = again.get(index)
        assert actual is None or bytes(actual[0]) == bytes([index]) * size
    fill(again, range(60))
    assert all(right(again, index) for index in range(60))


def test_what_is_damaged_or_cut_off_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.kept"
    fill(RecordCache(60, 10**6, path, "x"), range(60))
    whole = path.read_bytes()
    at = ENTRY.unpack_from(whole, HEAD.size + 5 * ENTRY.size)[0]
    path.write_bytes(whole[:at] + b"?" + whole[at + 1 :])
    assert [right(RecordCache(60, 10**6, path, "x"), index) for index in (4, 5, 6)] == [True, False, True]
    place = HEAD.size + 6 * ENTRY.size + 16  # the height of another
    path.write_bytes(whole[:place] + b"?" + whole[place + 1 :])
    assert RecordCache(60, 10**6, path, "x").get(6) is None
    path.write_bytes(whole[:at])
    assert [right(RecordCache(60, 10**6, path, "x"), index) for index in (4, 5, 59)] == [True, False, False]
    path.write_bytes(whole[:100])
    with pytest.raises(OSError, match="delete it"):
        RecordCache(60, 10**6, path, "x")


def test_it_is_not_taken_for_something_else(tmp_path: Path) -> None:
    fill(RecordCache(60, 10**6, tmp_path / "a.kept", "x"), range(3))
    assert RecordCache(60, 10**6, tmp_path / "a.kept", "x").restored == 3
    for count, of in ((60, "y"), (61, "x")):
        with pytest.raises(OSError, match="is not what was kept there"):
            RecordCache(count, 10**6, tmp_path / "a.kept", of)


def test_where_the_room_is_used_up_it_says_so_once(tmp_path: Path) -> None:
    kept = RecordCache(60, 4000, tmp_path / "a.kept", "x")

    def more() -> None:
        with warnings.catch_warnings(record=True) as message:
            warnings.simplefilter("always")
            kept.put(9, record(9) * 100)
        os._exit(len(message))

    with pytest.warns(AccelWarning, match=r"nothing more is kept in .*a.kept \(the 4e-06 GB that it may use are full\)") as message:
        done = [kept.put(index, record(index)) for index in range(60)]
    assert len(message) == 1
    assert 0 < sum(done) < 60
    assert done == sorted(done, reverse=True)
    process = mp.get_context("fork").Process(target=more)
    process.start()
    process.join()
    assert process.exitcode == 0, "nor does another process"
    process.close()


def test_a_full_disk_is_no_error(tmp_path: Path) -> None:
    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))  # a disk that takes no more
        warnings.simplefilter("error")
        kept = RecordCache(60, 10**6, tmp_path / "a.kept", "x")
        done = [kept.put(index, record(index), index, 7) for index in range(60)]
        os._exit(0 if kept.full and 0 < sum(done) < 60 and all(right(kept, index) for index in range(sum(done))) else 1)

    process = mp.get_context("fork").Process(target=write)
    process.start()
    process.join()
    assert process.exitcode == 0
    process.close()
