"""Several ranks evaluate as one process does: on trial, with data of one length, and the best weights are handed out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accel.plugins.ema import EMA
from tests.support.drill_length import times
from tests.support.rank_evaluation_cases import BEST, PARALLEL, Net, best_run
from tests.support.rank_processes import shared_cases, shared_folder

pytestmark = [pytest.mark.costly, pytest.mark.slow]

CASES = "tests.support.rank_difference_cases"
"""The module that has all cases of one start of two processes, those of rank_evaluation_cases among them."""


@pytest.fixture(scope="module")
def actual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return shared_cases(CASES, tmp_path_factory)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(CASES, tmp_path_factory)


def test_a_model_that_needs_an_update_first_is_tried_after_one_by_all_ranks(actual: dict[str, list[Any]]) -> None:
    first, second = actual["evaluations_that_need_an_update"]
    for name in PARALLEL:
        history, weights = first[f"{name} without"]
        cases = [case for case in ("both 0", "both 2", "second 0", "second 2") if f"{name} {case}" in first]
        assert len(cases) == times(2, 4)
        for case in cases:
            assert first[f"{name} {case}"][0] == second[f"{name} {case}"][0] == history, (name, case)
            assert all(map(torch.equal, first[f"{name} {case}"][1], weights)), "the trial left no trace"
        for who, other in (("both", "KeyError: 'not yet'"), ("second", "TrainingError: rank 1 failed: KeyError: 'not yet'; that")):
            assert first[f"{name} {who} never"].startswith(other)
            assert second[f"{name} {who} never"] == "KeyError: 'not yet'"


def test_data_of_another_length_on_each_rank_is_refused_where_it_ends(actual: dict[str, list[Any]]) -> None:
    first, second = actual["unequal_lengths"]
    assert len(first) == times(14, 18)
    for case, sentence in first.items():
        if case.endswith("equal"):
            assert sentence[0] == second[case][0], (case, sentence)
            continue
        assert sentence == second[case], "the same on every rank"
        split = "val" if "evaluated" in case else "training"
        assert f": the ranks do not read the same {split} data: after " in sentence, (case, sentence)
    assert "after 18 samples rank 0 is at the end, rank 1 reads 6 more; give" in first["ddp stream 18"]
    assert "after 18 samples rank 0 reads 2 more, rank 1 reads 6 more; give" in first["fsdp evaluated stream 20"]


def test_metrics_are_the_same_on_every_rank(actual: dict[str, list[Any]]) -> None:
    first, second = actual["metrics"]
    for name in PARALLEL:
        assert "other metrics on each rank (a on rank 0; b on rank 1); return" in first[f"{name} other"]
        assert "other metrics on each rank (a on rank 0; a, b on rank 1); return" in first[f"{name} more"]
        history, _ = first[f"{name} order"]
        assert history == second[f"{name} order"][0]
        assert list(history[0]) == ["epoch", "a", "bb"]
        assert history[0]["bb"] == pytest.approx(2 * history[0]["a"]), "each by its own name"
        assert all(first[f"{name} {case}"] == second[f"{name} {case}"] for case in ("other", "more"))
    assert isinstance(first["ddp twice"], tuple), "no rank waits for another"
    assert first["fsdp twice"] == second["fsdp twice"]
    assert first["fsdp twice"].startswith("ConfigError: fsdp: the ranks do not call the model alike in an evaluation")


@pytest.mark.parametrize(("name", "averaged"), BEST)
def test_the_best_weights_are_those_of_one_process(
    name: str, averaged: bool, actual: dict[str, list[Any]], folder: Path, tmp_path: Path
) -> None:
    value, epoch, _, checkpoint = best_run(tmp_path / "one", *[EMA(decay=0.6)] * averaged, ranks=1)
    whole = load_file(tmp_path / "one/best.safetensors")
    out = folder / "case_best" / f"{name}-{averaged}"
    first, second = (rank[out.name] for rank in actual["best"])
    assert first == (pytest.approx(value, abs=1e-6), epoch, str(out / "best.safetensors"), checkpoint)
    assert second in (None, first)
    assert epoch == 1, "not the last"
    Net().load_state_dict(load_file(out / "first.safetensors"))
    for file in ("first", "best"):  # as the run wrote it, and as a resumed one did that missed it
        best = load_file(out / f"{file}.safetensors")
        assert best.keys() == whole.keys()
        for key in whole:
            torch.testing.assert_close(best[key], whole[key], atol=1e-5, rtol=1e-4)
    last = load_file(out / "model.safetensors")
    assert not torch.equal(last["head.weight"], whole["head.weight"])


def test_metric_objects_are_computed_over_all_ranks(actual: dict[str, list[Any]]) -> None:
    first, second = actual["metric_objects"]
    for name in PARALLEL:
        metrics, whole, pair = first[f"{name} f1"]
        assert metrics == second[f"{name} f1"][0]
        assert metrics["f1"] == whole, "a sample that fills up a batch does not count"
        assert metrics["pair"] == pytest.approx(pair)
        assert "'f1' (MacroF1) cannot be computed over several ranks" in first[f"{name} alone"]
        assert "evaluated(metrics) returned other numbers on each rank; gather" in first[f"{name} more"]
