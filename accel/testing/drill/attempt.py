"""One process that trains, and how it is struck."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

from accel.system.stop_signals import STOP_SIGNALS, StopSignals

GRACE = 5.0
"""Seconds that the processes of a run are given to be gone after it."""
BROKEN = 70
"""The exit code of a body that raised."""


class Attempt:
    """A child process, in a session of its own, that calls `body` and ends with the exit code it returns.

    It is forked from this process, which has imported everything and begun no thread: so it costs no import. What it prints is
    kept in `said`.

    Args:
        body: trains; `os.exec...` in it makes it a program of its own.
    """

    def __init__(self, body: Callable[[], int]) -> None:
        self.output, self.started = b"", monotonic()
        self.code: int | None = None
        """The exit code, or minus the signal that it died of; None while it runs."""
        mine, its = os.pipe()
        os.set_blocking(mine, False)
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the child listens
        self.pid = os.fork()
        if self.pid == 0:
            child(body, its)
        os.close(its)
        self.pipe = mine
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        except BaseException:  # what came meanwhile; nobody has this attempt yet, who could end it
            self.end()
            raise

    def wait(self, until: float | None = None) -> bool:
        """Waits for its end, until then (monotonic seconds) at most; returns whether it has ended."""
        while self.code is None:
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                return False
            self.read(min(0.01, 0.01 if left is None else left))
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code, self.used = os.waitstatus_to_exitcode(status), used
                self.ended = monotonic()
                self.read(0.0)
                os.close(self.pipe)
        return True

    used: resource.struct_rusage

    def read(self, seconds: float) -> None:
        """Takes what it has printed, waiting for so long at most."""
        if select.select([self.pipe], [], [], seconds)[0]:
            found = os.read(self.pipe, 1 << 20)
            if not found:  # it has closed its output, and may still run
                sleep(seconds)
            self.output += found

    def strike(self, number: signal.Signals, at: float) -> bool:
        """Sends it a signal so many seconds after it began; False where it ended before."""
        if self.wait(self.started + at):
            return False
        self.struck = monotonic()
        os.kill(self.pid, number)
        return True

    struck = 0.0

    def child_processes(self) -> list[int]:
        """The other processes of its session, such as a loader's workers."""
        return [pid for pid, session in sessions() if session == self.pid and pid != self.pid]

    def surviving_processes(self) -> list[int]:
        """The processes that outlive it, after a while; they are killed."""
        until = monotonic() + GRACE
        while (found := self.child_processes()) and monotonic() < until:
            sleep(0.05)
        for pid in found:
            kill(pid)
        return found

    def end(self) -> None:
        """Ends it and its processes, whatever they do."""
        if self.code is None:
            kill(self.pid)
            self.wait()
        for pid in self.child_processes():
            kill(pid)


def child(body: Callable[[], int], output: int) -> None:
    """What the child does; never returns."""
    code = BROKEN
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        with StopSignals() as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            code = body()
            signals.requested = None  # `body` has heeded it
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def sessions() -> list[tuple[int, int]]:
    """The number and the session of every process that runs; none where there is no /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):  # it has just ended
            continue
        if state != "Z":
            found.append((int(folder.name), int(session)))
    return found


def kill(pid: int) -> bool:
    """Kills a process; False where it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
