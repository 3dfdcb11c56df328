"""Two ranks, on one of which the user's own code ends the run, or does what the update does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rank_border_cases import PAIRS
from tests.support.rank_processes import shared_cases

pytestmark = [pytest.mark.costly, pytest.mark.slow]

CASES = "tests.support.rank_difference_cases"
"""The module that has all cases of one start of two processes, those of rank_border_cases among them."""


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return shared_cases(CASES, tmp_path_factory)


@pytest.mark.parametrize(("parallel", "where"), PAIRS)
def test_what_one_rank_asks_inside_its_own_code_ends_all_with_one_update(
    parallel: str, where: str, actual: dict[str, list[Any]]
) -> None:
    first, second = (rank[f"{parallel} {where}"] for rank in actual["asked_from_inside"])
    assert first == second, "the ranks have the same"
    (updates, stopped, history), again = first
    assert stopped == f"asked by the {where}"
    assert updates == (6 if where in ("loss", "data") else 4), "an update later, or once more is asked after the evaluation"
    assert history[-1].get("update", 6) == updates, "the end is evaluated"
    assert again == (updates, stopped, history), "resumed, it has ended"


def test_a_loss_that_calls_backward_is_refused_by_all(actual: dict[str, list[Any]]) -> None:
    first, second = actual["own_backward"]
    assert first == second
    assert list(first) == ["ddp 0", "ddp 1", "fsdp 2"]
    assert all("calls backward() itself" in sentence for sentence in first.values()), first
