"""Runs of the command line end without a picture, which takes as long as all the rest of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel.plugins import metrics


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an empty file stand for the curves, which tests/plugins/test_metrics.py, tests/docs and new processes draw."""

    def leave_empty(log: Path, picture: Path) -> None:
        picture.touch()

    monkeypatch.setattr(metrics, "draw", leave_empty)
