"""Two ranks on CUDA: by gloo they share one GPU, by nccl each needs its own. What they did is in `cuda_cases`.

`CASES_DEVICE=cpu python -m pytest tests/cuda/test_cuda_ranks.py` does the same on the CPU, where
ddp_cases and fsdp_cases prove more.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from tests.support.fsdp_cases import SAVED
from tests.support.rank_processes import run_cases

DEVICE = os.environ.get("CASES_DEVICE", "cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE != "cpu" and not torch.cuda.is_available(), reason="needs a CUDA device"),
]
Found = dict[str, list[Any]]


@pytest.fixture(scope="module", params=["gloo", "nccl"])
def actual(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    nccl = request.param == "nccl"
    if nccl and (DEVICE == "cpu" or torch.cuda.device_count() < 2):
        pytest.skip("nccl needs a GPU for each of two ranks")
    device = {"cpu": "cpu", "cuda": "cuda" if nccl else "cuda:0"}[DEVICE]
    folder = tmp_path_factory.mktemp(request.param)
    return run_cases("tests.support.cuda_cases", folder, CASES_DEVICE=device, CASES_BACKEND=request.param)


@pytest.mark.parametrize("case", ["ddp_is_one_process_on_the_big_batch", "fsdp_is_one_process_on_the_big_batch"])
def test_ranks_are_one_process_on_the_big_batch(actual: Found, case: str) -> None:
    """In float32, whose sums have another order: 2e-5 of numbers of about 1, and more where AdamW divides a gradient by itself."""
    for rank in actual[case]:
        assert len(rank) == 6
        assert all(apart <= (2e-5 if "sgd" in name else 5e-4) for name, apart in rank.items()), rank


def test_an_overflow_of_float16_on_one_rank_moves_no_rank(actual: Found) -> None:
    first, second = actual["an_overflow_of_float16_on_one_rank"]
    assert first["skipped"] == second["skipped"] == 1
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], second["weights"], strict=True))
    assert all(torch.isfinite(weight).all() for weight in first["weights"])


def test_nothing_waits_for_the_device(actual: Found) -> None:
    for why in actual["nothing_waits_for_the_device"]:
        if why.startswith("gloo reads"):
            pytest.skip(why)
        assert not why


def test_a_checkpoint_under_fsdp_goes_on_to_the_same_bits(actual: Found) -> None:
    first, second = actual["fsdp_goes_on_to_the_same_bits"]
    assert first["same"]
    for rank in (first, second):
        assert rank["again"] == rank["two"]
        assert len(rank["again"]) == 2
        assert len(rank["pieces"]) == 2 * 2, "of two checkpoints, one file of each rank"


def test_a_snapshot_of_pieces_waits_for_nothing(actual: Found) -> None:
    for rank in actual["a_snapshot_of_what_is_spread"]:
        assert rank.pop("saved") == SAVED
        assert all(rank.values()), rank
