"""Several processes that train together, started once for many cases: `python -m tests.support.rank_processes MODULE FOLDER`.

A case is a function `case_NAME(folder)` of a module; every rank calls all of them, in order, and what they return or raise is given
to the test, by case and rank. Starting a process takes seconds, a case milliseconds. Without CUDA they are forks of the tests.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import traceback
import warnings
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore

from accel.system import machine
from tests.support.disk_waits import skip_disk_waits
from tests.support.drill_length import times
from tests.support.forked_popen import ForkedPopen
from tests.support.waiting import DEADLINE

ROOT = Path(__file__).parents[2]


def shared_cases(module: str, factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The same, run once where several workers of pytest have tests of one file."""
    folder = shared_folder(module, factory)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            run_cases(module, folder)
            (folder / "done").touch()
    return read_cases(folder)


def shared_folder(module: str, factory: pytest.TempPathFactory) -> Path:
    """Where they are run."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / module
    folder.mkdir(exist_ok=True)
    return folder


def run_cases(module: str, folder: Path, ranks: int = 2, **more: str) -> dict[str, list[Any]]:
    """What the cases of a module came to, by name: one value for each rank. `more` is told to them in the environment."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=DEADLINE))
    env = {
        **os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]), **more,
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.support.rank_processes", module, str(folder)]
    start: Any = subprocess.Popen if torch.cuda.is_available() else ForkedPopen  # no fork can have CUDA
    started = start(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, text = started.communicate(timeout=times(600, 2400))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)  # the ranks too
        started.wait()
    assert started.returncode == 0, text
    return read_cases(folder)


def read_cases(folder: Path) -> dict[str, list[Any]]:
    """What is there of an earlier call."""
    actual = [torch.load(file, weights_only=False) for file in sorted(folder.glob("rank-*.pt"))]
    return {name: [one[name] for one in actual] for name in actual[0]}


def main(module: str, folder: str) -> None:
    """Calls every case; an exception is its result, as text."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
    torch.set_num_threads(1)
    machine._cpu_lacks_bf16 = lambda: False  # as in tests/conftest.py
    skip_disk_waits()
    actual: dict[str, Any] = {}
    for name, case in list(vars(import_module(module)).items()):
        if name.startswith("case_"):
            place = Path(folder, name)
            place.mkdir(exist_ok=True)
            try:
                actual[name.removeprefix("case_")] = case(place)
            except Exception as error:
                actual[name.removeprefix("case_")] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
    torch.save(actual, Path(folder, f"rank-{os.environ['RANK']}.pt"))


def fork_ranks(ranks: int) -> None:
    """Imports what takes long once, and returns in each of the ranks; ends this process when they have ended."""
    for name in ("accel", "accel.testing", "torch.distributed.fsdp", "torch.distributed.tensor", "torch._dynamo"):
        import_module(name)
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            return
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(any(statuses))


if __name__ == "__main__":
    fork_ranks(int(os.environ["WORLD_SIZE"]))
    main(*sys.argv[1:])
