"""An update keeps its samples when another number of ranks goes on with a run, or the run is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from accel.checkpoints.batch_sizes import BatchSizes, fit_to_ranks
from accel.errors import ConfigError

COUNT = some.integers(1, 12)


@given(COUNT, COUNT, COUNT, COUNT)
def test_an_update_keeps_its_samples(size: int, micro: int, before: int, after: int) -> None:
    was, asked = BatchSizes(size, micro, before), BatchSizes(size, micro, after)
    if was.update % after:
        with pytest.raises(ConfigError, match=f"which {after} ranks cannot share evenly; start 1"):
            fit_to_ranks(was, asked)
        return
    now = fit_to_ranks(was, asked)
    assert (now.update, now.ranks) == (was.update, after)
    assert now.batch_size <= size, "no more memory than was asked for"
    if (was.update // after) % size == 0:
        assert now.batch_size == size, "as many micro-batches more or less, where that is enough"
    assert fit_to_ranks(now, was) == was, "and back"


def test_ready_batches_are_counted_as_they_are() -> None:
    assert fit_to_ranks(BatchSizes(1, 2, 2, ready=True), BatchSizes(1, 2, 4)) == BatchSizes(1, 1, 4, ready=True)
    with pytest.raises(ConfigError, match="has 2 ready batches, which 4 ranks cannot share evenly; start 1, 2"):
        fit_to_ranks(BatchSizes(1, 1, 2, ready=True), BatchSizes(1, 1, 4))
