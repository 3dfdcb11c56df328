"""The cache of files at URLs."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from accel.data.remote import block_cache, fsspec_client
from accel.data.remote.block_cache import BlockCache, local_copy
from accel.data.remote.fsspec_client import FileInfo
from accel.data.remote.remote_files import RemoteFile
from accel.errors import AccelWarning, ConfigError, TrainingError
from tests.support.http_server import serving
from tests.support.waiting import DEADLINE

fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
CONTENT = bytes(range(256)) * 10
KB = 1000


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec_client, "WAIT", 0.001)


@pytest.fixture
def url() -> str:
    """A file of 2,560 bytes in memory."""
    system = fsspec.filesystem("memory")
    system.pipe("/fetched/file", CONTENT)
    return "memory://fetched/file"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """Every range that is fetched."""
    actual: list[tuple[int, int | None]] = []
    ranged = fsspec_client.read_range

    def count(url: str, start: int, end: int | None, tries: int) -> bytes:
        actual.append((start, end))
        return ranged(url, start, end, tries)

    monkeypatch.setattr(fsspec_client, "read_range", count)
    return actual


@pytest.mark.parametrize("block", [100, 256, 2560, 5000])
def test_any_piece_of_a_file_and_each_block_once(url: str, block: int, tmp_path: Path, asked: list[Any]) -> None:
    file = RemoteFile(url, BlockCache(str(tmp_path), block=block))
    for _ in range(2):
        for offset, size in ((0, 2560), (99, 3), (2559, 1), (250, 700), (2500, 1000), (2560, 5)):
            assert file.read(offset, size) == CONTENT[offset : offset + size]
    assert len(asked) == -(-2560 // block)
    assert local_copy(url, file.cache).read_bytes() == CONTENT


def test_threads_that_want_the_same_fetch_it_once(url: str, tmp_path: Path, asked: list[Any]) -> None:
    cache = BlockCache(str(tmp_path))
    info = fsspec_client.file_info(url)
    barrier = threading.Barrier(8)

    def read(_: int) -> bytes:
        barrier.wait(DEADLINE)
        return cache.read_all(info)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(8))) == {CONTENT}
    assert len(asked) == 1


def fetch(folder: str, barrier: Any, log: str) -> bytes:
    """In another process: many blocks, each of which is noted when it is fetched."""

    def ranged(url: str, start: int, end: int | None, tries: int) -> bytes:
        with open(log, "a") as stream:
            stream.write(f"{start}\n")
        return CONTENT[start:end]

    fsspec_client.read_range, fsspec_client.file_info = ranged, lambda url, tries: FileInfo("u://file", 2560, "1")
    barrier.wait(DEADLINE)
    return BlockCache(folder, block=128).read_all(FileInfo("u://file", 2560, "1"))


def test_processes_that_want_the_same_fetch_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, context.Pool(3) as pool:
        barrier = manager.Barrier(3)
        words = (str(tmp_path / "cache"), barrier, str(tmp_path / "log"))
        assert pool.starmap(fetch, [words] * 3, chunksize=1) == [CONTENT] * 3
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(0, 2560, 128))


def test_nobody_sees_half_a_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written has another name until it is whole, and a block that was cut short on the disk is fetched again."""
    cache, info = BlockCache(str(tmp_path)), fsspec_client.file_info(url)
    replace, seen = Path.replace, []

    def moved(self: Path, target: Path) -> Path:
        seen.append((target.exists(), self.read_bytes() == CONTENT))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", moved)
    cache.read_all(info)
    assert seen == [(False, True)]
    (kept,) = tmp_path.glob("??/*.0")
    kept.write_bytes(CONTENT[:1000])
    assert cache.read_all(info) == CONTENT
    assert kept.read_bytes() == CONTENT
    assert not list(tmp_path.glob("??/*.part"))


