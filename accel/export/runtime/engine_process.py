"""A process of its own in which an engine works: what it does to the process, it does not do to this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import accel
from accel.errors import ConfigError
from accel.export.all_targets import target_class

__all__ = ["TIME_LIMIT", "EngineProcess", "RuntimeFailed", "cannot_start"]

SERVER = """
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
sys.path = [path for path in sys.path if path]
spec = spec_from_file_location("accel", sys.argv.pop(1))
sys.modules["accel"] = accel = module_from_spec(spec)
spec.loader.exec_module(accel)
import_module(sys.argv.pop(1)).main()
"""
"""The program: nothing in the current directory is imported in place of a package, and accel is this one, not one that is there."""
TIME_LIMIT = 900.0
"""Seconds in which an engine answers, unless a setting says otherwise. TVM is the slowest to build."""


class RuntimeFailed(Exception):
    """An engine that did not build, load or run the files. Its text is a clause."""


def cannot_start(python: str | None, reason: str | None) -> ConfigError:
    """Return the error of an interpreter that cannot be started."""
    return ConfigError(f"python={python}: it cannot be started ({reason}); name an interpreter of Python")


class EngineProcess:
    """A process that answers what it is asked, in the interpreter that has an engine.

    It ends when this process does. An engine that crashes, prints, or does not answer is a sentence here.

    Args:
        target: name of the target.
        server: the module whose `main` answers.
        words: its arguments, behind the number of the connection.
        threads: processor threads of the engine.
        python: the interpreter, of an environment that has the engine; None for this one.
        time_limit: seconds in which it must answer.

    Raises:
        ConfigError: if there is no such interpreter.
    """

    def __init__(
        self, target: str, server: str, words: Sequence[str], threads: int, python: str | None, time_limit: float
    ) -> None:  # fmt: skip
        self.target, self.python, self.time_limit = target, python, time_limit
        self.log = TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self.connection, other = Pipe()
        program = ["-c", SERVER, str(Path(accel.__file__).resolve()), server, str(other.fileno())]
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "TVM_NUM_THREADS": str(threads)}
        try:
            self.process = subprocess.Popen(
                [python or sys.executable, *program, *words], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
                pass_fds=(other.fileno(),), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self.connection.close()
            self.log.close()
            raise cannot_start(python, error.strerror) from None
        finally:
            other.close()

    def answer(self) -> tuple[Any, ...]:
        """Return the next answer.

        Raises:
            ConfigError: if the engine is not installed there.
            RuntimeFailed: for an error of the engine, a process that ended, and one that does not answer in time.
            OSError: for a disk that is full.
        """
        try:
            if not self.connection.poll(self.time_limit):
                raise RuntimeFailed(f"it has not answered for {self.time_limit:g} seconds; raise time_limit if that is too short")
            answer: tuple[Any, ...] = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeFailed(self.ending()) from None
        if answer[0] == "missing":
            raise ConfigError(self._missing(answer[1]))
        if answer[0] == "disk":
            raise OSError(*answer[1:])
        if answer[0] == "failed":
            raise RuntimeFailed(answer[1])
        return answer

    def ending(self) -> str:
        """Return how the process ended, the last line that it wrote, and what it must be where it was named."""
        code = self.process.wait()
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().decode(errors="replace").splitlines() if line.strip()]
        last = f": {lines[-1][:300]}" if lines else ""
        asked = f"; python={self.python} must be an interpreter of Python that has the engine" if self.python and code >= 0 else ""
        return f"the process that ran it ended with {f'signal {-code}' if code < 0 else f'code {code}'}{last}{asked}"

    def close(self) -> None:
        """End the process, and those that it started."""
        self.connection.close()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _missing(self, package: str) -> str:
        """Return the sentence on a package that is not there."""
        kind = target_class(self.target)
        advice = f"pip install 'accel-train[{kind.extra}]'" if kind.extra else "install it"
        apart = " in an environment of its own, named by python=FILE" if kind.lives_apart else ""
        there = f" with python={self.python}" if self.python else apart
        return f"target={self.target} needs the package {package}, which is not there: {advice}{there}"
