"""Which test executes which lines: a tracer for chosen files, in pytest's own processes and in all that the tests start.

`sitecustomize.py` of a copied checkout imports this module, so that every Python process begins with it. It does nothing unless
`ACCEL_LINE_TRACE` names a folder, in which `files` lists the files to look at. Each process writes to a file of its own there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["FOLDER", "TEST", "Lines", "read", "start", "tracer"]

FOLDER = "ACCEL_LINE_TRACE"
TEST = "ACCEL_LINE_TRACE_TEST"


class Lines:
    """The lines of chosen files that this process has executed since the present test began.

    A process that runs tests writes them when a test or a shared fixture ends; any other at once, since it may be killed.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files = set(Path(folder, "files").read_text().splitlines())
        self.runs_tests = False
        self.lines: set[tuple[CodeType, int]] = set()
        self._open()

    def _open(self) -> None:
        self.output = os.open(f"{self.folder}/{os.getpid()}.lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._write(f"test\t{os.environ.get(TEST, '')}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # of a test that fills the disk or limits the size of files
            os.write(self.output, text.encode())

    def after_fork(self) -> None:
        """Write to a file of its own, in a child that was forked in the middle of a test."""
        self.runs_tests = False
        self.lines = set()
        self._open()

    def call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        """Trace a function, if it stands in one of the files: what `sys.settrace` takes."""
        return self.line if frame.f_code.co_filename in self.files else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        """Note a line."""
        if event == "line":
            pair = (frame.f_code, frame.f_lineno)
            if pair not in self.lines:
                self.lines.add(pair)
                if not self.runs_tests:
                    self._write(f"{frame.f_code.co_filename}\t{frame.f_lineno}\n")
        return self.line

    def begin(self, test: str) -> None:
        """Note what follows for a test, or for a fixture that several tests share."""
        self.runs_tests = True
        self.write()
        os.environ[TEST] = test
        self._write(f"test\t{test}\n")

    def write(self) -> None:
        """Write the lines that were executed since the last call."""
        lines = sorted({(code.co_filename, number) for code, number in self.lines})
        self.lines = set()
        self._write("".join(f"{name}\t{number}\n" for name, number in lines))

    def end(self, outcome: str, seconds: float, fixtures: Iterable[str] = ()) -> None:
        """Write the lines of the test or fixture that ends here, how it ended, and which shared fixtures it uses."""
        self.write()
        self._write("".join(f"uses\t{fixture}\n" for fixture in fixtures) + f"{outcome}\t{seconds:.3f}\n")
        self.begin("")


_tracer: Lines | None = None


def tracer() -> Lines | None:
    """Return what traces this process."""
    return _tracer


def start() -> None:
    """Trace this process, and all that are forked from it, if the environment asks for it."""
    global _tracer
    if (folder := os.environ.get(FOLDER)) and _tracer is None:
        _tracer = Lines(folder)
        os.register_at_fork(after_in_child=_tracer.after_fork)
        threading.settrace(_tracer.call)
        sys.settrace(_tracer.call)


def read(folder: Path) -> tuple[dict[tuple[str, int], set[str]], dict[str, float], set[str]]:
    """Return what the processes wrote: the tests of each (file, line), the seconds of each test, and those that did not pass.

    A fixture that tests share counts for all of them, each with its part of the seconds.
    """
    lines: dict[tuple[str, int], set[str]] = {}
    seconds: dict[str, float] = {}
    failed: set[str] = set()
    users: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*.lines")):
        test = ""
        for row in path.read_text(errors="replace").splitlines():
            first, _, second = row.rpartition("\t")
            if first == "test":
                test = second
            elif first == "uses":
                users.setdefault(second, set()).add(test)
            elif first in ("passed", "failed", "skipped"):
                seconds[test] = seconds.get(test, 0.0) + float(second)
                if first != "passed":
                    failed.add(test)
            elif first and test and second.isdigit():
                lines.setdefault((first, int(second)), set()).add(test)
    for fixture in users.keys() & seconds.keys():
        share = seconds.pop(fixture) / len(users[fixture])
        for test in users[fixture]:
            seconds[test] = seconds.get(test, 0.0) + share
    for place, tests in lines.items():
        lines[place] = {user for test in tests for user in users.get(test, {test})} & seconds.keys()
    return lines, seconds, failed
