"""Batches of one sample, and who says so before a BatchNorm ends the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from accel.data.ranks.rank_share import RankShare
from accel.engine.checks.single_samples import batch_of_one, watch_batch_norms
from accel.errors import AccelWarning


def batches(samples: int | None, size: int | None, ranks: int = 1, drop_last: bool = False) -> Any:
    return SimpleNamespace(share=RankShare(0, ranks, drop_last), samples=samples, batch_size=size)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (batches(9, 1), "batch_size=1 gives batches of one sample"),
        (batches(9, 2), "9 samples in batches of 2 leave a last one of 1"),
        (batches(8, 2), ""),
        (batches(9, 4), "9 samples in batches of 4 leave a last one of 1"),
        (batches(10, 4), ""),
        (batches(9, 4, drop_last=True), ""),
        (batches(11, 4, ranks=2), "11 samples in batches of 4 of 2 ranks leave a last one of 3, one sample for a rank"),
        (batches(12, 4, ranks=2), ""),
        (batches(None, 4), ""),
        (batches(9, None), ""),
    ],
)
def test_which_batch_has_one_sample(data: Any, sentence: str) -> None:
    reason = batch_of_one(data)
    assert reason.startswith(sentence)
    assert bool(reason) == bool(sentence)


def test_a_compiled_model_is_warned_of_and_one_without_norms_is_not() -> None:
    parts = SimpleNamespace(compile=object())
    run: Any = SimpleNamespace(train=batches(9, 4), unwrapped_model=nn.Sequential(nn.BatchNorm1d(3)), parts=parts)
    with pytest.warns(AccelWarning, match=r"the model has BatchNorm, which may need more than one value.*leave a last one of 1"):
        watch_batch_norms(run)
    run.unwrapped_model = nn.Linear(3, 1)
    watch_batch_norms(run)
    run.unwrapped_model, run.train = nn.Sequential(nn.BatchNorm1d(3)), batches(8, 4)
    watch_batch_norms(run)
