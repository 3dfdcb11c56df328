"""The program of the guide: fifteen lines that survive `kill -9`."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

import pytest

from accel.system.faults import arm
from tests.docs.pages import blocks_of
from tests.docs.test_code import names
from tests.support.forked_process import run_forked

PROGRAM = next(block.text for block in blocks_of("docs/guides/own-loop.md") if block.language == "python")


def run(folder: Path, fault: str = "") -> int:
    """Return how the program ends in a folder, with the argument that lets it go on."""

    def work() -> None:
        warnings.simplefilter("ignore")  # no checkpoint yet
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        if fault:
            arm(fault)
        exec(compile(PROGRAM.replace("train()\n", 'train(resume="auto")\n'), "train.py", "exec", dont_inherit=True), names())

    return run_forked(work).code


@pytest.mark.slow
def test_fifteen_lines_survive_kills(tmp_path: Path) -> None:
    lines = [line for line in PROGRAM.splitlines() if line.strip()]
    assert len(lines) <= 15
    assert run(tmp_path / "whole") == 0
    for fault in ("saving.record.written", "saving.done:2", "saving.summary.written"):
        assert run(tmp_path / "killed", fault) == -signal.SIGKILL
    assert run(tmp_path / "killed") == 0
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "whole/runs/own" / name).read_bytes() == (tmp_path / "killed/runs/own" / name).read_bytes(), name
