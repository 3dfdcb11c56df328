"""A plugin of pytest: says to the tracer of lines where a test begins and ends.

Seconds are those of processors, the test's own processes included: they depend little on how busy the machine is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import line_trace
import pytest

_reports: list[pytest.TestReport] = []


def _seconds() -> float:
    return sum(os.times()[:4])


def _tracer() -> line_trace.Lines:
    tracer = line_trace.tracer()
    assert tracer is not None
    return tracer


def _name(fixture: Any) -> str:
    return f"fixture {fixture.argname} of {fixture.baseid}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    _reports.clear()
    tracer, began = _tracer(), _seconds()
    tracer.begin(item.nodeid)
    _shared.seconds = 0.0
    result = yield
    outcome = next((report.outcome for report in _reports if report.outcome != "passed"), "passed")
    information = getattr(item, "_fixtureinfo", None)
    fixtures = information.name2fixturedefs.values() if information else ()
    shared = [_name(each[-1]) for each in fixtures if each[-1].scope != "function"]
    tracer.end(outcome, _seconds() - began - _shared.seconds, shared)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    report = yield
    _reports.append(report)
    return report


class _Shared:
    """The seconds that the present test spent on fixtures that others use too."""

    seconds = 0.0


_shared = _Shared()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Iterator[Any]:
    if fixturedef.scope == "function":
        return (yield)
    tracer, began, before = _tracer(), _seconds(), _shared.seconds
    test = os.environ.get(line_trace.TEST, "")
    tracer.begin(_name(fixturedef))
    try:
        return (yield)
    finally:
        tracer.end("passed", _seconds() - began - (_shared.seconds - before))
        _shared.seconds = before + _seconds() - began
        tracer.begin(test)
