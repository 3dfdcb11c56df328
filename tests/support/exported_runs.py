"""Runs whose models are exported, and exporters of them."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from accel.checkpoints.weights.find_weights import find_weights
from accel.cli.compose.compose import compose
from accel.cli.saved.saved_request import saved_request
from accel.cli.train_command import main
from accel.engine.loading.task_record import TaskRecord
from accel.export.all_targets import target_class
from accel.export.export_settings import ExportSettings
from accel.export.exporter import Exporter
from accel.export.proof import latency
from accel.export.proof.prove import ProofSettings
from accel.export.proof.torch_reference import TorchReference
from tests.support.drawn_images import write_noise
from tests.support.small_convnet import OneBlock

UNTIMED = ProofSettings(seconds=0)
QUIET = ("device=cpu", "~plugins.progress", "epochs=1")


def train_pictures(folder: Path, *words: str) -> Path:
    """Train a small residual net on pictures in `folder/data`, three channels of 16 x 16; return the run directory."""
    write_noise(folder / "data", {"train": 8, "test": 10}, 16, 16)
    net = () if any(word.startswith("task.model=") for word in words) else (f"task.model={OneBlock.__module__}.OneBlock",)
    data = ("task=images", f"task.root={folder / 'data'}", "task.size=16", "batch_size=8", *net)
    assert main([*data, *QUIET, *words, f"out={folder / 'run'}"]) == 0
    return folder / "run"


def make_exporter(run: Path, settings: ExportSettings | None = None) -> Exporter:
    """Return an exporter of a run of the command line, which times nothing unless its settings say so."""
    request = saved_request(compose([], config_path=str(run)), run, None)
    reference = TorchReference(request, find_weights(run), TaskRecord.read(run))
    return Exporter(reference, settings or ExportSettings(proof=UNTIMED), run)


def python_of(name: str) -> str | None:
    """Return the interpreter that has the engine of a target: ACCEL_PYTHON_TVM, or None for this one."""
    return os.environ.get(f"ACCEL_PYTHON_{name.upper()}")


def keep_operators() -> None:
    """Let torch's exporter to ONNX make its table of 500 operators once, which takes it longer than to export a small model."""
    with suppress(ImportError, AttributeError):
        from torch.onnx._internal.exporter import _registration

        registry: Any = _registration.ONNXRegistry
        if not hasattr(registry.from_torchlib, "cache_info"):
            registry.from_torchlib = staticmethod(cache(registry.from_torchlib))


def time_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the windows in which an export is timed be short: no test reads the times."""
    for name in ("WINDOW", "PAUSE"):
        monkeypatch.setattr(latency, name, 1e-4)


def skip_missing(name: str) -> None:
    """Skip a test of a target that is not installed, with the sentence that the command has."""
    kind = target_class(name)
    if missing := kind.missing(python_of(name)) or kind.cannot_run():
        pytest.skip(f"{missing}; the tests take ACCEL_PYTHON_{name.upper()}" if kind.lives_apart else missing)
