"""Two ranks that really train together; what they did is in `ddp_cases`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ranks import run_cases


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return run_cases("tests.plugins.ddp_cases", tmp_path_factory.mktemp("ddp"))


def test_ranks_equal_one_process_on_the_big_batch(found: dict[str, list[Any]]) -> None:
    for rank in found["one_process_on_the_big_batch"]:
        assert len(rank) == 32
        assert max(rank.values()) <= 1e-6, max(rank, key=rank.get)
