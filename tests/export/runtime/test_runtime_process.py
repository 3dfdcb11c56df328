"""The process that runs exported files: it is asked, it fails, it dies, and whoever asked hears of it."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from accel.errors import ConfigError
from accel.export.runtime.engine_process import RuntimeFailed
from accel.export.runtime.exported_model import pieces_of
from accel.export.runtime.runtime_process import RuntimeProcess

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a function of two inputs."""
    path = tmp_path_factory.mktemp("sum")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
        module = torch.jit.trace(torch.nn.Bilinear(2, 2, 1), (torch.ones(3, 2), torch.ones(3, 2)))
        torch.jit.save(module, str(path / "model.ts"))
    return path


def test_it_runs_in_a_process_of_its_own_as_often_as_it_is_asked(folder: Path) -> None:
    inputs = [np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32)]
    with RuntimeProcess("torchscript", folder) as process:
        assert process.process.pid != os.getpid()
        call = process.run(inputs, repeats=3)
        assert call.outputs[0].shape == (3, 1)
        assert call.seconds > 0
        assert call.memory > 1 << 20
        assert process.versions.keys() == {"torch"}
        with pytest.raises(RuntimeFailed, match="RuntimeError"):
            process.run([np.ones((3, 7), np.float32)] * 2)
        assert np.array_equal(process.run(inputs).outputs[0], call.outputs[0]), "it goes on after an error"
    assert process.process.poll() is not None


def test_a_process_that_dies_is_a_sentence(folder: Path) -> None:
    with RuntimeProcess("torchscript", folder) as process:
        process.process.send_signal(signal.SIGKILL)
        process.process.wait()
        with pytest.raises(RuntimeFailed, match="ended with signal 9"):
            process.run([])


def test_files_that_are_none_and_interpreters_that_are_none_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "model.ts").write_bytes(b"nothing")
    with pytest.raises(RuntimeFailed, match="Error: "):
        RuntimeProcess("torchscript", tmp_path)
    with pytest.raises(RuntimeFailed, match=r"ended with code \d+: .*; python=ls must be an interpreter of Python that"):
        RuntimeProcess("torchscript", tmp_path, python="ls")
    with pytest.raises(ConfigError, match="python=/nowhere/python: it cannot be started"):
        RuntimeProcess("torchscript", tmp_path, python="/nowhere/python")


def test_a_batch_in_pieces_repeats_its_last_sample() -> None:
    pieces = pieces_of([np.arange(5)], 2)
    assert [piece[0].tolist() for piece in pieces] == [[0, 1], [2, 3], [4, 4]]
