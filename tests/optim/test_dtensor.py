"""Parameters that are spread over two processes (DTensor on gloo) are moved as one process moves them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from tests.support.forked_process import run_all_forked

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_move_what_one_moves(tmp_path: Path) -> None:
    from tests.support import dtensor_worker  # which imports what takes long

    store = str(tmp_path / "store")
    ranks = run_all_forked([partial(dtensor_worker.main, store, rank) for rank in range(2)])
    assert [rank.code for rank in ranks] == [0, 0], "\n".join(rank.stderr for rank in ranks)
    message = [rank.stdout for rank in ranks]
    assert "LAMB 2 collectives a step" in message[0]
    assert "LARS 1 collectives a step" in message[0]
    assert "FusedSGD 0 collectives a step" in message[0]
    assert "FusedAdamW 0 collectives a step" in message[0]
