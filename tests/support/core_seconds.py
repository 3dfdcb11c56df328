"""Seconds of a core that each test takes, its own and those of what it starts: `pytest -p tests.support.core_seconds`.

They are read from the system, so a busy machine stretches them by half at most, while the time on the clock says nothing there.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

LIMIT = 8.0
"""Seconds that no test takes, but those that bear the mark `costly`."""
SLOW = 0.5
"""Seconds from which on a test bears the mark `slow`."""
SHOWN = 25


def used() -> float:
    """Return the seconds of this process, and of those it started which have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


@dataclass(eq=False)  # pluggy puts plugins into sets
class Meter:
    """In the process that runs tests: what each phase took since the one before it."""

    before: float = 0.0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        self.before = used()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        report, now = (yield), used()
        report.core_seconds, self.before = now - self.before, now
        return report


@dataclass(eq=False)  # pluggy puts plugins into sets
class Ledger:
    """In the process that reports: the seconds of tests and files, and which tests take more than they may."""

    tests: Counter[str] = field(default_factory=Counter)
    marks: dict[str, set[str]] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.tests[report.nodeid] += getattr(report, "core_seconds", 0.0)
        self.marks[report.nodeid] = {mark for mark in ("costly", "slow") if mark in report.keywords}

    def over(self) -> list[str]:
        """Return the tests above the limit, without those that may be."""
        return [test for test, seconds in self.tests.most_common() if seconds > LIMIT and "costly" not in self.marks[test]]

    def unmarked(self) -> list[str]:
        """Return the tests that take twice as long as one which is not marked `slow`."""
        return [test for test, seconds in self.tests.most_common() if seconds > 2 * SLOW and "slow" not in self.marks[test]]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        files: Counter[str] = Counter()
        for test, seconds in self.tests.items():
            files[test.partition("::")[0]] += seconds
        terminalreporter.section(f"{self.tests.total():.0f} seconds of a core")
        for title, counts in (("files", files), ("tests", self.tests)):
            terminalreporter.write_line(f"{title}:")
            for name, seconds in counts.most_common(SHOWN):
                terminalreporter.write_line(f"{seconds:8.1f} {name}")
        for title, tests in (("without the mark slow", self.unmarked()), (f"over {LIMIT:g} s, and not costly", self.over())):
            terminalreporter.write_line(f"{title}: {len(tests)}")
            for test in tests:
                terminalreporter.write_line(f"{self.tests[test]:8.1f} {test}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.over() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    """Measure where tests run, and report where reports come together: with pytest-xdist these are processes of their own."""
    config.pluginmanager.register(Meter(), "core-seconds-meter")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ledger(), "core-seconds-ledger")
