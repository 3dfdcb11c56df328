"""The figures of README.md and docs/figures.md are those of the newest results, as the script writes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("page", "row"), [("docs/figures.md", "accel, watched"), ("README.md", "A step of LAMB")])
def test_the_figures_are_those_of_the_results(page: str, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme  # type: ignore[import-not-found]

    text, write = (ROOT / page).read_text(encoding="utf-8"), readme.PAGES[page]
    assert write(text) == text, "say: python benchmarks/readme.py"
    assert row in text
    assert write(text.replace(row, f"{row}?")) == text
    del sys.modules["readme"]
