"""Memory that is short, or a number that is not finite, on one of two processes: both decide the same, and nobody hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

RANKS = range(2)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The weights of each case, by rank, and those of one process."""
    folder = tmp_path_factory.mktemp("ranks")
    worker = str(Path(__file__).parents[1] / "support" / "unequal_ranks_worker.py")
    words = [[sys.executable, worker, str(folder / "store"), str(rank), str(folder)] for rank in RANKS]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(each, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for each in words]
    message = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(message)
    return [torch.load(folder / f"{name}.pt") for name in ("0", "1", "one")]


def test_one_that_is_short_of_memory_makes_all_of_them_smaller(ran: list[Any]) -> None:
    assert len(ran[0]["short"]) >= 6
    for case in ran[0]["short"]:
        whole = ran[2]["lacking" if case == "lacking" else "plain"]
        for rank in RANKS:
            apart = max(float((a - b).abs().max()) for a, b in zip(ran[rank]["short"][case], whole, strict=True))
            assert apart < 1e-6, (case, rank)


def test_a_number_of_one_that_is_not_finite_moves_none_of_them(ran: list[Any]) -> None:
    assert len(ran[0]["spoilt"]) >= 3
    for case in ran[0]["spoilt"]:
        actual, others = (ran[rank]["spoilt"][case] for rank in RANKS)
        assert all(torch.equal(a, b) for a, b in zip(actual, others, strict=True)), case
        assert max(float((a - b).abs().max()) for a, b in zip(actual, ran[2]["without"], strict=True)) < 1e-6, case