def test_a_file_that_was_changed_is_fetched_anew(url: str, tmp_path: Path) -> None:
    cache = BlockCache(str(tmp_path))
    assert cache.read_all(fsspec_client.file_info(url)) == CONTENT
    fsspec.filesystem("memory").pipe("/fetched/file", CONTENT[::-1])
    assert cache.read_all(fsspec_client.file_info(url)) == CONTENT[::-1]


@pytest.mark.parametrize("block", [1000, 5000])
def test_a_file_that_is_changed_while_it_is_read_is_refused(url: str, block: int, tmp_path: Path) -> None:
    info = fsspec_client.file_info(url)
    fsspec.filesystem("memory").pipe("/fetched/file", CONTENT if block == 1000 else CONTENT + b"more")  # another time, or size
    with pytest.raises(TrainingError, match="memory://fetched/file was changed while it was read: it had 2,560 bytes"):
        BlockCache(str(tmp_path), block=block).read_all(info)


def test_the_budget_is_kept_and_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    system, cache = fsspec.filesystem("memory"), BlockCache(str(tmp_path), budget=10 * KB, block=KB)
    infos = []
    for number in range(30):
        system.pipe(f"/many/{number}", bytes([number]) * KB)
        infos.append(fsspec_client.file_info(f"memory://many/{number}"))
    for number, info in enumerate(infos):
        cache.read_all(info)
        for kept in tmp_path.glob("??/*.0"):  # the clock of the files is too coarse for a test
            if kept.read_bytes()[0] == number:
                os.utime(kept, (number, number))
        cache.read_all(infos[0])  # used again: more than ten minutes after it was, by that clock
        assert sum(kept.stat().st_size for kept in tmp_path.glob("??/*.0")) <= 10 * KB
    there = {kept.read_bytes()[0] for kept in tmp_path.glob("??/*.0")}
    assert there == {0, *range(21, 30)}


def test_a_file_that_is_in_use_stays(tmp_path: Path) -> None:
    system, cache = fsspec.filesystem("memory"), BlockCache(str(tmp_path), budget=3 * KB, block=KB)
    for number in range(9):
        system.pipe(f"/some/{number}", bytes([number]) * KB)
    path = cache.local_path(fsspec_client.file_info("memory://some/0"))
    os.utime(path, (0, 0))
    for number in range(1, 9):
        cache.read_all(fsspec_client.file_info(f"memory://some/{number}"))
    assert path.read_bytes() == bytes(KB)
    system.pipe("/some/large", bytes(4 * KB))
    with pytest.raises(ConfigError, match=r"memory://some/large has 4e-06 GB, and the cache of remote files 3e-06; give it more"):
        cache.local_path(fsspec_client.file_info("memory://some/large"))


def test_a_place_that_cannot_be_written(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"the cache of remote files cannot be kept in .*file: Not a directory; name another"):
        BlockCache(str(tmp_path / "file")).read_all(fsspec_client.file_info(url))
    with pytest.raises(ConfigError, match=r"takes 0.008\d* GB or more, and not 0.001"):
        BlockCache(str(tmp_path), budget=10**6)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(AccelWarning, match="cannot be written .No space left on device.; nothing is kept"):
        assert BlockCache(str(tmp_path)).read_all(fsspec_client.file_info(url)) == CONTENT


def test_it_goes_into_other_processes(url: str, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(RemoteFile(url, BlockCache(str(tmp_path), budget=10**8, tries=2))))
    assert (again.cache.budget, again.cache.tries, again.read(5, 3)) == (10**8, 2, CONTENT[5:8])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://fetched/nothing", "memory://fetched/nothing: there is no such file or folder"),
        ("nowhere://x/y", "nowhere://x/y: Protocol not known: nowhere; write a URL such as s3://bucket/data"),
        ("memory://fetched", "memory://fetched: that is a folder; name a file"),
    ],
)
def test_a_url_that_names_nothing(url: str, message: str, asked: list[Any]) -> None:
    fsspec.filesystem("memory").pipe("/fetched/file", CONTENT)
    with pytest.raises(ConfigError, match=message):
        fsspec_client.file_info(url)


