"""A command that is a fork of the tests (tests/support/forked_popen.py) is what it is as a process that begins anew."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked_popen import ForkedPopen

PROGRAM = """
import atexit, os, signal, sys, tempfile, threading, time, warnings
print(sys.argv, __name__, os.getcwd(), sys.path[0], os.environ.get("WORD"))
print([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)])
print(sys.stdin.read(), file=sys.stderr)
atexit.register(print, "at the end")
threading.Thread(target=lambda: (time.sleep(0.01), print("a thread"))).start()
folder = tempfile.TemporaryDirectory()
warnings.warn("one that is shown")
"""
COMMANDS: dict[str, list[str]] = {
    "code": ["-c", PROGRAM, "word"],
    "a script": ["program.py", "word"],
    "a module": ["-m", "package.module", "word"],
    "warnings are errors": ["-W", "error", "program.py"],
    "a sentence": ["-c", "import sys; sys.exit('no')"],
    "a number": ["-c", "import sys; sys.exit(75)"],
    "an error": ["-c", "1 / 0"],
    "Ctrl-C": ["-c", "raise KeyboardInterrupt"],
    "a signal": ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"],
    "no module": ["-m", "nowhere"],
    "no script": ["nowhere.py"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_it_does_and_ends_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    for file in ("program.py", "package/__init__.py", "package/module.py"):
        (tmp_path / file).write_text("" if "init" in file else PROGRAM)
    settings: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"WORD": "1"}, "input": "hello"}
    anew, forked = (run_by(kind, COMMANDS[name], settings, monkeypatch) for kind in (subprocess.Popen, ForkedPopen))
    assert forked.returncode == anew.returncode
    assert forked.stdout == anew.stdout
    assert last_line(forked) == last_line(anew)


def last_line(done: Any) -> str:
    """Return the last line that a command has written as an error, without the names of temporary folders."""
    return re.sub("/tmp/[a-z0-9_]+'", "", done.stderr.rstrip().rpartition("\n")[2])


def run_by(kind: Any, words: list[str], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what came of a command that one kind of `Popen` starts."""
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", kind)
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **settings)


def test_it_is_killed_with_its_session_and_its_pipes_end() -> None:
    code = "import os, time; print('ready', flush=True); time.sleep(600)"
    with ForkedPopen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        beside = ForkedPopen([sys.executable, "-c", "import time; time.sleep(600)"])
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout.read() == "", "the other one has not inherited the pipe"
        assert process.wait() == -signal.SIGKILL
        beside.kill()
        assert beside.wait() == -signal.SIGKILL


def double(number: int) -> tuple[int, list[str], int]:
    return 2 * number, sys.argv[:1], os.getpid()


@pytest.mark.slow
def test_what_multiprocessing_spawns_is_a_fork_too(forked_commands: None) -> None:
    with get_context("spawn").Pool(1) as pool:
        doubled, argv, number = pool.apply(double, (21,))
    assert (doubled, number != os.getpid()) == (42, True)
    assert argv == sys.argv[:1], "it is prepared as one that begins anew"
