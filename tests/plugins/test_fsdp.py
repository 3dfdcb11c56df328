"""Two ranks that really share one model; what they did is in `fsdp_cases`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.checkpoints import FOLDER, damage
from accel.errors import AccelWarning
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.ema import EMA
from tests.support.drill_length import LONG, times
from tests.support.fsdp_cases import SAVED, Blocks, fit
from tests.support.rank_count_changes import check
from tests.support.rank_processes import shared_cases, shared_folder

pytestmark = [pytest.mark.costly, pytest.mark.slow]

CASES = "tests.support.fsdp_cases"
Found = dict[str, list[Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(CASES, tmp_path_factory)


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return shared_cases(CASES, tmp_path_factory)


def test_ranks_equal_one_process_on_the_big_batch(actual: Found) -> None:
    for rank in actual["one_process_on_the_big_batch"]:
        assert len(rank) == times(8, 30)
        assert max(rank.values()) <= 1e-6, max(rank, key=rank.get)


def test_several_objectives_equal_one_process_on_the_big_batch(actual: Found) -> None:
    for rank in actual["several_objectives"]:
        goes_on, (is_whole, same) = rank.pop("losses"), rank.pop("weights")
        assert all(distance <= (1e-6 if name.endswith(" 0") else 2e-3) for name, distance in rank.items()), rank
        assert len(rank) == (4 if LONG else 2)
        assert goes_on
        assert same or not is_whole


def test_a_rank_without_items_adds_nothing(actual: Found) -> None:
    for rank in actual["ranks_without_items"]:
        assert len(rank) == (4 if LONG else 2)
        assert max(distance for distance, _ in rank.values()) <= 1e-5, rank
        assert any(skipped for _, skipped in rank.values()), "no update was without items on both ranks"


def test_both_ranks_skip_what_is_not_finite_on_one(actual: Found) -> None:
    first, second = actual["a_skipped_update_is_skipped_by_all"]
    assert first["skipped"] == second["skipped"] == 2
    assert [loss == loss for loss in first["losses"]] == [loss == loss for loss in second["losses"]]
    assert first["losses"][-1] == second["losses"][-1]


def test_both_ranks_skip_overflows_of_float16_as_one_process_does(actual: Found) -> None:
    for rank in actual["overflows_of_float16"]:
        sharded, big = rank["skipped"]
        assert 0 < sharded == big < 8
        assert rank["apart"] < 1e-3  # float16 rounds at 2^-11


def test_bfloat16_by_amp_and_by_fsdp_is_near_that_of_one_process(actual: Found) -> None:
    for rank in actual["bfloat16"]:
        assert max(rank.values()) < 1e-2  # bfloat16 rounds at 2^-8


def test_the_first_ranks_buffers_are_evaluated(actual: Found) -> None:
    first, second = actual["buffers_are_those_of_the_first_rank"]
    assert first == second


def test_the_first_rank_hands_out_the_users_model_whole(actual: Found) -> None:
    (whole, tied, apart), (other, *_) = actual["tied_weights_stay_tied"]
    assert whole
    assert tied
    assert apart <= 1e-6
    assert not other


def test_what_cannot_be_spread_is_refused(actual: Found) -> None:
    assert actual["refused"][0] == [
        "muon needs each matrix whole, and fsdp spreads them over the ranks; use ddp, or adamw or lamb",
        "fsdp needs weights of one dtype, and the model's are float32, float64; convert the model, or use ddp",
        "fsdp cannot sum sparse gradients over ranks, and 0 gives them; set sparse=False there",
    ]


def test_optimisers_of_torch_share_a_model_or_are_refused(actual: Found) -> None:
    for rank in actual["optimizers_of_torch"]:
        assert rank["RAdam"] <= 1e-5
        assert "Adafactor cannot make a step here: aten" in rank["Adafactor"]
        assert rank["Adafactor"].endswith("; take another optimiser, or the plugin ddp in place of fsdp")
        assert "LocalNorm makes another step where weights are sharded; take the plugin ddp in place of fsdp" in rank["LocalNorm"]
        assert "Noisy draws random numbers, which differ between ranks" in rank["Noisy"]


def test_ranks_thaw_together_and_are_resumed_around_it(actual: Found) -> None:
    for rank in actual["freeze_and_thaw"]:
        assert rank["distance"] <= 1e-5
        assert all(rank["same"])


def test_a_run_that_goes_on_ends_with_the_same_bits(actual: Found) -> None:
    first, second = actual["goes_on_to_the_same_bits"]
    assert first["same"]
    for rank in (first, second):
        assert rank["again"] == rank["two"]
        assert len(rank["again"]) == 2
        assert len(rank["pieces"]) == 2 * 2, "of two checkpoints, one file of each rank"


def test_a_snapshot_of_pieces_is_a_copy_in_memory_that_is_used_again(actual: Found) -> None:
    for rank in actual["a_snapshot_of_what_is_spread"]:
        assert rank.pop("saved") == SAVED
        assert all(rank.values()), rank


def test_one_process_goes_on_with_what_two_have_saved(actual: Found, place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "case_goes_on_to_the_same_bits" / "run", run)
    plugins = [AdamW(lr=0.01), EMA(), Accumulate(steps=2)]
    alone = fit(plugins, Blocks, epochs=2, resume=run)
    two = actual["goes_on_to_the_same_bits"][0]
    assert alone["losses"] == pytest.approx(two["two"], abs=1e-6)
    assert all(
        torch.allclose(mine, theirs, atol=1e-6, rtol=0) for mine, theirs in zip(alone["weights"], two["weights"], strict=True)
    )


def test_one_process_goes_on_and_two_again(actual: Found) -> None:
    for resumed, uninterrupted in zip(*actual["two_one_two"], strict=True):
        check(resumed, uninterrupted)


@pytest.mark.parametrize("spoil", ["flip", "cut", "swap", "missing"])
def test_a_damaged_piece_is_never_loaded(actual: Found, place: Path, tmp_path: Path, spoil: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "case_goes_on_to_the_same_bits" / "run", run)
    last, one = sorted((run / FOLDER).glob("*.pt"))[-1], sorted((run / FOLDER).glob("*.shards"))[-1]
    piece = sorted(one.iterdir())[0]
    assert damage(last) is None
    if spoil == "flip":
        data = bytearray(piece.read_bytes())
        data[-1] ^= 1
        piece.write_bytes(data)
    elif spoil == "cut":
        piece.write_bytes(piece.read_bytes()[:-8])
    elif spoil == "swap":
        shutil.copy(sorted(one.iterdir())[1], piece)
    else:
        piece.unlink()
    assert damage(last)
    with pytest.warns(AccelWarning, match="skipped update"):
        fit([AdamW(lr=0.01), EMA(), Accumulate(steps=2)], Blocks, epochs=1, resume=run)


def test_a_sparse_buffer_is_refused_by_name_and_an_attribute_works(actual: Found) -> None:
    assert all(
        "torch cannot send edges, which is sparse; keep it as a plain attribute" in rank for rank in actual["sparse_tensors"]
    )
