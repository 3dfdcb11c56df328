"""The figures of README.md and docs/figures.md are those of the newest results, as the script writes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_costs_of_shapes_are_written_into_their_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme  # type: ignore[import-not-found]

    page, write = (ROOT / "docs/guides/ship.md").read_text(encoding="utf-8"), readme.PAGES["docs/guides/ship.md"]
    assert write(page) == page, "say: python benchmarks/readme.py"
    result = {"versions": {"torch": "2"}, "date": "2026-01-02 03:04", "cores": 2, "cpu": "a machine", "python": "3"}
    (tmp_path / "2026-01-02-shapes.json").write_text(json.dumps(result))
    (tmp_path / "2026-01-02-shapes.md").write_text("# A title\n\nWhat is what.\n\nA machine.\n\n| plugins |\n|---|\n| distill |\n")
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    written = write(page)
    assert "What is what.\n\n| plugins |\n|---|\n| distill |\n\n`python benchmarks/shapes.py`; 2026-01-02" in written
    assert "(../../benchmarks/results/2026-01-02-shapes.md)" in written
    assert write(written) == written
    del sys.modules["readme"]


@pytest.mark.parametrize(
    ("page", "row"),
    [
        ("docs/figures.md", "accel, watched"), ("README.md", "A step of LAMB"),
        ("docs/guides/what-became.md", "| branches | merged"), ("docs/guides/export.md", "| onnx, 8 bits |"),
    ],
)  # fmt: skip
def test_the_figures_are_those_of_the_results(page: str, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme  # type: ignore[import-not-found]

    text, write = (ROOT / page).read_text(encoding="utf-8"), readme.PAGES[page]
    assert write(text) == text, "say: python benchmarks/readme.py"
    assert row in text
    assert write(text.replace(row, f"{row}?")) == text
    del sys.modules["readme"]
