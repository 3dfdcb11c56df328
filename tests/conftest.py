import gc
import multiprocessing.util
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator

import hypothesis
import pytest
import torch

from accel.system import machine
from tests.support.blank_pictures import draw_pictures
from tests.support.bytecode import keep_bytecode
from tests.support.disk_waits import skip_disk_waits
from tests.support.forked_popen import ForkedPopen, spawn_forked

collect_ignore = [] if "libcudart" in os.environ.get("LD_PRELOAD", "") else ["rehearsal"]
"""Only a process that runs on stand-ins can rehearse (make rehearsal)."""
WRITES_NO_BYTECODE = sys.dont_write_bytecode
torch.set_num_threads(1)
# the tests are of one world, whether this CPU multiplies bfloat16 or emulates it; tests/system/test_machine.py tells them apart
machine._cpu_lacks_bf16 = lambda: False
skip_disk_waits()
# an example takes its time on a busy machine: neither it nor the drawing of it counts as a failure for that
hypothesis.settings.register_profile("accel", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("accel")
# a shell's & without job control hands on an ignored Ctrl-C, and every process that the tests start would ignore theirs too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Hundreds of processes and the workers of pytest-xdist import the same sources; they find them compiled."""
    if not hasattr(config, "workerinput"):
        for name in ("accel", "benchmarks", "tests/support"):
            keep_bytecode(config.rootpath / name)


def pytest_collectstart() -> None:
    """What is collected stays, and makes no garbage. The tests, with their asserts rewritten, are compiled once."""
    gc.disable()
    sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    """What is imported and collected stays: the garbage collector need not look at it, nor at the rest so often."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    sys.dont_write_bytecode = WRITES_NO_BYTECODE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A picture is drawn for the tests that look at it, and for the fixtures that they begin with."""
    draw_pictures(item.get_closest_marker("draws") is not None)
    return (yield)


@pytest.fixture
def forked_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this Python that a test starts, and those that they start, are forks of the tests."""
    monkeypatch.setattr(subprocess, "Popen", ForkedPopen)
    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", spawn_forked)


@pytest.fixture(autouse=True, scope="module")
def settle() -> None:
    """What the tests before have imported stays too. A later `gc.collect`, of a test or of accel, need not look at all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forget_mine() -> Iterator[None]:
    """A user's module `mine` is another one in each test that has one."""
    yield
    sys.modules.pop("mine", None)
