"""One process that trains, and the signals that strike it."""

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

__all__ = ["BROKEN", "GRACE", "Attempt", "child", "kill", "sessions"]

GRACE = 30.0
"""Seconds in which the processes of a run must have ended after it."""
BROKEN = 70
"""The exit code of a body that raised."""


class Attempt:
    """A child process, in a session of its own, that calls `body` and ends with the exit code it returns.

    It is forked from this process, which has imported everything and started no thread: so it costs no import. Its printed bytes
    are kept in `output`.

    Args:
        body: trains and returns an exit code; `os.exec...` in it makes it a program of its own.
        keep: called with this attempt before a signal can raise here, so that its owner can end the child, whatever comes.
    """

    def __init__(self, body: Callable[[], int], keep: Callable[[Attempt], None] | None = None) -> None:
        self.output, self.started = b"", monotonic()
        self.code: int | None = None
        """The exit code, or minus the signal that it died of; None while it runs."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the child listens
        self.pid = os.fork()
        if self.pid == 0:
            child(body, write_end)
        os.close(write_end)
        self.pipe = read_end
        try:
            if keep is not None:
                keep(self)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        except BaseException:  # a signal that came meanwhile
            self.end()
            raise

    def wait(self, until: float | None = None) -> bool:
        """Wait for its end, until then (monotonic seconds) at most, and return whether it has ended."""
        while self.code is None:
            remaining = None if until is None else until - monotonic()
            if remaining is not None and remaining <= 0:
                return False
            self.read(min(0.01, 0.01 if remaining is None else remaining))
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code, self.used = os.waitstatus_to_exitcode(status), used
                self.ended = monotonic()
                self.read(0.0)
                os.close(self.pipe)
        return True

    used: resource.struct_rusage

    def read(self, seconds: float) -> None:
        """Read the bytes it has printed, waiting for this many seconds at most."""
        if select.select([self.pipe], [], [], seconds)[0]:
            data = os.read(self.pipe, 1 << 20)
            if not data:  # it has closed its output, and may still run
                sleep(seconds)
            self.output += data

    def strike(self, number: signal.Signals, at: float) -> bool:
        """Send it a signal this many seconds after its start. Return False if it ended before."""
        if self.wait(self.started + at):
            return False
        self.struck = monotonic()
        os.kill(self.pid, number)
        return True

    struck = 0.0

    def child_processes(self) -> list[int]:
        """Return the other processes of its session, such as a loader's workers."""
        return [pid for pid, session in sessions() if session == self.pid and pid != self.pid]

    def surviving_processes(self) -> list[int]:
        """Kill and return the processes that outlive it by `GRACE` seconds."""
        until = monotonic() + GRACE
        while (survivors := self.child_processes()) and monotonic() < until:
            sleep(0.05)
        for pid in survivors:
            kill(pid)
        return survivors

    def end(self) -> None:
        """End it and its processes, whatever they do."""
        if self.code is None:
            kill(self.pid)
            self.wait()
        for pid in self.child_processes():
            kill(pid)


def child(body: Callable[[], int], output: int) -> None:
    """Run `body` in the child, and exit with its code; never return."""
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
            signals.requested = None  # `body` has obeyed it
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def sessions() -> list[tuple[int, int]]:
    """Return number and session of every running process; none if there is no /proc."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):  # it has just ended
            continue
        if state != "Z":
            processes.append((int(folder.name), int(session)))
    return processes


def kill(pid: int) -> bool:
    """Kill a process. Return False if it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
