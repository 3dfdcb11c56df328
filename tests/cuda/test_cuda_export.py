"""An export to TensorRT computes what was trained, where there is a GPU and TensorRT."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from accel.export.card import Card
from tests.support.exported_runs import make_exporter, python_of, skip_missing, train_pictures

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("PIL", reason="the pictures need the extra images")
    return train_pictures(tmp_path_factory.mktemp("tensorrt"), "+plugins=[adamw]")


def test_tensorrt_computes_what_was_trained(run: Path) -> None:
    skip_missing("tensorrt")
    exporter = make_exporter(run)
    exporter.settings = replace(exporter.settings, proof=replace(exporter.settings.proof, python=python_of("tensorrt")))
    outcome = exporter.export("tensorrt")
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder is not None
    assert {"tensorrt", "onnx"} <= Card.read(outcome.folder).versions.keys()


def test_the_program_beside_it_builds_an_engine(run: Path) -> None:
    skip_missing("tensorrt")
    exporter = make_exporter(run)
    exporter.settings = replace(exporter.settings, proof=replace(exporter.settings.proof, python=python_of("tensorrt")))
    folder = exporter.export("tensorrt").folder
    assert folder is not None
    subprocess.run([python_of("tensorrt") or sys.executable, folder / "build_engine.py", "4"], check=True)
    assert (folder / "model.engine").stat().st_size > 1000


def test_a_weight_that_is_another_is_refused(run: Path) -> None:
    skip_missing("tensorrt")
    exporter = make_exporter(run)
    exporter.settings = replace(exporter.settings, proof=replace(exporter.settings.proof, python=python_of("tensorrt")))
    with torch.no_grad():
        next(exporter.model.parameters()).mul_(1.05)
    assert exporter.export("tensorrt").status == "refused"
