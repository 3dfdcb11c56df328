"""Two ranks that really share one model; what they did is in `fsdp_cases`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ranks import run_cases

Found = dict[str, list[Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run_cases("tests.plugins.fsdp_cases", tmp_path_factory.mktemp("fsdp"))


def test_ranks_equal_one_process_on_the_big_batch(found: Found) -> None:
    for rank in found["one_process_on_the_big_batch"]:
        assert len(rank) == 30
        assert max(rank.values()) <= 1e-6, max(rank, key=rank.get)


def test_both_ranks_skip_what_is_not_finite_on_one(found: Found) -> None:
    first, second = found["a_skipped_update_is_skipped_by_all"]
    assert first["skipped"] == second["skipped"] == 2
    assert [loss == loss for loss in first["losses"]] == [loss == loss for loss in second["losses"]]
    assert first["losses"][-1] == second["losses"][-1]


def test_both_ranks_skip_overflows_of_float16_as_one_process_does(found: Found) -> None:
    for rank in found["overflows_of_float16"]:
        ours, big = rank["skipped"]
        assert 0 < ours == big < 8
        assert rank["apart"] < 1e-3  # float16 rounds at 2^-11


def test_bfloat16_by_amp_and_by_fsdp_is_near_that_of_one_process(found: Found) -> None:
    for rank in found["bfloat16"]:
        assert max(rank.values()) < 1e-2  # bfloat16 rounds at 2^-8


def test_the_first_ranks_buffers_are_evaluated(found: Found) -> None:
    first, second = found["buffers_are_those_of_the_first_rank"]
    assert first == second


def test_the_first_rank_hands_out_the_users_model_whole(found: Found) -> None:
    (whole, tied, apart), (other, *_) = found["tied_weights_stay_tied"]
    assert whole
    assert tied
    assert apart <= 1e-6
    assert not other


def test_what_cannot_be_spread_is_refused(found: Found) -> None:
    assert found["refused"][0] == [
        "muon needs each matrix whole, and fsdp spreads them over the ranks; use ddp, or adamw or lamb",
        "fsdp needs weights of one dtype, and the model's are float32, float64; convert the model, or use ddp",
    ]
