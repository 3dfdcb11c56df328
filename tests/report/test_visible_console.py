"""Pages in a notebook: drawn once, in letters of equal width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rich.console
import rich.jupyter
from rich.text import Text

import accel
from accel.report.visible_console import html_block


def test_a_page_in_a_notebook_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(rich.jupyter, "display", lambda *page: shown.append(page))
    page = html_block(lambda console: console.print(Text("a <b>", style="bold")), 80)
    assert shown == []
    assert "a &lt;b&gt;" in page
    assert "monospace" in page


def test_every_page_of_a_notebook_is_made_there() -> None:
    files = [path for path in Path(accel.__file__).parent.rglob("*.py") if "export_html" in path.read_text()]
    assert [path.name for path in files] == ["visible_console.py"]
