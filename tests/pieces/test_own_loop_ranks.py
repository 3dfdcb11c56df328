"""Two ranks in a loop of one's own are the two ranks of `fit`, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rank_processes import shared_cases

pytestmark = [pytest.mark.costly, pytest.mark.slow]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return shared_cases("tests.support.ddp_cases", tmp_path_factory)


def test_two_ranks_are_those_of_fit(cases: dict[str, list[Any]]) -> None:
    for rank in cases["own_loop_equals_fit"]:
        assert all(rank.values()), rank
    assert cases["own_loop_evaluates"] == [True, True]


def test_a_crash_and_a_signal_to_one_rank_lose_nothing(cases: dict[str, list[Any]]) -> None:
    for rank in cases["own_loop_goes_on"]:
        assert rank == {"crash ended by": "Stop", "crash": True, "signal ended by": "Interrupted", "signal": True}


def test_one_rank_ends_the_run_of_all(cases: dict[str, list[Any]]) -> None:
    assert cases["own_loop_stops"] == [(3, "enough"), (3, "enough")]


def test_misuse_is_one_sentence_on_every_rank(cases: dict[str, list[Any]]) -> None:
    for rank in cases["own_loop_refusals"]:
        assert "the loop was left after update 3, and the other ranks would wait in theirs" in rank["break"]
        assert "the loop was left after update 2, and the other ranks would wait in theirs" in rank["break of one"]
        assert "ddp: the loss does not use spare" in rank["unused"]
