"""The process that makes the files of an engine. It imports the engine; torch only where the engine is built on it."""

from __future__ import annotations

import json
import sys
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

from accel.export.all_targets import make_target
from accel.export.runtime.failure_reason import failure_answer
from accel.export.runtime.parent_end import end_with_parent

__all__ = ["main"]


def main() -> None:
    """Make the files, and answer `("done",)`, or as `failure_answer` does.

    The arguments: the file number of the connection, the target, its settings, and the folders of what is there and of the files.
    """
    number, name, settings, source, folder = sys.argv[1:]
    connection = Connection(int(number))
    end_with_parent()
    warnings.simplefilter("ignore")  # of engines about their own code
    target = make_target(name, json.loads(settings))
    try:
        target.convert(Path(source), Path(folder))  # type: ignore[attr-defined]  # of a ConvertedTarget
    except Exception as error:  # of the engine, whatever it is
        connection.send(failure_answer(error))
    else:
        connection.send(("done",))
