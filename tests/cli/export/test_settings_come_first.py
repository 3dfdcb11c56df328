"""What an export cannot do is said before the model of the run is made and evaluated, which may take minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accel.cli.export import export_console
from accel.cli.export.export_command import main
from accel.errors import ConfigError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def make(*words: Any) -> None:
        raise AssertionError("the task is made")

    monkeypatch.setattr(export_console, "asked_request", make)
    (tmp_path / "task.json").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["target=pt2", "max_drop=1"], "max_drop=1.0 has no effect: only precision="),
        (["quantize=static", "precision=float16", "target=ort"], "quantize=static and precision=float16 exclude each other"),
        (["target=pt2", "python=nowhere/python"], "python=nowhere/python: it cannot be started"),
        (["target=pt2", "seconds=0", "threads=[1,2]"], "are several only where calls are timed"),
        (["--check", "nowhere"], "--check nowhere is no export: name a folder with a card"),
    ],
)
def test_a_setting_is_refused_before_anything_is_computed(words: list[str], sentence: str, run: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        main([str(run), *words])
    assert sentence in str(refused.value)
