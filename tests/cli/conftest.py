"""Runs of the command line end without a picture, which takes as long as all the rest of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel.plugins import metrics


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an empty file stand for the curves: tests/plugins/test_metrics.py and tests/docs draw them, and processes of their own."""

    def leave_empty(log: Path, picture: Path) -> None:
        picture.touch()

    monkeypatch.setattr(metrics, "draw", leave_empty)
