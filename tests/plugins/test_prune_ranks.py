"""Ranks that prune are one process on the big batch: they cut the same channels in the same update, and resume to the bit."""

from __future__ import annotations

import pytest

from tests.support.rank_processes import shared_cases

pytest.importorskip("torch_pruning")
pytestmark = [pytest.mark.costly, pytest.mark.slow]


def test_pruned_ranks_equal_one_process_on_the_big_batch(tmp_path_factory: pytest.TempPathFactory) -> None:
    for rank, outcomes in enumerate(shared_cases("tests.support.pruned_cases", tmp_path_factory)["pruned"]):
        assert isinstance(outcomes, dict), outcomes
        for name, outcome in outcomes.items():
            if name.endswith("resumed"):
                assert outcome == (True, True, rank), name
            else:
                distance, shapes = outcome
                assert distance <= 1e-5, name
                assert (shapes[0] == (8, 6)) == (not name.startswith("weights")) or "global" in name, (name, shapes)
