"""Memory that is short, or a number that is not finite, on one of two processes: both decide the same, and nobody hangs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from tests.support import unequal_ranks_worker
from tests.support.forked_process import run_all_forked

pytestmark = pytest.mark.slow

RANKS = range(2)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The weights of each case, by rank, and those of one process."""
    folder = tmp_path_factory.mktemp("ranks")
    store = str(folder / "store")
    ranks = run_all_forked([partial(unequal_ranks_worker.main, store, rank, str(folder)) for rank in RANKS])
    assert [rank.code for rank in ranks] == [0, 0], "\n".join(rank.stderr for rank in ranks)
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
