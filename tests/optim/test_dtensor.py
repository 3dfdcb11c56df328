"""Parameters that are spread over two processes (DTensor on gloo) are moved as one process moves them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parents[1] / "support" / "dtensor_worker.py"


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_move_what_one_moves(tmp_path: Path) -> None:
    command = [sys.executable, str(WORKER), str(tmp_path / "store")]
    ranks = [subprocess.Popen([*command, rank], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for rank in "01"]
    message = [rank.communicate(timeout=600)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(message)
    assert "LAMB 2 collectives a step" in message[0]
    assert "LARS 1 collectives a step" in message[0]
    assert "FusedSGD 0 collectives a step" in message[0]
    assert "FusedAdamW 0 collectives a step" in message[0]
