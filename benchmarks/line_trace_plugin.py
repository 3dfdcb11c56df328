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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    tracer = line_trace.tracer()
    assert tracer is not None
    _reports.clear()
    tracer.begin(item.nodeid)
    began = sum(os.times()[:4])
    result = yield
    outcomes = [report.outcome for report in _reports]
    tracer.end(next((outcome for outcome in outcomes if outcome != "passed"), "passed"), sum(os.times()[:4]) - began)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    report = yield
    _reports.append(report)
    return report
