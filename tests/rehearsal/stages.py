"""The whole rehearsal, stage by stage: `python -m tests.rehearsal.stages [STAGE...]`. The last lines say what passed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.rehearsal.build import CannotRehearse, build

__all__ = ["STAGES", "Stage", "main"]

ROOT = Path(__file__).parents[2]
TESTS = "tests/rehearsal/test_"


class Stage(NamedTuple):
    """Tests that run in one environment.

    Args:
        tests: paths, and other arguments of pytest.
        settings: of the null devices, `NAME=VALUE`.
        processes: how many run at once.
    """

    tests: tuple[str, ...]
    settings: tuple[str, ...] = ()
    processes: int = 2


STAGES: dict[str, Stage] = {
    "stand-ins": Stage((f"{TESTS}devices.py", f"{TESTS}arithmetic.py", f"{TESTS}launcher.py"), processes=1),
    "tests": Stage(("tests/cuda",)),
    "late": Stage(("tests/cuda", f"{TESTS}lazy_runs.py"), ("lazy=1",)),
    "sanitizer": Stage((f"{TESTS}sanitizer.py",), processes=1),
    "waits": Stage((f"{TESTS}waits.py", f"{TESTS}launches.py")),
    "two-devices": Stage((f"{TESTS}two_devices.py",), ("devices=2",), processes=1),
    "old-device": Stage((f"{TESTS}old_device.py",), ("capability=75",), processes=1),
    "little-memory": Stage((f"{TESTS}little_memory.py",), ("memory_mb=64",), processes=1),
}


def run(stage: Stage) -> int:
    """Return the exit status of a stage."""
    parallel = ["-n", str(stage.processes)] if stage.processes > 1 else []
    pytest = ["-m", "pytest", "-q", "-p", "nullcuda.pytest_plugin", *parallel, *stage.tests]
    command = [sys.executable, "-m", "tests.rehearsal", *stage.settings, *pytest]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode


def main(names: list[str]) -> int:
    """Run stages, all by default. Return 0 if all passed or none is possible here, 1 if one failed, 2 for a wrong name."""
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"rehearsal: there is no stage {unknown[0]}; there are {', '.join(STAGES)}")
        return 2
    try:
        build()
    except CannotRehearse as why:
        print(f"rehearsal skipped: {why}")
        return 0
    lines, failed = [], 0
    for name in names or STAGES:
        print(f"\n== {name}: {' '.join(STAGES[name].settings)}", flush=True)
        begun = time.monotonic()
        status = run(STAGES[name])
        failed += status != 0
        lines.append(f"{name:15} {'passed' if status == 0 else 'FAILED'}  {time.monotonic() - begun:5.0f} s")
    print("\n".join(["", *lines]))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
