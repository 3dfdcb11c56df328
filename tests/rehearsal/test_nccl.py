"""The stand-in for NCCL: sums are right, and ranks that ask for different things, or do not come, are told.

python -m tests.rehearsal devices=2 -m pytest tests/rehearsal/test_nccl.py
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.rank_processes import run_cases

Results = dict[str, list[Any]]
pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two null devices: python -m tests.rehearsal devices=2")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_cases("tests.rehearsal.nccl_cases", tmp_path_factory.mktemp("nccl"))


def test_numbers_of_all_kinds_are_reduced(results: Results) -> None:
    expected = {"sum": [4, 6, 8], "product": [3, 8, 15], "min": [1, 2, 3], "max": [3, 4, 5]}
    for rank in results["sums"]:
        for name, numbers in expected.items():
            assert {key: rank[key] for key in rank if key.startswith(f"{name} ")} == dict.fromkeys(
                [key for key in rank if key.startswith(f"{name} ")], numbers
            )
        assert rank["mean"] == [1.5, 1.5]
        assert rank["gathered"] == [[0, 0], [1, 1]]
        assert rank["sent"] == [1, 1]
    assert [rank["scattered"] for rank in results["sums"]] == [[3, 3], [30, 30]]


def test_a_group_of_some_ranks_is_apart(results: Results) -> None:
    assert results["parts_of_the_ranks"] == [1, 2]


def test_other_sizes_are_told(results: Results) -> None:
    first, second = results["other_sizes"]
    assert "all_reduce of 3 float32 by operator 0 here, and all_reduce of 4 float32 by operator 0 on rank 1" in first
    assert "all_reduce of 4 float32 by operator 0 here, and all_reduce of 3 float32 by operator 0 on rank 0" in second


def test_another_order_is_told(results: Results) -> None:
    first, second = results["other_collectives"]
    assert "broadcast of 4 float32 from or to rank 0 here, and all_reduce" in first
    assert "all_reduce of 4 float32 by operator 0 here, and broadcast" in second


def test_a_rank_that_does_not_come_is_not_waited_for(results: Results) -> None:
    assert "timeout" in results["a_rank_that_does_not_come"][0].lower()


def test_the_error_of_one_rank_ends_both(results: Results) -> None:
    for rank in results["an_error_of_one_rank"]:
        assert list(rank) == ["ddp", "fsdp"]
        assert all("this sample cannot be used" in text for text in rank.values()), rank
