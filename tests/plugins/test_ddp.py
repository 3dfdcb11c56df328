"""Two ranks that really train together; what they did is in `ddp_cases`."""

from __future__ import annotations

import random
import subprocess
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accel.errors import ConfigError
from accel.plugins.ddp import DDP
from accel.testing import fit_toy
from tests.support.drill_length import LONG, times
from tests.support.rank_count_changes import check
from tests.support.rank_processes import shared_cases
from tests.support.torchrun_command import RUN, TORCHRUN, final, inside, noted

pytestmark = [pytest.mark.costly, pytest.mark.slow]

Found = dict[str, list[Any]]


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return shared_cases("tests.support.ddp_cases", tmp_path_factory)


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_ranks_equal_one_process_on_the_big_batch(actual: Found) -> None:
    for rank in actual["one_process_on_the_big_batch"]:
        assert len(rank) == times(8, 32)
        assert max(rank.values()) <= 1e-6, max(rank, key=rank.get)


def test_several_objectives_equal_one_process_on_the_big_batch(actual: Found) -> None:
    for number, rank in enumerate(actual["several_objectives"]):
        warned, refused, resumed = rank.pop("warnings"), rank.pop("refused"), rank.pop("resumed")
        assert all(distance <= (1e-6 if name.endswith(" 0") else 1e-4) for name, distance in rank.items()), rank
        assert resumed
        assert [text for text in warned if "compress" in text] == (
            ["ddp.compress has no effect with several objectives, whose gradients travel after the last backward pass"]
            if number == 0 else []
        )  # fmt: skip
        assert refused.startswith("ddp.static_graph=true is for one loss, which uses the same parameters in each update")


def test_a_rank_without_items_adds_nothing(actual: Found) -> None:
    for rank in actual["ranks_without_items"]:
        assert len(rank) == (6 if LONG else 3)
        assert max(distance for distance, _ in rank.values()) <= 1e-5, rank
        assert any(skipped for _, skipped in rank.values()), "no update was without items on both ranks"


def test_every_loader_gives_each_rank_its_part(actual: Found) -> None:
    for rank in actual["loaders"]:
        assert max(rank.values()) <= 1e-6, rank


def test_a_number_of_samples_that_is_guessed_is_said_once(actual: Found) -> None:
    first, second = actual["a_guess"]
    assert len(first) == 1
    assert first[0].startswith("batches are weighed by their samples, and the tensors of a batch")
    assert second == []


def test_ready_batches_are_dealt_in_turn_whatever_their_order(actual: Found) -> None:
    # 8 batches of 3, the last of 1: four for each rank in each epoch
    first_rank, second_rank = actual["an_order_of_the_users"]
    first, second = [*first_rank[:12], *second_rank[:10]], [*first_rank[12:], *second_rank[10:]]
    assert sorted(first) == sorted(second) == list(range(22))
    assert first != second, "shuffled anew"


@pytest.mark.parametrize("name", ["clip", "clip adaptive", "ema", "lamb", "lars", "muon", "float16", "bfloat16", "all"])
def test_beside_other_plugins(actual: Found, name: str) -> None:
    first_rank, second_rank = (rank[name] for rank in actual["beside_other_plugins"])
    assert same(first_rank[1], second_rank[1]), "the ranks have the same weights, bit for bit"
    # 16-bit products of two half batches are rounded otherwise than those of the whole one; muon multiplies in bfloat16
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2, "all": 2e-3, "muon": 2e-3}.get(name, 1e-6)
    assert first_rank[0] <= tolerance


def test_settings(actual: Found) -> None:
    for rank in actual["settings"]:
        exact = {name: apart for name, apart in rank.items() if not name.startswith("fp16")}
        assert max(exact.values()) <= 1e-6, exact
        assert 1e-6 < rank["fp16"] < 1e-3 > rank["fp16 3"] > 1e-6, "11 bits of each gradient"


def test_what_cannot_work_is_refused_on_every_rank(actual: Found) -> None:
    for rank in actual["refusals"]:
        assert "ddp: the loss does not use spare" in rank["unused"]
        assert "set plugins.ddp.find_unused=true" in rank["unused"]
        assert rank["nccl"].endswith("set backend=gloo")
        assert rank["few"] == "ddp: 2 ranks, and the training data has 1 samples; start fewer"
        assert rank["batchnorm"].endswith("use plugins.ddp.sync_batchnorm=false")
        assert rank["static"].endswith("set plugins.ddp.static_graph=false")
        assert rank["bf16"].endswith("use plugins.ddp.compress=fp16")


@pytest.mark.parametrize("name", ["guard", "guard accumulate", "float16"])
def test_an_update_that_is_not_finite_on_one_rank_moves_nothing_on_any(actual: Found, name: str) -> None:
    first_rank, second_rank = (rank[name] for rank in actual["one_rank_is_not_finite"])
    assert first_rank["skipped"] == second_rank["skipped"] == 1
    assert same(first_rank["weights"], second_rank["weights"])
    assert all(torch.isfinite(weight).all() for weight in first_rank["weights"])


def test_ranks_begin_with_the_same_weights_and_draw_other_numbers(actual: Found) -> None:
    first_rank, second_rank = actual["random_numbers"]
    assert same(first_rank["first"], second_rank["first"])
    assert not torch.equal(first_rank["drawn"], second_rank["drawn"])
    assert torch.equal(first_rank["drawn"], fit_drawn()), "the first rank draws what one process draws"


def fit_drawn() -> Tensor:
    from tests.support.ddp_cases import fit

    drawn: Tensor = fit([], dropout=0.5)["drawn"]
    return drawn


