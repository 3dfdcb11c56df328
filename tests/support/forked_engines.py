"""Engines of exports in forks of the tests, which have imported torch and onnxruntime already, in place of new interpreters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from accel.export.runtime import engine_process
from tests.support.drill_length import times

__all__ = ["forked_engines", "own_processes"]


class ForkedServer:
    """Stand for the `subprocess.Popen` of a server of this interpreter: a process of its own, without its start.

    Args:
        command: as `EngineProcess` has it: the interpreter, -c, its program, the file of accel, the module, its words.
        env: the environment of the process.
        stdout: the file that takes all that it prints.
        more: what `EngineProcess` says besides.
    """

    def __new__(cls, command: Sequence[str], **more: Any) -> Any:
        if command[0] != sys.executable:
            return subprocess.Popen(command, **more)
        return super().__new__(cls)

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], stdout: Any, **more: Any) -> None:
        self.code: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: none of them is used in it
            self.pid = os.fork()
        if self.pid == 0:
            _serve(command[4], command[5:], env, stdout.fileno())

    def wait(self) -> int:
        """Return how it ended."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def kill(self) -> None:
        """End it."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _serve(module: str, words: Sequence[str], env: Mapping[str, str], log: int) -> NoReturn:
    """Answer in the fork, and end it."""
    code = 1
    try:
        os.setsid()
        signal.alarm(times(600, 2400))  # whatever it waits for
        for number in (1, 2):
            os.dup2(log, number)
        os.environ.clear()
        os.environ.update(env)
        warnings.resetwarnings()
        warnings.simplefilter("default")
        sys.argv[:] = ["-c", *words]
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        import_module(module).main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@pytest.fixture
def own_processes() -> None:
    """Let engines answer in new interpreters, as they do for users: for a test whose subject that is."""


@pytest.fixture(autouse=True)
def forked_engines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let engines of this interpreter answer in forks, in every test of a folder whose conftest.py imports this."""
    if "own_processes" in request.fixturenames:
        return
    with suppress(ModuleNotFoundError):
        import onnxruntime  # noqa: F401
    monkeypatch.setattr(engine_process, "subprocess", SimpleNamespace(Popen=ForkedServer, DEVNULL=subprocess.DEVNULL))
