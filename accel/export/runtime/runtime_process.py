"""A process that has loaded exported files anew, and runs them when it is asked to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from accel.export.quantisation.variant import Variant
from accel.export.runtime.engine_process import TIME_LIMIT, EngineProcess, RuntimeFailed
from accel.export.target import Arrays

__all__ = ["RuntimeProcess", "TimedCall"]


class TimedCall(NamedTuple):
    """What came of a call."""

    outputs: Arrays
    seconds: float
    """Of all repeats."""
    memory: int
    """The most bytes that the process has had so far; 0 if it is not known."""


class RuntimeProcess(EngineProcess):
    """A process of its own in which an engine has loaded the files of an export.

    Args:
        target: name of the target.
        folder: its files.
        threads: processor threads that one call may use.
        python: the interpreter, of an environment that has the engine; None for this one.
        variant: the numbers that the files have.
        time_limit: seconds in which the engine must load the files, and answer a call.

    Raises:
        ConfigError: if there is no such interpreter, or the engine is not installed.
        RuntimeFailed: if the engine does not load the files.
    """

    def __init__(
        self, target: str, folder: Path, threads: int = 1, python: str | None = None, variant: Variant = "float32",
        time_limit: float = TIME_LIMIT,
    ) -> None:  # fmt: skip
        words = [target, variant, str(folder.resolve()), str(threads)]
        super().__init__(target, "accel.export.runtime.runtime_server", words, threads, python, time_limit)
        try:
            self.versions: dict[str, str] = self.answer()[1]
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Sequence[NDArray[Any]], repeats: int = 1) -> TimedCall:
        """Call the files, several times if asked to. Raise RuntimeFailed if the engine cannot."""
        return TimedCall(*self._asked(inputs, repeats))

    def layers(self, inputs: Sequence[NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the outputs of operators in one call, by name (`Target.layers`). Raise RuntimeFailed if the engine cannot."""
        values: dict[str, NDArray[Any]] = self._asked(inputs, list(names))[0]
        return values

    def _asked(self, inputs: Sequence[NDArray[Any]], what: int | list[str]) -> tuple[Any, ...]:
        """Return the answer to a call, without its first word."""
        try:
            self.connection.send((list(inputs), what))
        except BrokenPipeError:
            raise RuntimeFailed(self.ending()) from None
        return self.answer()[1:]
