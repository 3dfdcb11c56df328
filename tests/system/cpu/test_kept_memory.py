import ctypes
import os
import resource
import sys

import pytest

from accel.system.cpu import kept_memory
from accel.system.cpu.kept_memory import KeptMemory, obstacle, preset
from accel.system.free_space import free_memory, total_memory

glibc = pytest.mark.skipif(bool(obstacle({})), reason="needs glibc")
BLOCK, PAGE = 64 * 2**20, resource.getpagesize()


def faults_of_a_block() -> int:
    """Page faults of allocating, writing and freeing 64 MB."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(ctypes.c_size_t(BLOCK))
    ctypes.memset(block, 1, BLOCK)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@glibc
def test_freed_memory_is_used_again_until_the_last_user_is_gone() -> None:
    memory, pages = KeptMemory(), BLOCK // PAGE
    memory.keep()
    memory.keep()
    faults_of_a_block()
    assert faults_of_a_block() < pages // 10
    memory.release()
    assert faults_of_a_block() < pages // 10, "another run still asks for it"
    memory.release()
    assert faults_of_a_block() > pages // 2 or faults_of_a_block() > pages // 2, "it went back"


@glibc
def test_forked_children_do_not_keep_it() -> None:
    memory = KeptMemory()
    memory.keep()
    child = os.fork()
    if child == 0:
        os._exit(memory.users)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert memory.users == 1
    memory.release()


@glibc
def test_a_refusal_leaves_the_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = KeptMemory()
    monkeypatch.setattr(kept_memory, "set_thresholds", lambda thresholds: False)
    with pytest.raises(OSError, match="mallopt"):
        memory.keep()
    assert memory.users == 0


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"MALLOC_ARENA_MAX": "2"}, ""),
        ({"MALLOC_ARENA_MAX_": "2"}, ""),
        ({"MALLOC_TOP_PAD_": ""}, ""),
        ({"MALLOC_TOP_PAD_": "0"}, "MALLOC_TOP_PAD_"),
        ({"MALLOC_MMAP_MAX_": "5"}, "MALLOC_MMAP_MAX_"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.rtld.nns=4"}, ""),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.malloc.trim_threshold=9"}, "GLIBC_TUNABLES"),
    ],
)
def test_what_the_user_has_set_stays(environ: dict[str, str], name: str) -> None:
    assert preset(environ) == name
    assert not name or name in obstacle(environ) or obstacle({})


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_such_thresholds(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert platform in obstacle({})


@pytest.mark.parametrize("error", [ValueError, OSError, None])
def test_other_c_libraries_have_none(monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None) -> None:
    def confstr(name: str) -> None:
        if error is not None:
            raise error(name)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "confstr", confstr)
    assert "another" in obstacle({})


@glibc
def test_another_allocator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_memory, "_owner_of_malloc", lambda: "libjemalloc.so.2")
    assert obstacle({}) == "libjemalloc.so.2 is the allocator of this process, which has its own rules"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_free_is_part_of_all() -> None:
    free, total = free_memory(), total_memory()
    assert free is not None
    assert total is not None
    assert 0 < free <= total
