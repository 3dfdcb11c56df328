"""A process that has loaded exported files anew, and runs them when it is asked to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, Self

from numpy.typing import NDArray

from accel.errors import ConfigError
from accel.export.all_targets import target_class
from accel.export.quantisation.variant import Variant
from accel.export.target import Arrays

__all__ = ["RuntimeFailed", "RuntimeProcess", "TimedCall"]

SERVER = """
import sys
sys.path = [path for path in sys.path if path] + [sys.argv.pop(1)]
from accel.export.runtime.runtime_server import main
main()
"""
"""The program: nothing in the current directory is imported in place of a package, and accel comes last of all."""


class RuntimeFailed(Exception):
    """An engine that did not load the files, or did not run them. Its text is a clause."""


class TimedCall(NamedTuple):
    """What came of a call."""

    outputs: Arrays
    seconds: float
    """Of all repeats."""
    memory: int
    """The most bytes that the process has had so far; 0 if it is not known."""


class RuntimeProcess:
    """A process of its own in which an engine has loaded the files of an export.

    Args:
        target: name of the target.
        folder: its files.
        threads: processor threads that one call may use.
        python: the interpreter, of an environment that has the engine; None for this one.
        variant: the numbers that the files have.

    Raises:
        ConfigError: if there is no such interpreter, or the engine is not installed.
        RuntimeFailed: if the engine does not load the files.
    """

    def __init__(
        self, target: str, folder: Path, threads: int = 1, python: str | None = None, variant: Variant = "float32"
    ) -> None:  # fmt: skip
        self.target, self.log = target, TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self.connection, other = Pipe()
        home = str(Path(__file__).parents[3])
        words = ["-c", SERVER, home, str(other.fileno()), target, variant, str(folder.resolve()), str(threads)]
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        try:
            self.process = subprocess.Popen(
                [python or sys.executable, *words], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
                pass_fds=(other.fileno(),),
            )  # fmt: skip
        except OSError as error:
            self.connection.close()
            self.log.close()
            raise ConfigError(f"python={python}: it cannot be started ({error.strerror}); name an interpreter of Python") from None
        finally:
            other.close()
        try:
            self.versions: dict[str, str] = self._answer()[1]
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Sequence[NDArray[Any]], repeats: int = 1) -> TimedCall:
        """Call the files, several times if asked to. Raise RuntimeFailed if the engine cannot."""
        try:
            self.connection.send((list(inputs), repeats))
        except BrokenPipeError:
            raise RuntimeFailed(self._ending()) from None
        return TimedCall(*self._answer()[1:])

    def close(self) -> None:
        """End the process. It ends by itself when this one does."""
        self.connection.close()
        self.process.kill()
        self.process.wait()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> tuple[Any, ...]:
        """Return the next answer. Raise what it says, if it is an error."""
        try:
            answer: tuple[Any, ...] = self.connection.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeFailed(self._ending()) from None
        if answer[0] == "missing":
            extra = target_class(self.target).extra
            advice = f"pip install 'accel-train[{extra}]'" if extra else "install it"
            raise ConfigError(f"target={self.target} is run by the package {answer[1]}, which is not there: {advice}")
        if answer[0] == "failed":
            raise RuntimeFailed(answer[1])
        return answer

    def _ending(self) -> str:
        """Return how the process ended, and the last line that it wrote."""
        code = self.process.wait()
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().decode(errors="replace").splitlines() if line.strip()]
        last = f": {lines[-1][:300]}" if lines else ""
        return f"the process that ran it ended with {f'signal {-code}' if code < 0 else f'code {code}'}{last}"
