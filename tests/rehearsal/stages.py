"""The whole rehearsal, stage by stage: `python -m tests.rehearsal.stages [STAGE...]`. The last lines say what passed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.rehearsal.build import BuildFailed, CannotRehearse, build

__all__ = ["STAGES", "Stage", "main"]

ROOT = Path(__file__).parents[2]
TESTS = "tests/rehearsal/test_"
RANKS = "tests/cuda/test_cuda_ranks.py"
PROCESSES = 2


class Stage(NamedTuple):
    """Tests that run in one environment.

    Args:
        tests: paths, and other arguments of pytest.
        settings: of the null devices, `NAME=VALUE`.
        distribution: how pytest-xdist gives tests to its two processes.
        test_seconds: that a test may take. One that takes longer is ended, with the stacks of its threads and its name.
        seconds: that the stage may take. It is ended after that, with the stacks of all its processes.
    """

    tests: tuple[str, ...]
    settings: tuple[str, ...] = ()
    distribution: str = "load"
    test_seconds: int = 300
    seconds: int = 1200


STAGES: dict[str, Stage] = {
    "stand-ins": Stage(tuple(f"{TESTS}{name}.py" for name in ("devices", "lock_order", "arithmetic", "launcher", "environment"))),
    "tests": Stage(("tests/cuda", f"--ignore={RANKS}")),
    "late": Stage(("tests/cuda", f"{TESTS}lazy_runs.py"), ("lazy=1",)),
    "sanitizer": Stage((f"{TESTS}sanitizer.py",)),
    "waits": Stage((f"{TESTS}waits.py", f"{TESTS}launches.py")),
    "diagnose": Stage((f"{TESTS}diagnose.py",)),
    "two-devices": Stage((f"{TESTS}two_devices.py", "tests/cuda/test_cuda_devices.py"), ("devices=2",)),
    "old-device": Stage((f"{TESTS}old_device.py",), ("capability=75",)),
    "ranks": Stage((f"{TESTS}nccl.py", RANKS), ("devices=2",), distribution="loadfile"),
    "refused": Stage((f"{TESTS}refused_pinning.py",)),
    "little-memory": Stage((f"{TESTS}little_memory.py",), ("memory_mb=64",)),
}


def run(stage: Stage) -> str:
    """Run a stage. Return how it ended: "passed", "FAILED" or "HUNG"."""
    # always in a process of xdist's: it names the test in which one ended
    box = f"-n {PROCESSES} --dist {stage.distribution}"
    limit = f"-o faulthandler_timeout={stage.test_seconds} -o faulthandler_exit_on_timeout=true"
    pytest = ["-m", "pytest", "-q", "-p", "nullcuda.pytest_plugin", *box.split(), *limit.split(), *stage.tests]
    command = [sys.executable, "-m", "tests.rehearsal", *stage.settings, *pytest]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True) as process:
        try:
            return "passed" if process.wait(stage.seconds) == 0 else "FAILED"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # pytest's faulthandler prints the stacks
            time.sleep(2)
            return "HUNG"
        finally:
            end_group(process.pid)


def end_group(number: int) -> None:
    """End what is left of a group of processes."""
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:
        return


def main(names: list[str]) -> int:
    """Run stages, all by default. Return 0 if all passed or none is possible here, 1 for a failure, 2 for a wrong name."""
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"rehearsal: there is no stage {unknown[0]}; there are {', '.join(STAGES)}")
        return 2
    try:
        build()
    except CannotRehearse as why:
        print(f"rehearsal skipped: {why}")
        return 0
    except BuildFailed as error:
        print(error)
        return 1
    lines, failed = [], 0
    for name in names or STAGES:
        print(f"\n== {name}: {' '.join(STAGES[name].settings)}", flush=True)
        begun = time.monotonic()
        end = run(STAGES[name])
        failed += end != "passed"
        lines.append(f"{name:15} {end:6}  {time.monotonic() - begun:5.0f} s")
    print("\n".join(["", *lines]))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
