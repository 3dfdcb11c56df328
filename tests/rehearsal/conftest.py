"""Tests on null devices; elsewhere they are not collected, and a sentence says so."""

from __future__ import annotations

import os
from typing import Any

IS_REHEARSED = "libcudart" in os.environ.get("LD_PRELOAD", "")
collect_ignore_glob = [] if IS_REHEARSED else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not IS_REHEARSED:
        terminalreporter.write_line("tests/rehearsal needs the stand-ins of CUDA's libraries: make rehearsal")
