"""Ranks are one run: what differs is refused on each in the same words, and what fails on one ends all of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rank_processes import shared_cases

pytestmark = [pytest.mark.costly, pytest.mark.slow]

TIMEOUT = 100.0
"""Seconds, of the 600 after which a rank counts as lost."""
Found = dict[str, list[Any]]


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return shared_cases("tests.support.rank_difference_cases", tmp_path_factory)


def test_a_difference_is_refused_on_every_rank_in_the_same_sentence(actual: Found) -> None:
    first, second = actual["differences"]
    for name, sentence in first.items():
        assert isinstance(sentence, str), name
        assert sentence.startswith("ConfigError: "), (name, sentence)
        assert name in sentence, (name, sentence)
    assert first == second


def test_numbers_that_only_a_rank_holds_are_warned_of_by_name(actual: Found) -> None:
    first, second = actual["values"]
    assert not any(second.values()), "the first rank speaks for all"
    for name, messages in first.items():
        assert len(messages) == bool(name), (name, messages)
        assert all(f"ddp: loss.{name}" in one or f"ddp: {name}" in one for one in messages), (name, messages)


def test_what_may_differ_is_no_hindrance(actual: Found) -> None:
    first, second = actual["what_may_differ"]
    for name, outcome in first.items():
        assert isinstance(outcome, dict), (name, outcome)
        assert outcome["loss"] == second[name]["loss"]
    for name in ("stream", "shuffled", "drawn", "drawn ready", "sampler", "batch sampler", "own sampler"):
        epochs, samples = (1 if name == "stream" else 2), 24 if name.endswith("sampler") else 23
        both = sorted(first[name]["seen"] + second[name]["seen"])
        assert set(both) == set(range(24 if name == "own sampler" else 23)), name
        assert first[name]["samples"] == samples * epochs, "a sampler fills up the last turn"
        assert len(both) == samples * epochs or name in ("stream", "shuffled", "drawn", "drawn ready")
    assert first["shuffled"]["seen"][:12] != first["stream"]["seen"][:12], "shuffled, on both alike"
    assert first["sampler"]["seen"] == first["batch sampler"]["seen"]
    assert first["sampler"]["seen"][:12] != first["sampler"]["seen"][12:], "set_epoch"
    assert first["sampler"]["updates"] == 8


def test_the_error_of_one_rank_is_that_of_all_at_once(actual: Found) -> None:
    first, second = actual["failures"]
    assert first["afterwards"]["loss"] == second["afterwards"]["loss"]
    for place, (sentence, seconds) in first["sentences"].items():
        assert seconds < TIMEOUT, f"{place}: it need not wait until the other counts as lost"
        own, _ = second["sentences"][place]
        if "config" in place:
            assert sentence == own
            assert sentence.startswith("ConfigError: ")
        else:
            assert sentence == 'TrainingError: rank 1 failed: KeyError: "the second rank\'s own"; that rank says more'
            assert own == 'KeyError: "the second rank\'s own"'
    for name in ("ddp", "fsdp"):
        sentence, _ = first["sentences"][f"{name.upper()} nccl config"]
        assert sentence.endswith(f"{name}.backend=nccl carries tensors of GPUs, and this run is on cpu; set backend=gloo")


def test_an_end_that_is_no_error_is_told_too(actual: Found) -> None:
    first, second = actual["other_ends"]
    for name in ("DDP", "FSDP"):
        assert first[f"{name} exit"] == "TrainingError: rank 1 failed: SystemExit: 3; that rank says more"
        assert first[f"{name} key"].startswith("TrainingError: rank 1 failed: KeyboardInterrupt")
        assert first[f"{name} signal"] == "Interrupted: stopped by a signal to another rank while it was starting"
        assert first[f"{name} own connection"].startswith("TrainingError: ")
        assert second[f"{name} own connection"] == "RuntimeError: connection reset by peer: the database"


def test_a_loader_with_a_sampler_goes_on_where_it_was(actual: Found) -> None:
    for whole, rest in actual["resumed_with_a_sampler"]:
        assert whole["loss"] == rest["loss"]
        assert whole["seen"][18:] == rest["seen"]
        assert whole["samples"] == rest["samples"]


def test_a_group_of_the_users_is_used_and_left(actual: Found) -> None:
    for rank in actual["a_group_of_the_users"]:
        assert rank["lives"] == 2.0
        assert rank["ddp"]["loss"] == pytest.approx(rank["fsdp"]["loss"], abs=1e-6)
        assert "backend=nccl" in rank["wrong"]
        assert "has 2 ranks, and WORLD_SIZE is 3" in rank["size"]


def test_a_model_that_the_user_wrapped_for_ranks_is_bared_or_refused(actual: Found) -> None:
    first, second = (rank["wrapped"] for rank in actual["a_group_of_the_users"])
    assert first.keys() == second.keys()
    for rank in (first, second):
        assert rank["ddp"]["loss"] == rank["bare"]["loss"] == pytest.approx(rank["ddp under fsdp"]["loss"], abs=1e-6)
        for name in rank.keys() - {"bare", "ddp", "ddp under fsdp"}:
            assert rank[name].startswith("ConfigError: the model"), (name, rank[name])
            end = "pass the bare model, and the plugin" if "alone" in name else "pass "
            assert end in rank[name], (name, rank[name])
        assert "'s 0 is wrapped in DistributedDataParallel" in rank["ddp inside"]
        assert "'s 1 is wrapped in FSDPLinear" in rank["sharded inside"]
        assert "'s weight is spread over ranks already" in rank["by tensors"]
        assert "FullyShardedDataParallel" in rank["by torch's first FSDP"]


def test_the_group_ends_with_the_run_and_its_threads_too(actual: Found) -> None:
    assert actual["threads"] == [[0, 0, 0, 0]] * 2, "one that outlives Python ends the process with code 1"
