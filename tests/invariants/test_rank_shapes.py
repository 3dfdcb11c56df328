"""Two ranks end, stop, group, evaluate and average as one process does, and all of them alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.rank_processes import shared_cases
from tests.support.rank_shape_cases import PARALLEL, SHAPES

pytestmark = [pytest.mark.costly, pytest.mark.slow]

CASES = "tests.support.rank_difference_cases"
"""The module that has all cases of one start of two processes, those of rank_shape_cases among them."""


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return shared_cases(CASES, tmp_path_factory)


def facts(outcome: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outcome.items() if name != "state"}


def check_close(state: dict[str, Any], other: dict[str, Any]) -> None:
    assert state.keys() == other.keys()
    for name in state:
        torch.testing.assert_close(state[name], other[name], atol=1e-5, rtol=1e-4)


def is_equal(state: dict[str, Any], other: dict[str, Any]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parallel", PARALLEL)
def test_a_run_is_that_of_one_process(parallel: str, shape: str, actual: dict[str, list[Any]]) -> None:
    first, second = actual["shapes"]
    one, ranks = first[f"one {shape}"], first[f"{parallel} {shape}"]
    assert facts(ranks) == facts(second[f"{parallel} {shape}"]), "the ranks have the same"
    assert (ranks["updates"], ranks["samples"]) == (one["updates"], one["samples"])
    assert [list(row) for row in ranks["history"]] == [list(row) for row in one["history"]]
    for row, other in zip(ranks["history"], one["history"], strict=True):
        assert row == pytest.approx(other, abs=1e-5)
    assert ranks["stopped"][:60] == one["stopped"][:60]
    assert ("early_stop" in ranks["stopped"]) == ("early_stop" in shape)
    check_close(ranks["state"], one["state"])


@pytest.mark.parametrize(("who", "end"), [("one", 3), ("all", 4)])
def test_what_one_asks_ends_all_an_update_later_or_with_the_epoch(who: str, end: int, actual: dict[str, list[Any]]) -> None:
    first, second = (rank[who] for rank in actual["ends"])
    assert first["updates"] == second["updates"] == end
    assert first["stopped"] == second["stopped"] == ("enough on rank 1" if who == "one" else "enough on rank 0")
    assert first["history"] == second["history"]
    assert first["history"][-1].get("update", 4) == end, "the end is evaluated"
    again, other = (rank[f"{who} again"] for rank in actual["ends"])
    assert facts(again) == facts(other) == facts(first), "resumed, it has ended"
    assert is_equal(again["state"], first["state"])


def test_clocks_of_the_ranks_agree_on_one_end(actual: dict[str, list[Any]]) -> None:
    for rank in actual["ends"]:
        assert rank["seconds"]["updates"] == 4
        assert rank["seconds"]["stopped"] == "max_seconds=9 have passed", "though this rank's clock says otherwise"


def test_early_stop_with_more_patience_goes_on(actual: dict[str, list[Any]]) -> None:
    for rank in actual["ends"]:
        early, patient, whole = (rank[name] for name in ("early", "patient", "patient from the start"))
        assert early["updates"] < patient["updates"]
        assert facts(patient) == facts(whole)
        assert is_equal(patient["state"], whole["state"])


@pytest.mark.parametrize("parallel", PARALLEL)
def test_an_average_has_statistics_of_its_own(parallel: str, actual: dict[str, list[Any]]) -> None:
    first, second = actual["averages_with_batch_norm"]
    whole, again, once = (first[f"{parallel} {name}"] for name in ("whole", "again", "once"))
    assert facts(whole) == facts(second[f"{parallel} whole"])
    assert is_equal(again["state"], whole["state"])
    assert is_equal(once["state"], whole["state"]), "evaluations change nothing"
    assert whole["state"]["norm.num_batches_tracked"] == 2


def test_the_projection_of_a_hint_is_that_of_one_process(actual: dict[str, list[Any]]) -> None:
    first, second = actual["hints"]
    check_close(first["ddp"]["state"], first["one"]["state"])
    assert facts(first["ddp"]) == facts(second["ddp"])
    assert is_equal(first["again"]["state"], first["ddp"]["state"])
    for rank in (first, second):
        assert rank["fsdp"].startswith("distill.hints and fsdp cannot work together")


def test_an_interval_longer_than_the_run_is_refused_by_all(actual: dict[str, list[Any]]) -> None:
    for rank in actual["an_average_that_is_refused"]:
        assert len(rank) == len(PARALLEL)
        assert all("average finds no multiple of average.every=9 in the run of 8 updates" in sentence for sentence in rank)
