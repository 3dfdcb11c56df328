"""The process that runs exported files. It imports the engine and numpy; torch only where torch is the engine."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from accel.export.all_targets import make_target
from accel.export.runtime.failure_reason import failure_answer
from accel.export.runtime.parent_end import end_with_parent

__all__ = ["main", "versions_of"]


def main() -> None:
    """Answer calls until nobody asks any more.

    The arguments: the file number of the connection, the target, its variant, the folder, the threads.

    A call is `(inputs, repeats)`, and is answered with `("done", outputs, seconds of all repeats, bytes of memory)`. With a list of
    names in place of the repeats it is answered with `("layers", outputs by name)`. The first message is `("ready", versions)`. An
    error is answered as `failure_answer` does.
    """
    number, name, variant, folder, threads = sys.argv[1:]
    connection = Connection(int(number))
    end_with_parent()
    target = make_target(name, {"variant": variant})
    try:
        run = target.load(Path(folder), int(threads))
    except Exception as error:  # of the engine, whatever it is: the file may be anything
        connection.send(failure_answer(error))
        return
    connection.send(("ready", versions_of(target.distributions)))
    while True:
        try:
            inputs, repeats = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            if not isinstance(repeats, int):
                connection.send(("layers", target.layers(Path(folder), repeats, inputs)))
                continue
            began = perf_counter()
            for _ in range(repeats):
                outputs = run(inputs)
            seconds = perf_counter() - began
        except Exception as error:
            connection.send(failure_answer(error))
        else:
            connection.send(("done", outputs, seconds, _memory()))


def versions_of(distributions: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of the distributions that are installed."""
    versions = {}
    for name in distributions:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _memory() -> int:
    """Return the most memory that this process has had, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    usage: Any = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