def test_a_protocol_whose_package_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(url: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacks)
    with pytest.raises(ConfigError, match="s3://bucket/data: s3:// needs the package s3fs: pip install s3fs"):
        fsspec_client.file_info("s3://bucket/data")


class TestOverHttp:
    """With a server of this machine."""

    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("aiohttp", reason="needs the extra remote")

    @pytest.mark.parametrize("ranges", [True, False])
    def test_pieces(self, tmp_path: Path, ranges: bool) -> None:
        (tmp_path / "www").mkdir()
        (tmp_path / "www" / "file.bin").write_bytes(CONTENT)
        with serving(tmp_path / "www") as server:
            server.ranges = ranges
            file = RemoteFile(f"{server.url}/file.bin", BlockCache(str(tmp_path / "cache"), block=1000))
            assert file.read(900, 200) == CONTENT[900:1100]
            assert server.asked == ["/file.bin"] * 2
            assert file.read(0, 2000) == CONTENT[:2000]
            assert server.asked == ["/file.bin"] * 2

    def test_another_etag_is_another_file(self, tmp_path: Path) -> None:
        (tmp_path / "file.bin").write_bytes(CONTENT)
        with serving(tmp_path) as server:
            cache = BlockCache(str(tmp_path / "cache"), block=1000)
            file = RemoteFile(f"{server.url}/file.bin", cache)
            file.read(0, 10)
            (tmp_path / "file.bin").write_bytes(CONTENT[::-1])
            os.utime(tmp_path / "file.bin", ns=(1, time.time_ns() + 10**9))
            with pytest.raises(TrainingError, match=r"file.bin was changed while it was read"):
                file.read(1500, 10)
            assert RemoteFile(f"{server.url}/file.bin", cache).read(0, 10) == CONTENT[::-1][:10]

    def test_what_fails_is_asked_again(self, tmp_path: Path) -> None:
        (tmp_path / "file.bin").write_bytes(CONTENT)
        with serving(tmp_path) as server:
            server.failures = 2
            info = fsspec_client.file_info(f"{server.url}/file.bin", 3)
            assert BlockCache(str(tmp_path / "cache"), tries=3).read_all(info) == CONTENT
            server.failures = 6  # two requests for each try
            with pytest.raises(
                TrainingError, match=r"file.bin could not be read, in 3 tries: 503.*start again: what was fetched is"
            ):
                fsspec_client.file_info(f"{server.url}/file.bin", 3)

    def test_a_file_that_breaks_off(self, tmp_path: Path) -> None:
        (tmp_path / "file.bin").write_bytes(CONTENT)
        with serving(tmp_path) as server:
            info = fsspec_client.file_info(f"{server.url}/file.bin")
            server.short = True
            with pytest.raises(TrainingError, match=r"file.bin could not be read, in 2 tries"):
                BlockCache(str(tmp_path / "cache"), tries=2).read_all(info)
        assert not list((tmp_path / "cache").glob("??/*.0"))

    def test_a_server_that_is_gone(self, tmp_path: Path) -> None:
        (tmp_path / "file.bin").write_bytes(CONTENT)
        cache = BlockCache(str(tmp_path / "cache"), tries=2, block=1000)
        with serving(tmp_path) as server:
            file = RemoteFile(f"{server.url}/file.bin", cache)
            file.read(0, 1)
        assert file.read(0, 1000) == CONTENT[:1000], "from the cache"
        with pytest.raises(TrainingError, match=r"file.bin could not be read, in 2 tries: .*see whether the network is there"):
            file.read(1000, 1)


def test_a_block_that_is_used_again_is_marked(url: str, tmp_path: Path) -> None:
    cache, info = BlockCache(str(tmp_path)), fsspec_client.file_info(url)
    cache.read_all(info)
    (kept,) = tmp_path.glob("??/*.0")
    old = time.time() - block_cache.TOUCH_INTERVAL - 100
    os.utime(kept, (old, old))
    cache.read_all(info)
    assert kept.stat().st_mtime > old + 50
