"""Two ranks that train a model whose shape is another one; what they did is in `shape_cases`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rank_processes import shared_cases

pytestmark = [pytest.mark.costly, pytest.mark.slow]

Actual = dict[str, list[Any]]


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> Actual:
    return shared_cases("tests.support.shape_cases", tmp_path_factory)


def test_branches_on_two_ranks_equal_those_of_one_process(actual: Actual) -> None:
    for rank in actual["ddp_trains_branches"]:
        assert rank["distance"] <= 1e-6
    assert "shipped.safetensors" in actual["ddp_trains_branches"][0]["files"]
    assert max(actual["ddp_goes_on_with_branches"]) == 0.0


def test_norms_folded_on_two_ranks_leave_the_run_of_one_process(actual: Actual) -> None:
    for rank in actual["ddp_folds_norms"]:
        assert rank["distance"] <= 1e-6
        assert rank["norms"] == 0
        both, alone = rank["metrics"]
        assert both == pytest.approx(alone, rel=1e-5)


def test_branches_in_shards_equal_those_of_one_process(actual: Actual) -> None:
    first, _ = actual["fsdp_trains_branches"]
    assert first["whole"]
    assert first["distance"] <= 1e-5
    assert "shipped.safetensors" in first["files"]


def test_few_bits_on_two_ranks_equal_those_of_one_process(actual: Actual) -> None:
    for rank in actual["few_bits"]:
        assert isinstance(rank, dict), rank
        assert all(gap == 0.0 for name, gap in rank.items() if name.endswith("resumed")), rank
        assert max(rank["ternary DDP"], rank["binary DDP"]) <= 1e-5
    assert max(actual["few_bits"][0].values()) <= 1e-5


def test_eight_bits_on_two_ranks_equal_those_of_one_process(actual: Actual) -> None:
    for rank in actual["eight_bits"]:
        assert isinstance(rank, dict), rank
        assert all(gap == 0.0 for name, gap in rank.items() if name.startswith("resumed")), rank
        assert max(rank.values()) <= 1e-5, rank


def test_ranks_follow_a_change_between_two_updates(actual: Actual) -> None:
    assert max(rank["distance"] for rank in actual["ddp_follows_a_change"]) <= 1e-6
    assert max(actual["ddp_goes_on_after_a_change"]) == 0.0
    for sentence in actual["fsdp_refuses_a_change"]:
        assert sentence == "halve changes the model between two updates, and fsdp has its weights in shards; take ddp in its place"