def test_the_first_bucket_is_torchs_small_one_unless_another_size_is_asked_for(actual: Found) -> None:
    assert actual["the_first_bucket"] == [[True, False], [True, False]]


def test_fewer_held_out_samples_than_ranks(actual: Found) -> None:
    for ranks, big in actual["few_held_out"]:
        assert ranks == pytest.approx(big, abs=1e-6)


def test_a_resumed_run_ends_with_the_same_bits(actual: Found) -> None:
    for run in (run for rank in actual["resumed"] for run in rank.values()):
        whole, rest = run["whole"], run["rest"]
        assert same(whole["weights"], rest["weights"])
        assert whole["losses"][2:] == rest["losses"]
        assert whole["metrics"] == rest["metrics"]


def test_ranks_thaw_together_and_are_resumed_around_it(actual: Found) -> None:
    for rank in actual["freeze_and_thaw"]:
        assert max(rank["distance"]) <= 1e-6
        assert rank["same"] == [True] * (6 if LONG else 2)
        assert rank["frozen"]


def test_the_first_rank_reads_initial_weights_for_all(actual: Found) -> None:
    for rank in actual["initial_weights"]:
        assert rank["same"]
        assert "does not fit the model" in rank["refusal"]


def test_no_update_but_the_first_waits_for_the_numbers_of_others(actual: Found) -> None:
    for updates, waits in chain(*actual["numbers_that_are_waited_for"]):
        assert updates == 8
        assert waits <= 4, (
            "two evaluations, the trial of one, once how many items a micro-batch has; sums travel beside the backward pass"
        )


def test_one_process_goes_on_and_two_again(actual: Found) -> None:
    for resumed, uninterrupted in zip(*actual["two_one_two"], strict=True):
        check(resumed, uninterrupted)


def test_ranks_decide_together(actual: Found) -> None:
    for rank in actual["decisions"]:
        assert rank["any"] == [True, False]
        assert rank["agree"] == [False, True, False, False], "to what was asked before; what is answered is not asked again"
        assert rank["apart"] == [False, False, True]
        assert rank["gather"] == [{"rank": 0}, {"rank": 1}]
        assert rank["sum"] == 3.0


def test_without_torchrun_a_process_trains_alone_and_is_told() -> None:
    with pytest.warns(match="ddp has no effect: this process trains alone; start several by torchrun"):
        alone = fit_toy([DDP()])
    assert alone.equals(fit_toy([]))


def test_ranks_that_torchrun_did_not_start_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="ddp: WORLD_SIZE is 2 and RANK is not set; start it by torchrun"):
        fit_toy([DDP()])


RUNS = times(1, 50)


def deaths(number: int) -> str:
    """Three kills, of either rank; the first run has one of each kind. Each comes to pass: none costs more than 7 of 24 updates."""
    if number == 0:
        return "1:begin 0:save@3 1:update@9"
    rng = random.Random(number)
    actual = []
    for _ in range(3):
        places = (f"{rng.randrange(2)}:begin", f"0:save@{rng.randrange(1, 6)}", f"{rng.randrange(2)}:update@{rng.randrange(1, 8)}")
        actual.append(rng.choice(places))
    return " ".join(actual)


@pytest.mark.skipif(not LONG, reason="make drill; in the suite, tests/testing/drill/test_two_hosts.py kills a rank and its agent")
@pytest.mark.parametrize("number", range(RUNS))
def test_a_killed_rank_begins_anew_and_the_run_ends_with_the_same_bits(actual: Found, number: int, tmp_path: Path) -> None:
    words = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=3", *RUN]
    done = subprocess.run(words, **inside(tmp_path, deaths(number)))
    assert done.returncode == 0
    assert noted(tmp_path).count("dies") == 3
    assert same(final(tmp_path), actual["never_killed"][0])


def test_what_one_rank_says_all_hear_at_the_next_update_and_once(actual: Found) -> None:
    for heard in actual["what_one_says_all_hear_once"]:
        assert [step for step, (save, _) in enumerate(heard) if save] == [3]
        assert [step for step, (_, stop) in enumerate(heard) if stop] == [5]


def test_nothing_of_torchs_holds_the_group_when_it_ends(actual: Found) -> None:
    assert actual["what_holds_the_group_is_let_go"] == [[], []], "as the last to hold it, its reducer can wait forever"


@pytest.mark.parametrize("name", ["attribute", "method", "parts", "parameter", "parameter first", "twice"])
def test_a_loss_may_use_the_model_as_without_ranks(actual: Found, name: str) -> None:
    for rank in actual["what_a_loss_may_use"]:
        for outcome, called in zip(rank[name], rank["call"], strict=True):
            assert name not in ("attribute", "method", "parts") or outcome == called, "the same arithmetic, and the same bits"
            assert all(map(isfinite, outcome[0]))
    first, second = actual["what_a_loss_may_use"]
    assert first[name] == second[name], "the mean over the ranks is the same on each"


def test_a_loss_may_use_parts_of_a_model_whose_weights_are_used_in_bfloat16(actual: Found) -> None:
    for rank in actual["what_a_loss_may_use"]:
        for losses, big in rank["narrow"]:
            assert losses == pytest.approx(big, abs=2e-2)  # bfloat16 rounds at 2^-8
        assert rank["refused"][0].startswith("fsdp.param_dtype: BatchNorm1d (norm) cannot be computed on a CPU")


def test_a_sparse_buffer_is_refused_by_name_and_an_attribute_works(actual: Found) -> None:
    assert all(
        "torch cannot send edges, which is sparse; keep it as a plain attribute" in rank for rank in actual["sparse_tensors"]
    )
