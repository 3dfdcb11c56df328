"""The generated consumer, beside an engine that is not there: one sample in a call where the file takes no more, and its usage."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from accel.export.consumer import CONSUMER, write_consumer

SIZES: list[int] = []


class Session:
    """In place of that of ONNX Runtime: its scores are the inputs, times what stands beside them."""

    def __init__(self, file: Path, providers: list[str]) -> None:
        pass

    def run(self, names: None, fed: dict[str, Any]) -> list[Any]:
        SIZES.append(len(fed["x"]))
        return [fed["x"] * fed["scale"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    np.save(tmp_path / "x.npy", np.eye(3, 2))
    np.save(tmp_path / "scale.npy", np.array(2.0))
    write_consumer(tmp_path)
    SIZES.clear()
    return tmp_path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], **facts: Any) -> None:
    inputs = [{"name": "x", "type": "float32"}, {"name": "scale", "type": "float32"}]
    card = {"file": "model.onnx", "inputs": inputs, "batch": None, "classes": [], "normalisation": None, "preprocessing": "caller"}
    (folder / "card.json").write_text(json.dumps(card | facts))
    monkeypatch.setattr(sys, "argv", ["consumer.py", *(str(folder / name) for name in names)])
    runpy.run_path(str(folder / CONSUMER))


@pytest.mark.parametrize(("batch", "sizes"), [(None, [3]), (1, [1, 1, 1])])
def test_each_sample_has_a_line(
    batch: int | None, sizes: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, monkeypatch, ["x.npy", "scale.npy"], batch=batch)
    assert capsys.readouterr().out.splitlines() == ["[2.0, 0.0]", "[0.0, 2.0]", "[0.0, 0.0]"]
    run(folder, monkeypatch, ["x.npy", "scale.npy"], batch=batch, classes=["cat", "dog"])
    assert capsys.readouterr().out.splitlines() == ["cat 0.880797", "dog 0.880797", "cat 0.500000"]
    assert sizes * 2 == SIZES


def test_another_number_of_files_shows_the_usage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"^usage: python consumer\.py x\.npy scale\.npy$"):
        run(folder, monkeypatch, ["x.npy"])
