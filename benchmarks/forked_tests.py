"""Test sessions that are forked from a process that has the heavy libraries already."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Verdict", "import_libraries", "run_tests"]

LIBRARIES = (
    "torch",
    "torch.distributed",
    "torch.utils.data",
    "numpy",
    "pytest",
    "hypothesis",
    "hydra",
    "omegaconf",
    "rich",
    "safetensors",
)


class Verdict(NamedTuple):
    """How a session ended."""

    passed: bool
    test: str
    """The test that failed first; empty if none did."""
    reason: str
    """Why the session did not pass: `a test failed`, `time limit` or `not collected`; empty if it did."""


def import_libraries() -> None:
    """Import what nearly every session needs, before the forks; nothing of accel, which changes."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def run_tests(tree: Path, tests: list[str], limit: float) -> Verdict:
    """Run tests in a copy of the checkout until one fails, in a fork of this process, which is killed after `limit` seconds."""
    with tempfile.NamedTemporaryFile("r") as report:
        child = os.fork()
        if child == 0:
            _session(tree, tests, report.name)
        try:
            code = _wait(child, limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # the session's own children too
        test = report.read()
    if code == 0:
        return Verdict(True, "", "")
    return Verdict(False, test, "time limit" if code is None else "a test failed" if test else "not collected")


def _wait(child: int, limit: float) -> int | None:
    """Return the exit status of a child, or None if it has to be killed."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class _FirstFailure:
    """A plugin of pytest: writes the name of each test that fails."""

    def __init__(self, report: str) -> None:
        self.report = report

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            Path(self.report).write_text(report.nodeid)


def _session(tree: Path, tests: list[str], report: str) -> None:
    """Be the child."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(tree)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.environ["PYTHONPATH"] = str(tree)
        sys.path[:0] = [str(tree)]
        import pytest

        # the libraries are plugins of pytest too, which rather imports them itself
        options = ["-x", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider", "-p", "no:xdist"]
        status = int(pytest.main([*options, *tests], plugins=[_FirstFailure(report)]))
    finally:
        os._exit(status)
