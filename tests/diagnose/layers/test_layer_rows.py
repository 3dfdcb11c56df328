"""The table of layers at every width: no line is longer than the page, names and times stay, and what is left out is named."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from accel.diagnose import advise as advising
from accel.diagnose.advice_page import WIDTH, draw, show
from accel.diagnose.advise import advise
from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.layer_rows import COLUMNS, LayerRows
from accel.report.visible_console import VisibleConsole

CEILINGS = MachineCeilings("a machine", 1, {"float32": 1e11}, {1 << 16: 5e10, 1 << 27: 2e10}, 1e-6)
LONG = "encoder_of_the_first_stage"


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advising, "kept_ceilings", lambda device, dtypes: (CEILINGS, "given"))


class LayerWithAVeryLongName(nn.Linear):
    pass


def rows() -> LayerRows:
    stage = nn.Sequential(*(nn.Sequential(nn.Linear(16 * k, 16 * k + 16), nn.ReLU()) for k in range(1, 18)))
    model = nn.Sequential()
    model.add_module(LONG, stage)
    model.add_module("head", LayerWithAVeryLongName(288, 10))
    return LayerRows(advise(model, torch.randn(8, 16), seconds=0.001).table)


def lines_at(width: int, shown: object) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(shown)
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize(("width", "fewest"), [(40, 2), (60, 4), (80, 6), (100, 9), (120, 11), (200, 11)])
def test_the_table_fits_and_says_what_it_leaves_out(width: int, fewest: int) -> None:
    lines = lines_at(width, rows())
    head = lines[0]
    shown = [name for name in COLUMNS if name in head]
    assert max(map(len, lines)) <= width
    assert len(shown) >= fewest
    assert {"layer", "share"} <= set(shown)
    assert width < 60 or any(line.startswith(f"{LONG}.") for line in lines), "a name ends a line at its dots"
    assert sum(line.endswith("%") or "%" in line for line in lines) >= 16, "a line for each row"
    assert ("without" in " ".join(lines)) is (len(shown) < len(COLUMNS))


def test_a_page_in_a_file_is_as_wide_as_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = advise(nn.Sequential(nn.Linear(16, 16), nn.ReLU()), torch.randn(8, 16), seconds=0.001)
    widths = {}
    for columns in ("", "60"):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        with (tmp_path / "page").open("w+") as file:
            show(VisibleConsole(file=file, markup=False, highlight=False), advice)
            file.seek(0)
            text = file.read()
        widths[columns] = max(map(len, text.splitlines()))
        assert text == "".join(f"{line.rstrip()}\n" for line in text.splitlines()), "no blanks at the ends of lines"
    assert 80 < widths[""] <= WIDTH
    assert widths["60"] <= 60


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_finding_has_evidence_gain_and_change_at_every_width(width: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(16 * 36, 4))
    advice = advise(model, torch.randn(8, 3, 8, 8), seconds=0.001)
    text = "\n".join(lines_at(width, draw(advice)))
    assert advice.findings
    assert max(map(len, text.splitlines())) <= width
    assert text.count("gain: ") == text.count("change: ") == len(advice.findings)
