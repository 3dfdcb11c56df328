"""`doctor --apply` that is ended in its midst, by whatever signal: no file is there, and no process is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_doctor_apply import TASK
from tests.support.drill_length import LONG
from tests.support.rank_processes import ROOT
from tests.support.waiting import wait_until

EVENTS = ["measuring: updates", "measuring: readers beside", "trying +plugins=[workers]", "    count", "    kept", "trying larger"]


def of_session(session: int) -> list[str]:
    """The processes of a session that are no zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(folder.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="many commands: make drill")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("event", EVENTS)
def test_whatever_ends_it_leaves_nothing_behind(event: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    words = ["--apply", "--name", "fast", "--seconds", "8", "task._target_=mine.Waiting", "batch_size=4", "device=cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = subprocess.Popen(
        [sys.executable, "-m", "accel", "doctor", *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert command.stdout is not None
    lines: list[str] = []
    for line in command.stdout:
        lines.append(line)
        if line.startswith(event):
            break
    else:
        pytest.fail(f"it never said {event!r}: {''.join(lines)}")
    os.kill(command.pid, number)
    rest = command.stdout.read()
    code = command.wait()
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 75, signal.SIGINT: 75}[signal.Signals(number)], rest
    assert "Traceback" not in rest
    wait_until(lambda: not of_session(command.pid), "all of its processes end")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
