"""The README's figures are those of the newest results, as the script writes them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_figures_are_those_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme  # type: ignore[import-not-found]

    text = (ROOT / "README.md").read_text()
    assert readme.written(text) == text, "say: python benchmarks/readme.py"
    assert readme.written(text.replace("accel, watched", "accel, witched")) == text
    del sys.modules["readme"]
