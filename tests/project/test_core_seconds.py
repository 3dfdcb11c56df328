"""`make durations` finds what takes longer than it may (tests/support/core_seconds.py)."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.core_seconds import LIMIT, Ledger, Meter, used

ROOT = Path(__file__).parents[2]


def report(test: str, seconds: float, *marks: str) -> Any:
    return SimpleNamespace(nodeid=test, core_seconds=seconds, keywords=dict.fromkeys(marks, 1))


def test_what_takes_too_long_or_lacks_a_mark_is_named() -> None:
    ledger = Ledger()
    for one in (
        *(report("a.py::long", LIMIT / 2 + 0.1, "slow") for _ in range(2)),
        report("a.py::ranks", 2 * LIMIT, "slow", "costly"), report("b.py::plain", 1.5), report("b.py::marked", 1.5, "slow"),
    ):  # fmt: skip
        ledger.pytest_runtest_logreport(one)
    assert ledger.over() == ["a.py::long"]
    assert ledger.unmarked() == ["b.py::plain"]
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    ledger.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED


def test_seconds_of_a_core_are_measured() -> None:
    meter = Meter(used())
    hook = meter.pytest_runtest_makereport()
    next(hook)
    while used() < meter.before + 0.05:
        pass
    made = SimpleNamespace()
    with pytest.raises(StopIteration):
        hook.send(made)
    assert 0.05 <= made.core_seconds < 5


def test_the_page_has_the_limit() -> None:
    (said,) = re.findall(r"takes more than (\w+) seconds of\s+a\s+core", (ROOT / "docs/internals/tests.md").read_text())
    assert said == {8.0: "eight"}[LIMIT]
    assert re.search(r"^durations:.*\n\t.*-p tests.support.core_seconds", (ROOT / "Makefile").read_text(), re.MULTILINE)
