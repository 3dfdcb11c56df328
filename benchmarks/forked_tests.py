"""A test session that has collected everything, and puts many mutants to its tests: each in a fork, changed in memory.

What costs time is not the tests of a mutant, but the imports before them. So one process imports and collects once. For each mutant
the functions that it changes get other code in a fork, and the file is changed too, for processes that the tests start.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple, NoReturn

import pytest
from mutation import Mutation

__all__ = ["Server", "Verdict", "serve"]


class Verdict(NamedTuple):
    """How a session ended."""

    passed: bool
    test: str = ""
    """The test that failed first; empty if none did."""
    reason: str = ""
    """Why the session did not pass: `a test failed`, `time limit` or `not collected`; empty if it did."""


class Server:
    """A plugin of pytest that runs no tests itself: what it is given runs them, by `run`."""

    def __init__(self, tree: Path, root: Path, work: Callable[[Server], None]) -> None:
        self.tree = tree
        self.root = root
        self.work = work
        self.items: dict[str, pytest.Item] = {}
        self.functions: dict[str, list[FunctionType]] = defaultdict(list)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do the work in place of the tests."""
        self.items = {item.nodeid: item for item in session.items}
        for thing in gc.get_objects():
            if type(thing) is FunctionType:
                self.functions[thing.__code__.co_filename].append(thing)
        gc.collect()
        gc.freeze()  # so that the forks share the memory
        self.work(self)
        return True

    def run(self, tests: list[str], mutation: Mutation | None, limit: float) -> Verdict:
        """Run tests until one fails, with the mutation if there is one; the session is killed after `limit` seconds."""
        if mutation is None:
            return self._fork(tests, [], limit)
        path = self.tree / mutation.path.relative_to(self.root)
        source = path.read_bytes()
        changed = mutation.apply(source)
        path.write_bytes(changed)
        try:
            changes = self._changes(path, source, changed) if mutation.in_body else None
            return self._fresh(tests, limit) if changes is None else self._fork(tests, changes, limit)
        finally:
            path.write_bytes(source)

    def _changes(self, path: Path, old: bytes, new: bytes) -> list[tuple[FunctionType, CodeType]] | None:
        """Return the functions of this process that have other code in the new text, each with it; None if that is not all."""
        before, after = (_codes(compile(text, str(path), "exec", dont_inherit=True)) for text in (old, new))
        changes = []
        for function in self.functions[str(path)]:
            code = function.__code__
            name = code.co_qualname, code.co_firstlineno
            if name in after and after[name] != before[name]:
                if code.co_freevars != after[name].co_freevars or code != before[name]:
                    return None
                changes.append((function, after[name]))
        return changes or None

    def _fork(self, tests: list[str], changes: list[tuple[FunctionType, CodeType]], limit: float) -> Verdict:
        """Run tests in a fork of this process, in which some functions have other code."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            child = os.fork()
            if child == 0:
                self._session(tests, changes, folder)
            code = _wait(child, limit)
            report = Path(folder, "failed")
            test = report.read_text() if report.exists() else ""
        return _verdict(code, test)

    def _session(self, tests: list[str], changes: list[tuple[FunctionType, CodeType]], folder: str) -> NoReturn:
        """Be the child."""
        status = 3
        try:
            os.setsid()
            os.dup2(1, 2)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
            tempfile.tempdir = None
            for function, code in changes:
                function.__code__ = code
            modules = list(dict.fromkeys(test.partition("::")[0] for test in tests))  # a module makes its fixtures once
            names = sorted(tests, key=lambda test: modules.index(test.partition("::")[0]))
            items = [self.items[test] for test in names if test in self.items]
            items[0].config.pluginmanager.register(failure := _FirstFailure(Path(folder, "failed")))
            for item, after in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                if failure.failed:
                    os._exit(1)
            status = 0
        finally:
            os._exit(status)

    def _fresh(self, tests: list[str], limit: float) -> Verdict:
        """Run tests in a new process: what the mutation changes is executed at the import."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            command = [sys.executable, "-m", "pytest", *OPTIONS, "-x", "-rfE", *tests]
            environment = {**os.environ, "PYTHONPATH": str(self.tree), "PYTEST_DEBUG_TEMPROOT": folder}
            with Path(folder, "output").open("w+") as output:
                child = subprocess.Popen(
                    command,
                    cwd=self.tree,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                code = child.returncode = _wait(child.pid, limit)
                output.seek(0)
                rows = [row.split(" ", 1)[1] for row in output if row.startswith(("FAILED ", "ERROR "))]
        failed = [
            test for test in tests for row in rows if row.startswith(test) and row[len(test) :].strip()[:2] in ("", "- ", "-")
        ]
        return _verdict(code, max(failed, key=len, default=""))


OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]


def serve(tree: Path, root: Path, rooms: list[str], work: Callable[[Server], None]) -> None:
    """Collect the tests of a tree in this process, which has imported nothing of it yet, and do the work in that session."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path[:0] = [str(tree)]
    pytest.main([*OPTIONS, "-s", *rooms], plugins=[Server(tree, root, work)])


class _FirstFailure:
    """A plugin of pytest: writes the name of a test that fails."""

    def __init__(self, report: Path) -> None:
        self.report = report
        self.failed = False

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = True
            self.report.write_text(report.nodeid)


def _verdict(code: int | None, test: str) -> Verdict:
    if code == 0:
        return Verdict(True)
    return Verdict(False, test, "time limit" if code is None else "a test failed" if test else "not collected")


def _wait(child: int, limit: float) -> int | None:
    """Return the exit status of a child, or None if it has to be killed. Its own children do not outlive it."""
    end = time.monotonic() + limit
    status: int | None = None
    try:
        while status is None and time.monotonic() < end:
            done, ended = os.waitpid(child, os.WNOHANG)
            if done:
                status = ended
            else:
                time.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if status is None:
            os.waitpid(child, 0)
    return status


def _codes(code: CodeType) -> dict[tuple[str, int], CodeType]:
    """Return the code of all functions in a text, by name and line."""
    codes = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            codes[constant.co_qualname, constant.co_firstlineno] = constant
            codes |= _codes(constant)
    return codes
